"""The network structures behind the methods: what each of them needs around it.

Which one a method runs follows from its weight file: ours say it in their header, the authors' checkpoint has none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from speckleflow.retrieval.base import Fields
from speckleflow.retrieval.espinnet import fast, published, refinement
from speckleflow.retrieval.espinnet.scaling import scale_positions
from speckleflow.retrieval.espinnet.weights import WeightFile
from speckleflow.retrieval.flags import edge_flags, fold_flags
from speckleflow.retrieval.flux import level_flux
from speckleflow.retrieval.grids import to_reference
from speckleflow.retrieval.normal import local_mean
from speckleflow.retrieval.tiles import Tile

#: precision of the convolutions that is chosen on each kind of device
PRECISION = {"cpu": "float32", "cuda": "float16"}


class Structure(ABC):
    """A network with its weights; ``settings`` is the method's section of the configuration."""

    multiple: int  #: sides of padded images and tiles are multiples of this
    halo: int  #: pixels of context that a tile needs on each side
    #: names of the maps of :meth:`run_tile` in an exported graph, and the grid they are on
    maps: tuple[str, ...] = ("ux", "uy", "transmission", "darkfield")
    grid: str = "detector"
    takes_guess: bool = False  #: whether it begins from a displacement where the pattern is periodic

    def __init__(self, network: nn.Module, settings: Any, file: WeightFile) -> None:
        self.network, self.settings, self.file = network, settings, file

    def infer(self, *inputs: Any) -> Any:
        """What the network answers, its convolutions in the precision of the settings.

        Only they are taken down: interpolation, normal equations and sums of displacements keep float32.
        """
        device = next(self.network.parameters()).device.type
        precision = self.settings.precision
        dtype = getattr(torch, PRECISION[device] if precision == "auto" else precision)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32, cache_enabled=False):
            return self.network(*inputs)

    @staticmethod
    @abstractmethod
    def build(about: dict[str, str]) -> nn.Module:
        """The network that a weight file with the header ``about`` is for, its weights not yet loaded."""

    @abstractmethod
    def bytes_per_pixel(self, positions: int) -> float:
        """Peak memory of one projection over its pixels, float32."""

    def levelled(self, reference: Tensor, sample: Tensor) -> Tensor:
        """Whole samples (B, N, y, x) with what can be told of them before they are cut into tiles."""
        return sample

    def prepare_whole(self, reference: Tensor) -> Any:
        """What every tile needs of the whole reference (N, y, x)."""
        return None

    def traced_whole(self, reference: Tensor, whole: Any) -> Any:
        """In an exported graph: ``whole`` with what is computed of the graph's own reference (N, y, x)."""
        return whole

    @abstractmethod
    def prepare_tile(self, reference: Tensor, tile: Tile, whole: Any) -> Any:
        """What the network needs of a tile of the reference (N, y, x)."""

    @abstractmethod
    def run_tile(self, sample: Tensor, prepared: Any, guess: Tensor | None = None) -> list[Tensor]:
        """Maps (B, 1, y, x) of a sample tile (B, N, y, x), in the order that :meth:`fields` takes them.

        ``guess`` (B, 2, y, x): displacement on the reference grid to begin from.
        """

    @abstractmethod
    def fields(self, maps: list[Tensor]) -> Fields:
        """Fields from the maps (B, y, x) of whole images."""


