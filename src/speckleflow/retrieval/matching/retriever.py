"""Displacement by the best match of windows, transmission and dark field by the windows' mean and contrast."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from speckleflow.errors import InputError
from speckleflow.retrieval.base import FLAG_BOUND, Fields, Retriever
from speckleflow.retrieval.bspline import PREFILTER, warp
from speckleflow.retrieval.filters import Kernel, filter_xy, gaussian
from speckleflow.retrieval.flags import edge_flags, fold_flags
from speckleflow.retrieval.fringes import log_determinant
from speckleflow.retrieval.matching.correlation import Windows, correlations, windows
from speckleflow.retrieval.matching.peak import find_peak
from speckleflow.retrieval.parallel import thread_pool
from speckleflow.retrieval.tiles import Tile, choose_side, free_memory, make_tiles
from speckleflow.scan.acquisition import Acquisition

#: limits of T and D, and the largest stated error in px
_LIMITS, _MOST_STD = (0.0, 3.0), 10.0
#: 1 - correlation^2 cannot be told from 0 below this in float32
_ROUNDING = 1e-6
#: The misfit of a window is correlated over a speckle: errors are so many times those that its pixels would make alone
#: (1.6 to 2.0 for xst and zncc of 9 px and xsvt of 5 px, N = 6 and 20, wavy scenes of 8000 photons and without noise).
_CORRELATED = 1.8
#: Window in which the determinant of fringes is taken, over that of the matching, and its least width in px: of
#: 0.3, 0.5 and 0.75 the one with the least error of T on a wavy and a steep scene (0.018, 0.032 with xst; without
#: the determinant 0.046, 0.033).
_FRINGES, _LEAST_FRINGES_PX = 0.75, 3.0


@dataclass(frozen=True)
class State:
    """A scan's reference: shape (N, y, x), mean level, tiles with the windows that are searched for or in."""

    shape: tuple[int, int, int]
    scale: float
    tiles: list[tuple[Tile, Windows]]


class Matching(Retriever):
    """Base of the methods of template matching; ``settings``: MatchingSettings.

    Windows of the reference are searched for in the sample: fields on the reference grid. With ``of_sample`` windows of
    the sample are searched for in the reference, as the literature of ``zncc`` has it, and the fields, which then stand
    where rays land, are carried to the reference grid by the method.

    Images that do not fit into the free memory are worked on in tiles; ``memory_bytes`` sets another limit.
    """

    of_sample = False
    memory_bytes: float | None = None

    @property
    def halo(self) -> int:
        """Window, search range, and the spline that windows are looked up with."""
        return self.settings.window // 2 + int(self.settings.search_px) + 12

    @property
    def _fringes(self) -> Kernel:
        return gaussian(max(_FRINGES * self.settings.window, _LEAST_FRINGES_PX), truncate=3.0)

    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> State:
        n, height, width = reference.shape
        scale = float(reference.mean())
        if not scale > 0:
            raise InputError("reference stack", expected="a beam (mean above 0)", found=f"mean {scale:g}")
        free = free_memory(self.device) if self.memory_bytes is None else self.memory_bytes
        needed = self.spec.bytes_per_pixel(n, self.settings)
        side = choose_side(height, width, self.halo, needed, free)
        with thread_pool(self.device):
            tiles = [
                (tile, self._windows(tile.cut(reference) / scale, searched=self.of_sample))
                for tile in make_tiles(height, width, side, self.halo, 1)
            ]
        return State((n, height, width), scale, tiles)

    def _reference_shape(self, state: State) -> tuple[int, int, int]:
        return state.shape

    def _windows(self, stack: Tensor, *, searched: bool) -> Windows:
        half = self.settings.window // 2
        return windows(stack, self.settings.window, half + self.settings.search_px * searched)

    @torch.inference_mode()
    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        with thread_pool(self.device):
            each = [self._projection(stack / state.scale, state) for stack in sample]
        ux, uy, t, d, std, bound = (torch.stack(maps) for maps in zip(*each, strict=True))
        flags = (bound > 0).to(torch.uint8) * FLAG_BOUND
        flags |= fold_flags(ux, uy)
        flags |= edge_flags(ux, uy, self.settings.window // 2)
        fields = Fields(
            transmission=t,
            ux=ux,
            uy=uy,
            darkfield=d,
            displacement_std=std,
            flags=flags,
            transmission_measured=t,
        )
        fields = self._on_reference_grid(fields)
        u = torch.stack((fields.ux, fields.uy), 1)  # type: ignore[arg-type]
        return replace(
            fields, transmission=fields.transmission * log_determinant(u, self._fringes)[:, 0].exp()
        )

    def _on_reference_grid(self, fields: Fields) -> Fields:
        return fields

    def _projection(self, sample: Tensor, state: State) -> list[Tensor]:
        """u_x, u_y, T, D, stated error and bounds met of one sample stack (N, y, x)."""
        whole = [sample.new_empty(sample.shape[-2:]) for _ in range(6)]
        for tile, reference in state.tiles:
            for image, piece in zip(whole, self._tile(tile.cut(sample), reference), strict=True):
                image[tile.inner] = tile.core(piece)
        return whole

    def _tile(self, stack: Tensor, reference: Windows) -> list[Tensor]:
        side, reach = self.settings.window, self.settings.search_px
        sample = self._windows(stack, searched=not self.of_sample)
        template, searched = (sample, reference) if self.of_sample else (reference, sample)
        peak = find_peak(correlations(template, searched, side, reach), reach, self.settings.subpixel)
        mean, contrast = _ratios(template, searched, peak.ux, peak.uy)
        # misfit of the windows over the information of their slopes
        samples = len(stack) * side * side
        misfit = (1 - peak.value.clamp(0, 1).square()).clamp_min(_ROUNDING) / samples
        variance = misfit / 2 * (1 / peak.curvature_x.clamp_min(1e-6) + 1 / peak.curvature_y.clamp_min(1e-6))
        maps = [peak.ux, peak.uy, mean, contrast]
        if self.of_sample:  # a ray that lands here came from here + the match
            maps = [-peak.ux, -peak.uy, 1 / mean.clamp_min(1e-3), 1 / contrast.clamp_min(1e-3)]
        maps[2:] = [values.clamp(*_LIMITS) for values in maps[2:]]
        return [*maps, (_CORRELATED * variance.sqrt()).clamp_max(_MOST_STD), peak.bound.to(stack.dtype)]


def _ratios(template: Windows, searched: Windows, ux: Tensor, uy: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and contrast, of the searched stack's windows at the match over those of the template."""
    inner = slice(template.margin, -template.margin or None)
    columns = torch.arange(ux.shape[1], device=ux.device, dtype=ux.dtype)
    rows = torch.arange(ux.shape[0], device=ux.device, dtype=ux.dtype)[:, None]
    maps = torch.stack((searched.mean, searched.std / searched.mean.clamp_min(1e-3)))
    spline = filter_xy(maps, PREFILTER, PREFILTER, "mirror")
    mean, contrast = warp(spline, columns + ux + searched.margin, rows + uy + searched.margin)
    own = template.mean[inner, inner]
    own_contrast = template.std[inner, inner] / own.clamp_min(1e-3)
    return mean / own.clamp_min(1e-3), contrast / own_contrast.clamp_min(1e-6)
