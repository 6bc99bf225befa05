"""SPINNet behind the protocol of every retrieval method."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from speckleflow.retrieval.base import Fields
from speckleflow.retrieval.espinnet.retriever import EspinnetFast
from speckleflow.retrieval.flags import edge_flags, fold_flags
from speckleflow.retrieval.grids import to_reference
from speckleflow.retrieval.spinnet import published


class Spinnet(EspinnetFast):
    """SPINNet, a single diffuser position: displacement and transmission, no dark field.

    The shipped weights have the structure of espinnet-fast, trained for N = 1; a file whose header says
    ``network: spinnet-published`` has the published one.
    """

    name = "spinnet"
    min_positions = 1
    max_positions = 1
    gives = frozenset({"ux", "uy", "transmission", "quality", "flags"})

    def _build(self, about: dict[str, str]) -> torch.nn.Module:
        is_published = about.get("network") == "spinnet-published"
        self.multiple = published.MULTIPLE if is_published else EspinnetFast.multiple
        return published.Spinnet() if is_published else super()._build(about)

    @property
    def halo(self) -> int:
        """Receptive field of the structure in use."""
        return published.HALO if isinstance(self.network, published.Spinnet) else super().halo

    def _bytes_per_pixel(self, positions: int) -> float:
        # the refiners at full resolution: two layers of 128 channels, and as much in passing
        return (
            4.0 * 600 if isinstance(self.network, published.Spinnet) else super()._bytes_per_pixel(positions)
        )

    def _prepare_whole(self, reference: Tensor) -> Any:
        return None if isinstance(self.network, published.Spinnet) else super()._prepare_whole(reference)

    def _prepare_tile(self, reference: Tensor, whole: Any) -> Any:
        if isinstance(self.network, published.Spinnet):
            return reference[None]
        return super()._prepare_tile(reference, whole)

    def _run_tile(self, sample: Tensor, prepared: Any) -> list[Tensor]:
        if isinstance(self.network, published.Spinnet):
            u, t = self.network(prepared.expand_as(sample), sample)
            return [u[:, :1], u[:, 1:], t]
        ux, uy, t, _, sigma = super()._run_tile(sample, prepared)
        return [ux, uy, t, sigma]

    def _fields(self, found: list[Tensor]) -> Fields:
        if isinstance(self.network, published.Spinnet):
            ux, uy, t = found
            carried = to_reference(Fields(transmission=t, ux=ux, uy=uy))  # T is there already
            assert carried.ux is not None
            assert carried.uy is not None
            flags = fold_flags(carried.ux, carried.uy) | edge_flags(carried.ux, carried.uy, 1)
            return Fields(t, carried.ux, carried.uy, flags=flags)
        ux, uy, t, sigma = found
        fields = super()._fields([ux, uy, t, t, sigma])
        return Fields(fields.transmission, ux, uy, None, sigma, fields.flags)