class Fast(Structure):
    """Our own structure (:mod:`.fast`): pyramid, Gauss-Newton refinement, fusion. Any N."""

    multiple = fast.MULTIPLE
    #: The receptive field is wider (:data:`fast.HALO` and :data:`refinement.HALO` together), but the weights of its rim
    #: are so small that tiles with 128 px of halo agree with the whole image as well as those with 352 do.
    halo = 160
    maps = ("ux", "uy", "transmission", "darkfield", "displacement_std", "transmission_measured")
    grid = "reference"
    takes_guess = True

    @staticmethod
    def build(about: dict[str, str]) -> nn.Module:
        return fast.FastEspinnet()

    def bytes_per_pixel(self, positions: int) -> float:
        # both stacks, spline coefficients, three regressors and their copies at 1/2, 1/4, 1/8; moments and
        # windows
        return 4.0 * (10 * positions + 180)

    def levelled(self, reference: Tensor, sample: Tensor) -> Tensor:
        return level_flux(reference, sample)

    def prepare_whole(self, reference: Tensor) -> refinement.Pattern:
        return refinement.characterise(reference, self.settings.detector_blur_px)

    def traced_whole(self, reference: Tensor, whole: refinement.Pattern) -> refinement.Pattern:
        return replace(whole, mean=local_mean(reference, refinement.MEAN_SIGMA))

    def prepare_tile(self, reference: Tensor, tile: Tile, whole: refinement.Pattern) -> fast.Reference:
        assert isinstance(self.network, fast.FastEspinnet)
        pattern = replace(whole, mean=tile.cut(whole.mean))
        return self.network.reference(tile.cut(reference)[None], pattern)

    def run_tile(self, sample: Tensor, prepared: Any, guess: Tensor | None = None) -> list[Tensor]:
        inputs = (prepared, sample) if guess is None else (prepared, sample, True, guess)
        scales, refined = self.infer(*inputs)
        # without refinement only the displacement is the pyramid's; T and D stay
        chosen = refined if self.settings.refine else scales[-1]
        u, sigma = chosen.displacement, chosen.log_sigma.exp() * self.file.number("sigma_factor", 1.0)
        maps = (
            u[:, :1],
            u[:, 1:],
            refined.transmission,
            refined.darkfield,
            sigma,
            refined.transmission_measured,
        )
        return [field.float() for field in maps]

    def fields(self, maps: list[Tensor]) -> Fields:
        ux, uy, t, d, sigma, measured = maps
        flags = fold_flags(ux, uy) | edge_flags(ux, uy, len(refinement.START_WINDOW) // 2)
        return Fields(t, ux, uy, d, sigma, flags, measured)


class Published(Structure):
    """ESPINNet as published (:mod:`.published`), N scaled to 20. It works on the detector grid."""

    multiple = published.MULTIPLE
    halo = published.HALO

    @staticmethod
    def build(about: dict[str, str]) -> nn.Module:
        return published.Espinnet()

    def bytes_per_pixel(self, positions: int) -> float:
        # 20 frames each, 51 + 128 + 96 channels of the estimator at full resolution, and as much in passing
        return 4.0 * (2 * positions + 80 + 2 * 275)

    def prepare_tile(self, reference: Tensor, tile: Tile, whole: Any) -> Tensor:
        return scale_positions(tile.cut(reference)[None], published.POSITIONS, self.settings.scaling)

    def run_tile(self, sample: Tensor, prepared: Any, guess: Tensor | None = None) -> list[Tensor]:
        stack = scale_positions(sample, published.POSITIONS, self.settings.scaling)
        u, t, d = self.infer(prepared.expand_as(stack), stack, self.settings.refiners)
        return [field.float() for field in (u[:, :1], u[:, 1:], t, d)]

    def fields(self, maps: list[Tensor]) -> Fields:
        ux, uy, t, d = maps
        fields = to_reference(Fields(transmission=t, ux=ux, uy=uy, darkfield=d))
        return flagged(sharp(fields, self.settings.detector_blur_px))


def sharp(fields: Fields, blur_px: float | None) -> Fields:
    """The fields without the displacement that a known point spread of the detector makes out of absorption."""
    if not blur_px:
        return fields
    assert fields.ux is not None
    assert fields.uy is not None
    t = fields.transmission
    d = torch.ones_like(t) if fields.darkfield is None else fields.darkfield
    pairs = zip(t, d, strict=True)
    shift = torch.stack([refinement.blur_shift(*pair, blur_px**2) for pair in pairs], 1)
    return replace(fields, ux=fields.ux + shift[0], uy=fields.uy + shift[1])


def flagged(fields: Fields) -> Fields:
    """Fields of a network without windows, with flags for folds and for rays that leave the image."""
    assert fields.ux is not None
    assert fields.uy is not None
    flags = fold_flags(fields.ux, fields.uy) | edge_flags(fields.ux, fields.uy, 1)
    return Fields(fields.transmission, fields.ux, fields.uy, fields.darkfield, flags=flags)
