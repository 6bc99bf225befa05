"""The networks behind the protocol of every retrieval method."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from speckleflow.errors import InputError
from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.retrieval.espinnet import fast, polish, published, weights
from speckleflow.retrieval.espinnet.layers import pad_to_multiple, unpad
from speckleflow.retrieval.espinnet.scaling import scale_positions
from speckleflow.retrieval.flags import edge_flags, fold_flags
from speckleflow.retrieval.flux import level_flux
from speckleflow.retrieval.grids import to_reference
from speckleflow.retrieval.tiles import Tile, choose_side, free_memory, in_parts, make_tiles

#: projections that go through a network together on a GPU; a CPU is busy with one
GPU_BATCH = 8


@dataclass
class State:
    """A scan's reference stack (N, y, x) divided by its mean, padded; and what the network made of it, tile
    by tile.
    """

    shape: tuple[int, int, int]
    scale: float
    reference: Tensor
    padding: tuple[int, int, int, int]
    side: int
    whole: Any = None  #: what the network needs of the whole reference, for every tile
    prepared: dict[int, Any] = field(default_factory=dict)

    def tiles(self, halo: int, multiple: int) -> list[Tile]:
        height, width = self.reference.shape[-2:]
        return make_tiles(height, width, self.side, halo, multiple)


class NetworkRetriever(Retriever):
    """What the networks share: normalisation, padding, tiles, batches, and less of them when memory is
    short.
    """

    multiple: int  #: sides of padded images and tiles are multiples of this

    def __init__(self, settings: Any, device: torch.device | str = "cpu") -> None:
        super().__init__(settings, device)
        path = weights.find(self.name, settings.weights)
        self.network = self._build(weights.about(path))
        self.file = weights.load(self.network, path)
        self.network = self.network.to(self.device).eval().requires_grad_(False)
        if self.device.type == "cuda":
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @abstractmethod
    def _build(self, about: dict[str, str]) -> torch.nn.Module:
        """The network that a weight file with this header belongs to."""

    @abstractmethod
    def _bytes_per_pixel(self, positions: int) -> float:
        """Peak memory of one projection over its pixels, float32."""

    def _prepare_whole(self, reference: Tensor) -> Any:
        """What every tile needs of the whole reference (N, y, x)."""
        return None

    @abstractmethod
    def _prepare_tile(self, reference: Tensor, whole: Any) -> Any:
        """What the network needs of a reference tile (N, y, x)."""

    @abstractmethod
    def _run_tile(self, sample: Tensor, prepared: Any) -> list[Tensor]:
        """Fields (B, 1, y, x) of a sample tile (B, N, y, x); order as :meth:`_fields` takes them."""

    @abstractmethod
    def _fields(self, found: list[Tensor]) -> Fields:
        """Fields from the maps (B, y, x) of whole images."""

    def _reference_shape(self, state: State) -> tuple[int, int, int]:
        return state.shape

    def _prepare(self, reference: Tensor) -> State:
        scale = float(reference.mean())
        if not scale > 0:
            raise InputError("reference stack", expected="a beam (mean above 0)", found=f"mean {scale:g}")
        padded, padding = pad_to_multiple(reference[None] / scale, self.multiple)
        height, width = padded.shape[-2:]
        free = free_memory(self.device)
        side = choose_side(height, width, self.halo, self._bytes_per_pixel(len(reference)), free)
        n, y, x = reference.shape
        whole = self._prepare_whole(reference / scale)
        return State((n, y, x), scale, padded[0], padding, side, whole)

    @torch.inference_mode()
    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        def run(part: Tensor) -> list[Tensor]:
            padded, padding = pad_to_multiple(part / state.scale, self.multiple)
            whole: list[Tensor] = []
            for index, tile in enumerate(state.tiles(self.halo, self.multiple)):
                if index not in state.prepared:
                    state.prepared[index] = self._prepare_tile(tile.cut(state.reference), state.whole)
                found = self._run_tile(tile.cut(padded), state.prepared[index])
                whole = whole or [padded.new_empty(len(part), *padded.shape[-2:]) for _ in found]
                for image, piece in zip(whole, found, strict=True):
                    image[(..., *tile.inner)] = tile.core(piece[:, 0])
            return [unpad(image, padding) for image in whole]

        def smaller() -> bool:
            state.prepared.clear()
            height, width = state.reference.shape[-2:]
            side = min(state.side, max(height, width)) // 2
            if side < 16 or len(make_tiles(height, width, side, self.halo, self.multiple)) == 1:
                return False
            state.side = side
            return True

        size = GPU_BATCH if self.device.type == "cuda" else 1
        return self._fields(in_parts(sample, size, run, smaller))


class EspinnetFast(NetworkRetriever):
    """ESPINNet, fast structure: pyramid, warping and cost volume, then a polish by Gauss-Newton at full
    resolution.
    """

    name = "espinnet-fast"
    multiple = fast.MULTIPLE
    gives = frozenset({"ux", "uy", "transmission", "darkfield", "quality", "flags"})

    def _build(self, about: dict[str, str]) -> torch.nn.Module:
        return fast.FastEspinnet()

    @property
    def halo(self) -> int:
        """Pixels beyond which nothing was seen to matter.

        The receptive field is wider (:data:`fast.HALO` and :data:`polish.HALO` together), but the weights of
        its rim are so small that tiles with 128 px of halo agree with the whole image as well as those with
        352 do.
        """
        return 160

    def _bytes_per_pixel(self, positions: int) -> float:
        # both stacks, spline coefficients, three regressors and their copies at 1/2, 1/4, 1/8; moments and
        # windows
        return 4.0 * (10 * positions + 180)

    def _prepare_whole(self, reference: Tensor) -> polish.Pattern:
        return polish.characterise(reference)

    @torch.inference_mode()
    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        return super()._retrieve(level_flux(unpad(state.reference[None], state.padding), sample), state)

    def _prepare_tile(self, reference: Tensor, whole: Any) -> fast.Reference:
        network = self.network
        assert isinstance(network, fast.FastEspinnet)
        return network.reference(reference[None], whole)

    def _run_tile(self, sample: Tensor, prepared: Any) -> list[Tensor]:
        scales, polished = self.network(prepared, sample)
        # without the polish its T and D stay: only the displacement is the pyramid's
        chosen = polished if self.settings.polish else scales[-1]
        u, sigma = chosen.displacement, chosen.log_sigma.exp() * self.file.number("sigma_factor", 1.0)
        return [u[:, :1], u[:, 1:], polished.transmission, polished.darkfield, sigma]

    def _fields(self, found: list[Tensor]) -> Fields:
        ux, uy, t, d, sigma = found
        flags = fold_flags(ux, uy) | edge_flags(ux, uy, len(polish.START) // 2)
        return Fields(transmission=t, ux=ux, uy=uy, darkfield=d, quality=sigma, flags=flags)


class Espinnet(NetworkRetriever):
    """ESPINNet as published (Qiao, Yao et al. 2026), N scaled to 20; weights by path."""

    name = "espinnet"
    min_positions = 2
    multiple = published.MULTIPLE
    gives = frozenset({"ux", "uy", "transmission", "darkfield", "flags"})

    def _build(self, about: dict[str, str]) -> torch.nn.Module:
        return published.Espinnet()

    @property
    def halo(self) -> int:
        """Receptive field: the estimators and the search at 1/32 to 1 of the resolution."""
        return published.HALO

    def _bytes_per_pixel(self, positions: int) -> float:
        # 20 frames each, 51 + 128 + 96 channels of the estimator at full resolution, and as much in passing
        return 4.0 * (2 * positions + 80 + 2 * 275)

    def _prepare_tile(self, reference: Tensor, whole: Any) -> Tensor:
        return scale_positions(reference[None], published.POSITIONS, self.settings.scaling)

    def _run_tile(self, sample: Tensor, prepared: Any) -> list[Tensor]:
        stack = scale_positions(sample, published.POSITIONS, self.settings.scaling)
        u, t, d = self.network(prepared.expand_as(stack), stack, self.settings.refiners)
        return [u[:, :1], u[:, 1:], t, d]

    def _fields(self, found: list[Tensor]) -> Fields:
        ux, uy, t, d = found
        fields = to_reference(
            Fields(transmission=t, ux=ux, uy=uy, darkfield=d)
        )  # it works on the landing grid
        assert fields.ux is not None
        assert fields.uy is not None
        flags = fold_flags(fields.ux, fields.uy) | edge_flags(fields.ux, fields.uy, 1)
        return Fields(fields.transmission, fields.ux, fields.uy, fields.darkfield, flags=flags)
