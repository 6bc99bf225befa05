"""LCS (Low Coherence System): transmission and displacement of every pixel by linear least squares.

The equations are those of Quenot et al., Optica 8, 1412 (2021), see :mod:`.equations`. They are of first order in the
displacement; the sample is therefore warped by what was found and the rest is solved for again, first for low-passed
stacks in wide windows, last for every pixel alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speckleflow.errors import InputError
from speckleflow.retrieval.base import FLAG_BOUND, Fields, Retriever
from speckleflow.retrieval.bspline import warp
from speckleflow.retrieval.filters import Kernel, box, filter_xy, gaussian
from speckleflow.retrieval.flags import edge_flags, fold_flags
from speckleflow.retrieval.fringes import FRINGES, log_determinant
from speckleflow.retrieval.lcs.equations import LEAST_POSITIONS, directional_equations, equations, solve
from speckleflow.retrieval.lcs.spec import SPEC
from speckleflow.retrieval.lowpass import LowPass, choose_low_pass
from speckleflow.retrieval.normal import (
    MEAN_SIGMA,
    Basis,
    local_mean,
    make_basis,
    measure,
    spline_coefficients,
)
from speckleflow.retrieval.parallel import thread_pool
from speckleflow.retrieval.spectrum import spectrum
from speckleflow.retrieval.tiles import Tile, choose_side, free_memory, make_tiles
from speckleflow.scan.acquisition import Acquisition

#: low-pass and window (standard deviations in px) of the last but one solution; each earlier one doubles both
_SMOOTHING, _WINDOW = 0.75, 1.5
#: the misfit that states the error is averaged over this width in px: known to a tenth with N = 3
_NOISE_SIGMA = 3.0
#: no solution moves a ray by more than this many px at full resolution: the equations do not reach farther
_CLAMP_PX = 1.5
#: fields beside those that are always given
_MORE = {"none": (), "scalar": ("darkfield",), "directional": ("scatter_xx", "scatter_xy", "scatter_yy")}
#: limits of T and D
_LEAST_T, _MOST_T, _MOST_D = 0.005, 3.0, 2.0


@dataclass(frozen=True)
class Level:
    """One solution: low-pass of the stacks (standard deviation in px), window, and the reference's regressors."""

    sigma: float
    window: Kernel
    basis: Basis


@dataclass(frozen=True)
class State:
    """A scan's reference: shape (N, y, x), mean level, low-pass, tiles with their levels from coarse to fine."""

    shape: tuple[int, int, int]
    scale: float
    low_pass: LowPass
    tiles: list[tuple[Tile, list[Level]]]


