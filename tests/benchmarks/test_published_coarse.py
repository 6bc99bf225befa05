"""The published structure's coarse scales in the benchmark: what is kept of a run, what becomes of a displacement."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import published_coarse
from speckleflow.retrieval.espinnet import weights
from speckleflow.retrieval.espinnet.published import Espinnet
from speckleflow.train import TrainConfig
from speckleflow.train.checkpoint import save_weights

CONFIG = TrainConfig(
    network="espinnet",
    part="coarse",
    crop_px=64,
    validation_scenes=1,
    scenes={"positions": [2], "patterns": 3, "pattern_px": 96, "displacement_px": [0.5, 4.0]},
)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A random network as a run leaves it, and the file kept of it; its third scale is the best."""
    torch.manual_seed(1)
    network = Espinnet().eval()
    save_weights(network, tmp_path / "weights.safetensors", {"network": "espinnet", "steps": "7"})
    monkeypatch.setattr(published_coarse, "WEIGHTS", tmp_path / "kept.safetensors")
    monkeypatch.setattr(published_coarse, "scale_errors", lambda *_: [0.5, 0.4, 0.3, 0.6, 0.7])
    published_coarse.keep(CONFIG, tmp_path)
    return network, tmp_path / "kept.safetensors"


def test_keeps_the_scales_that_help(kept):
    network, path = kept
    names = set(load_file(path))
    assert {name.split(".")[0] for name in names} == {"encoder", "upsample", "displacement"}
    assert {name.split(".")[1] for name in names if name.startswith("displacement")} == {"0", "1", "2"}
    assert weights.about(path)["steps"] == "7"
    method = published_coarse.PublishedCoarse(path)
    assert method.scales == 3
    reference, sample = 1 + 0.3 * torch.randn(2, 1, 5, 64, 64)
    with torch.no_grad():
        whole, coarse = (published_coarse.pyramid(n, reference, sample, 3) for n in (network, method.network))
    for a, b in zip(whole, coarse, strict=True):
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.005)  # half precision


def test_displacement_in_pixels_of_the_image_on_the_reference_grid(kept, monkeypatch):
    """From scale 1/8: u_x grows by 1 px in 10 on the detector grid, so by 1 in 9 on the reference grid."""
    _, path = kept
    method = published_coarse.PublishedCoarse(path)

    def landing(reference, sample, scales):
        assert scales == 3
        rows, columns = reference[0].shape[-2:]
        x = 8 * torch.arange(columns, dtype=torch.float32) + 3.5
        return [torch.stack([(x - 64) / 10, torch.full_like(x, -0.5)])[:, None].expand(2, rows, -1)[None] / 8]

    monkeypatch.setattr(method.network, "features", lambda stack: [stack[..., ::8, ::8]])
    monkeypatch.setattr(method.network, "pyramid", landing)
    stack = 1 + 0.3 * torch.rand(3, 120, 128)
    fields = method(stack[None], method.prepare(stack))
    x = torch.arange(128.0)
    inner = slice(12, -12)
    torch.testing.assert_close(fields.ux[0, 60, inner], ((x - 64) / 9)[inner], rtol=0, atol=1e-3)
    torch.testing.assert_close(fields.uy[0, 60, inner], torch.full_like(x, -0.5)[inner], rtol=0, atol=1e-3)
    assert fields.transmission.isnan().all()
    assert fields.darkfield is None
