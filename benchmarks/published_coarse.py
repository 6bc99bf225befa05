"""ESPINNet's published structure, as much of it as a CPU trains: its displacement on the scales below full resolution.

    speckleflow train --config config/train/published.yaml --resume
    python benchmarks/published_coarse.py [--config config/train/published.yaml] [--folder runs/published-coarse]

keeps of that run what the table of accuracy.py needs: weights and curve in benchmarks/results, the curve's picture
beside the model card. The weights do not come with the package.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from safetensors.torch import save
from torch import Tensor

from speckleflow.io.atomic import atomic_path
from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.retrieval.espinnet import published, weights
from speckleflow.retrieval.espinnet.layers import pad_to_multiple, unpad
from speckleflow.retrieval.espinnet.scaling import scale_positions
from speckleflow.retrieval.flux import level_flux
from speckleflow.retrieval.grids import to_reference
from speckleflow.retrieval.spec import MethodSpec
from speckleflow.scan.acquisition import Acquisition
from speckleflow.train import TrainConfig, read_train_config
from speckleflow.train.networks import COARSE_SCALES, enlarged, rmse, to_detector_grid, trainable
from speckleflow.train.validate import held_out

HERE = Path(__file__).parent
WEIGHTS = HERE / "results" / "espinnet-published-coarse.safetensors"
CURVE = HERE / "results" / "published-curve.csv"
PICTURE = HERE.parent / "docs" / "model-cards" / "espinnet-curve.png"


class PublishedCoarse(Retriever):
    """Displacement of the finest scale that was trained, enlarged bilinearly; no transmission (NaN), no dark field."""

    spec = MethodSpec(
        name="published_coarse",
        summary="ESPINNet's published structure, coarse scales.",
        class_path=f"{__name__}:PublishedCoarse",
        output_fields=frozenset({"ux", "uy", "transmission"}),
        min_positions=2,
    )

    def __init__(self, path: Path = WEIGHTS) -> None:
        super().__init__(None)
        torch.manual_seed(0)  # of what the file lacks, which takes no part
        self.network = published.Espinnet()
        self.scales = int(weights.load(self.network, path, partial=True).number("scales", COARSE_SCALES))
        self.network.eval().requires_grad_(False)

    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> Tensor:
        return reference

    def _reference_shape(self, state: Tensor) -> tuple[int, int, int]:
        n, height, width = state.shape
        return n, height, width

    @torch.inference_mode()
    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        sample = level_flux(state[None], sample)  # as in training
        padded, padding = pad_to_multiple(torch.cat([state[None], sample]) / state.mean(), published.MULTIPLE)
        reference = padded[:1].expand(len(sample), -1, -1, -1)
        finest = pyramid(self.network, reference, padded[1:], self.scales)[-1]
        ux, uy = unpad(enlarged(finest, padded.shape[-1]), padding).unbind(1)
        return to_reference(Fields(transmission=torch.full_like(ux, torch.nan), ux=ux, uy=uy))


def pyramid(network: published.Espinnet, reference: Tensor, sample: Tensor, scales: int) -> list[Tensor]:
    """Displacement of each scale from the coarsest, in pixels of that scale, from stacks (B, N, y, x)."""
    r, s = (network.features(scale_positions(x, published.POSITIONS, "nearest")) for x in (reference, sample))
    return network.pyramid(r, s, scales)


def scale_errors(network: published.Espinnet, config: TrainConfig) -> list[float]:
    """Mean over the validation scenes of the RMSE in px at full resolution, scale by scale from the coarsest."""
    found = []
    for batches in held_out(config).values():
        for batch in batches:
            u = to_detector_grid(batch.displacement)
            scales = pyramid(network, batch.reference, batch.sample, COARSE_SCALES)
            found.append(torch.stack([rmse(enlarged(scale, u.shape[-1]), u) for scale in scales]))
    return torch.stack(found).mean(0).tolist()


@torch.inference_mode()
def keep(config: TrainConfig, folder: Path) -> None:
    """Weights of a run, down to the scale with the least validation error, its kernels in half precision."""
    network = published.Espinnet()
    file = weights.load(network, folder / "weights.safetensors")
    errors = scale_errors(network.eval(), config)
    scales = errors.index(min(errors)) + 1
    finer = tuple(f"displacement.{k}." for k in range(scales, len(published.CHANNELS)))
    tensors = {
        name: (value.half() if value.ndim == 4 else value).contiguous()
        for name, value in network.state_dict().items()
        if name.startswith(trainable(config).trains) and not name.startswith(finer)
    }
    about = {**file.about, "scales": str(scales), "scale_rmse_px": " ".join(f"{e:.4f}" for e in errors)}
    with atomic_path(WEIGHTS) as private:
        private.write_bytes(save(tensors, about))
    print(about)


def draw(folder: Path) -> None:
    """The run's curve, as numbers and as a picture."""
    text = (folder / "curve.csv").read_text()
    with atomic_path(CURVE) as private:
        private.write_text(text)
    rows = list(csv.DictReader(text.splitlines()))
    steps = [int(float(row["step"])) for row in rows]
    figure, axis = plt.subplots(figsize=(7, 4))
    for name in rows[0]:
        if name.startswith("rmse_N"):
            axis.plot(steps, [float(row[name]) for row in rows], "o-", label=f"N = {name[6:]}")
    axis.set(xlabel="step", ylabel="RMSE (px), median of the scenes", title="Validation: scale 1/2, enlarged")
    axis.set_ylim(0, 1.05 * axis.get_ylim()[1])
    axis.legend()
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=70)
    plt.close(figure)


def main() -> None:
    """Keep the run in ``--folder``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=HERE.parent / "config" / "train" / "published.yaml")
    parser.add_argument("--folder", type=Path, help="of the run; default: the configuration's")
    options = parser.parse_args()
    config = read_train_config(options.config)
    folder = options.folder or Path(config.folder)
    torch.set_num_threads(config.threads)
    keep(config, folder)
    draw(folder)


if __name__ == "__main__":
    main()