class Lcs(Retriever):
    """LCS; ``settings``: LcsSettings(iterations, window, darkfield, max_displacement_px).

    Images that do not fit into the free memory are worked on in tiles; ``memory_bytes`` sets another limit.
    """

    spec = SPEC
    memory_bytes: float | None = None

    @property
    def halo(self) -> int:
        """Reach of all windows and low-passes, and the search range."""
        coarse = 2 ** max(self.settings.iterations - 2, 0) * (self.settings.iterations > 1)
        return int(8 * (_SMOOTHING + _WINDOW) * coarse) + 16 + int(self.settings.max_displacement_px)

    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> State:
        n, height, width = reference.shape
        scale = float(reference.mean())
        if not scale > 0:
            raise InputError("reference stack", expected="a beam (mean above 0)", found=f"mean {scale:g}")
        kind = self.settings.darkfield
        if n < (least := LEAST_POSITIONS[kind]):
            raise InputError(
                "reference stack",
                expected=f"at least {least} diffuser position(s) for retrieval.lcs.darkfield: {kind}",
                found=f"{n}",
                hint="set it to none",
            )
        with thread_pool(self.device):
            low_pass = choose_low_pass(spectrum(reference))
            mean = local_mean(reference, MEAN_SIGMA) / scale
            steps = self._steps(low_pass.sigma)
            free = free_memory(self.device) if self.memory_bytes is None else self.memory_bytes
            side = choose_side(height, width, self.halo, SPEC.bytes_per_pixel(n, self.settings), free)
            tiles = []
            for tile in make_tiles(height, width, side, self.halo, 1):
                part, level = tile.cut(reference), tile.cut(mean)
                bases = {
                    sigma: make_basis(part, level, gaussian(sigma), scale) for sigma in {s for s, _ in steps}
                }
                tiles.append((tile, [Level(sigma, window, bases[sigma]) for sigma, window in steps]))
        return State((n, height, width), scale, low_pass, tiles)

    def _steps(self, least: float) -> list[tuple[float, Kernel]]:
        """Low-pass and window of every solution, from coarse to fine."""
        count = self.settings.iterations
        coarse = [
            (max(least, _SMOOTHING * 2**k) if k else least, gaussian(_WINDOW * 2**k, truncate=3.0))
            for k in reversed(range(count - 1))
        ]
        return [*coarse, (least, box(self.settings.window))]

    def _reference_shape(self, state: State) -> tuple[int, int, int]:
        return state.shape

    @torch.inference_mode()
    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        with thread_pool(self.device):
            each = [self._projection(stack, state) for stack in sample]
        maps = [torch.stack(maps) for maps in zip(*each, strict=True)]
        t, ux, uy, variance, bound = maps[:5]
        ux, uy = state.low_pass.unbiased(ux, uy)
        determinant = log_determinant(torch.stack((ux, uy), 1), FRINGES)[:, 0].exp()
        flags = (bound > 0).to(torch.uint8) * FLAG_BOUND
        flags |= fold_flags(ux, uy)
        flags |= edge_flags(ux, uy, self.settings.window // 2 + 1)
        return Fields(
            transmission=t * determinant,
            ux=ux,
            uy=uy,
            **dict(zip(_MORE[self.settings.darkfield], maps[5:], strict=True)),
            displacement_std=variance.sqrt(),
            flags=flags,
            transmission_measured=t,
        )

    def _projection(self, sample: Tensor, state: State) -> list[Tensor]:
        """T, u_x, u_y, variance of u, bounds met and the dark field's maps of one sample stack (N, y, x)."""
        count = 5 + len(_MORE[self.settings.darkfield])
        whole = [sample.new_empty(sample.shape[-2:]) for _ in range(count)]
        for tile, levels in state.tiles:
            for image, piece in zip(whole, self._tile(tile.cut(sample), levels, state), strict=True):
                image[tile.inner] = tile.core(piece)
        return whole

    def _tile(self, sample: Tensor, levels: list[Level], state: State) -> list[Tensor]:
        limit, kind = float(self.settings.max_displacement_px), self.settings.darkfield
        darkfield = kind == "scalar"
        ux = uy = torch.zeros_like(sample[0])
        prepared: dict[float, Tensor] = {}
        for step, level in enumerate(levels):
            if level.sigma not in prepared:
                prepared = {level.sigma: spline_coefficients(sample, gaussian(level.sigma), state.scale)}
            last = step == len(levels) - 1
            moments = measure(prepared[level.sigma], level.basis, ux, uy)
            if last and kind == "directional":
                height, width = ux.shape
                x = torch.arange(width, device=ux.device, dtype=ux.dtype) + ux
                y = torch.arange(height, device=ux.device, dtype=ux.dtype)[:, None] + uy
                pixel = directional_equations(warp(prepared[level.sigma], x, y), level.basis)
            else:
                pixel = equations(moments, level.basis, darkfield)
            if not last:  # the last one's pixels have flags
                pixel = pixel.filtered(lambda maps, v=moments.valid: maps * v)
            window = pixel.filtered(lambda maps, k=level.window: filter_xy(maps, k, k, "zero"))
            unknowns, _, inverse = solve(window)
            d = unknowns[1].clamp(1e-3, _MOST_D) if darkfield else torch.ones_like(ux)
            reach = _CLAMP_PX * max(1.0, level.sigma)
            dx, dy = (v / d for v in unknowns[-2:])
            beyond = (dx.abs() > reach) | (dy.abs() > reach)
            ux, uy = ux + dx.clamp(-reach, reach), uy + dy.clamp(-reach, reach)
            beyond |= (ux.abs() > limit) | (uy.abs() > limit)
            ux, uy = ux.clamp(-limit, limit), uy.clamp(-limit, limit)
            if not last:
                continue
            t = 1 / unknowns[0].clamp(1 / _MOST_T, 1 / _LEAST_T)
            variance = (
                self._misfit(pixel, len(unknowns), len(sample)) * (inverse[-2] + inverse[-1]) / 2 / d**2
            )
            variance = variance / self.settings.window**2
        more = {"none": [], "scalar": [d], "directional": unknowns[1:4]}[kind]
        return [t, ux, uy, variance, beyond.to(t.dtype), *more]

    @staticmethod
    def _misfit(pixel: Any, unknowns: int, positions: int) -> Tensor:
        """Variance (y, x) of one equation about the model of 3 x 3 pixels, averaged over the neighbourhood."""
        near = box(3)
        _, left, _ = solve(pixel.filtered(lambda maps: filter_xy(maps, near, near, "mirror")))
        left = left * 9 / (9 * positions - unknowns)
        wide = gaussian(_NOISE_SIGMA, truncate=3.0)
        return filter_xy(left[None], wide, wide, "mirror")[0]
