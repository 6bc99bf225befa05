"""SPINNet behind the protocol of every retrieval method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from speckleflow.retrieval.base import Fields
from speckleflow.retrieval.espinnet.retriever import NetworkRetriever
from speckleflow.retrieval.espinnet.structures import Fast, Structure, flagged, sharp
from speckleflow.retrieval.grids import to_reference
from speckleflow.retrieval.spinnet import published
from speckleflow.retrieval.spinnet.spec import SPEC
from speckleflow.retrieval.tiles import Tile


class Spinnet(NetworkRetriever):
    """SPINNet: a neural network for a single diffuser position; displacement and transmission, no dark field.

    The shipped weights have the structure of espinnet's own, trained for N = 1 too; a file whose header says
    ``network: spinnet-published`` has the published one.
    """

    spec = SPEC
    networks = frozenset({"spinnet", "spinnet-published"})

    def _structure(self, path: Path, about: dict[str, str]) -> type[Structure]:
        return Published if about.get("network") == "spinnet-published" else Single


class Single(Fast):
    """espinnet's own structure for N = 1, without the dark field that a single frame cannot tell."""

    def fields(self, maps: list[Tensor]) -> Fields:
        return replace(super().fields(maps), darkfield=None)


class Published(Structure):
    """SPINNet as published (:mod:`.published`); its T is on the reference grid already."""

    multiple = published.MULTIPLE
    halo = published.HALO

    @staticmethod
    def build(about: dict[str, str]) -> nn.Module:
        return published.Spinnet()

    def bytes_per_pixel(self, positions: int) -> float:
        # the refiners at full resolution: two layers of 128 channels, and as much in passing
        return 4.0 * 600

    def prepare_tile(self, reference: Tensor, tile: Tile, whole: Any) -> Tensor:
        return tile.cut(reference)[None]

    def run_tile(self, sample: Tensor, prepared: Any, guess: Tensor | None = None) -> list[Tensor]:
        u, t = self.infer(prepared.expand_as(sample), sample)
        return [field.float() for field in (u[:, :1], u[:, 1:], t)]

    def fields(self, maps: list[Tensor]) -> Fields:
        ux, uy, t = maps
        fields = replace(to_reference(Fields(transmission=t, ux=ux, uy=uy)), transmission=t)
        return flagged(sharp(fields, self.settings.detector_blur_px))
