"""Unified Modulated Pattern Analysis, solved by Gauss-Newton from coarse to fine.

The cost is that of Zdora et al., Phys. Rev. Lett. 118, 203903 (2017); the solution differs: no search, but a
pyramid of Gauss-Newton steps on the reference grid, where the reference and the derivatives of its cubic B-spline
do not change from step to step or from projection to projection, and only the sample is warped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speckleflow.errors import InputError
from speckleflow.retrieval.adaptive import COARSE_SCALES, SCALES, fixed_window, linearise, mixed_windows
from speckleflow.retrieval.base import FLAG_BOUND, Fields, Retriever
from speckleflow.retrieval.blur import PIXEL_VARIANCE, unresolved_variance, without_blur_shift
from speckleflow.retrieval.filters import gaussian
from speckleflow.retrieval.flags import edge_flags, fold_flags
from speckleflow.retrieval.fringes import FRINGES, log_determinant
from speckleflow.retrieval.harmonics import Harmonics, find_harmonics, guess_displacement
from speckleflow.retrieval.lowpass import LowPass, choose_low_pass
from speckleflow.retrieval.noise import NoiseGain, noise_gain
from speckleflow.retrieval.normal import (
    MEAN_SIGMA,
    Basis,
    Estimate,
    local_mean,
    make_basis,
    measure,
    spline_coefficients,
)
from speckleflow.retrieval.parallel import thread_pool
from speckleflow.retrieval.pyramid import first_estimate, keep_if_better, pyramid
from speckleflow.retrieval.spectrum import spectrum
from speckleflow.retrieval.tiles import Tile, choose_side, free_memory, make_tiles
from speckleflow.retrieval.umpa.spec import SPEC
from speckleflow.scan.acquisition import Acquisition

#: coarse levels below full resolution: 1/2, 1/4, 1/8
_LEVELS = 3
#: steps at full resolution; after two the changes are below the noise
_STEPS = 2


@dataclass(frozen=True)
class Prepared:
    """What a reference tile gives once a scan: bases at full and coarse resolution, gain of the noise."""

    basis: Basis
    coarse: list[Basis]
    gain: NoiseGain


@dataclass(frozen=True)
class State:
    """A scan's reference: shape (N, y, x), mean level, low-pass in pixels, tiles with what they need."""

    shape: tuple[int, int, int]
    scale: float
    low_pass: LowPass
    tiles: list[tuple[Tile, Prepared]]
    harmonics: Harmonics | None  #: of a periodic pattern


class Umpa(Retriever):
    """UMPA with transmission and dark field; ``settings``: UmpaSettings(window, max_displacement_px).

    Images that do not fit into the free memory are worked on in tiles; ``memory_bytes`` sets another limit.
    """

    spec = SPEC
    memory_bytes: float | None = None

    @property
    def halo(self) -> int:
        """The widest windows of the coarsest level and of full resolution, and the search range."""
        return 96 + int(self.settings.max_displacement_px) + 1

    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> State:
        n, height, width = reference.shape
        scale = float(reference.mean())
        if not scale > 0:
            raise InputError("reference stack", expected="a beam (mean above 0)", found=f"mean {scale:g}")
        with thread_pool(self.device):
            pattern = spectrum(reference)
            low_pass = choose_low_pass(pattern)
            mean = local_mean(reference, MEAN_SIGMA) / scale
            free = free_memory(self.device) if self.memory_bytes is None else self.memory_bytes
            side = choose_side(height, width, self.halo, _bytes_per_pixel(n), free)
            tiles = []
            for tile in make_tiles(height, width, side, self.halo, 2**_LEVELS):
                part, level = tile.cut(reference), tile.cut(mean)
                basis = make_basis(part, level, gaussian(low_pass.sigma), scale)
                gain = noise_gain(basis, low_pass.sigma)
                tiles.append((tile, Prepared(basis, pyramid(part, level, _LEVELS, scale), gain)))
        return State((n, height, width), scale, low_pass, tiles, find_harmonics(reference, pattern))

    def _reference_shape(self, state: State) -> tuple[int, int, int]:
        return state.shape

    @torch.inference_mode()
    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        with thread_pool(self.device):
            guess = None if state.harmonics is None else guess_displacement(state.harmonics, sample)
            each = [
                self._retrieve_projection(stack, state, None if guess is None else guess.maps[k])
                for k, stack in enumerate(sample)
            ]
        t, b, ux, uy, variance, bound = (torch.stack(maps) for maps in zip(*each, strict=True))
        window, d = self.settings.window, b / t
        ux, uy = state.low_pass.unbiased(ux, uy)
        blur = state.low_pass.variance + (self.settings.detector_blur_px or 0.0) ** 2 + PIXEL_VARIANCE
        ux, uy = without_blur_shift(ux, uy, b, blur)
        limit = float(self.settings.max_displacement_px)
        ux, uy = ux.clamp(-limit, limit), uy.clamp(-limit, limit)
        measured = t
        t = t * log_determinant(torch.stack((ux, uy), 1), FRINGES)[:, 0].exp()
        # a fixed window's field is noisy from pixel to pixel: its derivatives would say nothing
        if window == "auto":
            variance = variance + unresolved_variance(ux, uy, blur + SCALES[-1] ** 2)
        flags = (bound > 0).to(torch.uint8) * FLAG_BOUND
        flags |= fold_flags(ux, uy)
        if guess is not None:
            flags |= guess.flags(ux, uy)
        flags |= edge_flags(ux, uy, int(SCALES[-1] * 3) if window == "auto" else int(window) // 2)
        return Fields(t, ux, uy, d, variance.sqrt(), flags, measured)

    def _retrieve_projection(self, sample: Tensor, state: State, guess: Tensor | None) -> list[Tensor]:
        """T, B, u_x, u_y, variance of u, bounds met (all (y, x)) of one sample stack (N, y, x).

        ``guess`` (3, y, x): of a periodic pattern (:attr:`.harmonics.Guess.maps`).
        """
        if len(state.tiles) == 1:
            return self._retrieve_tile(sample, state.tiles[0][1], state, guess)
        whole = [sample.new_empty(sample.shape[-2:]) for _ in range(6)]
        for tile, prepared in state.tiles:
            part = None if guess is None else tile.cut(guess)
            pieces = self._retrieve_tile(tile.cut(sample), prepared, state, part)
            for image, piece in zip(whole, pieces, strict=True):
                image[tile.inner] = tile.core(piece)
        return whole

    def _retrieve_tile(
        self, sample: Tensor, prepared: Prepared, state: State, guess: Tensor | None
    ) -> list[Tensor]:
        limit = float(self.settings.max_displacement_px)
        window, basis = self.settings.window, prepared.basis
        now = first_estimate(sample, prepared.coarse, limit, state.scale)
        coefficients = spline_coefficients(sample, gaussian(state.low_pass.sigma), state.scale)
        if guess is not None and bool(guess[2].any()):
            now = _begin_with(guess, keep_if_better(now, coefficients, basis, guess[:2])[0])
        met = torch.zeros_like(now.t)
        for step in range(_STEPS):
            model = linearise(now, measure(coefficients, basis, now.ux, now.uy), basis)
            if window == "auto":
                scales = SCALES if step == _STEPS - 1 else COARSE_SCALES
                now, variance, bound = mixed_windows(now, model, prepared.gain, scales)
            else:
                now, variance, bound = fixed_window(now, model, prepared.gain, int(window))
            met = (bound | (now.ux.abs() > limit) | (now.uy.abs() > limit)).to(now.t.dtype)
            now = Estimate(now.t, now.b, now.ux.clamp(-limit, limit), now.uy.clamp(-limit, limit))
        return [now.t, now.b, now.ux, now.uy, variance, met]


def _begin_with(guess: Tensor, other: Estimate) -> Estimate:
    """The displacement of a guess (3, y, x) where it is certain, and another elsewhere."""
    ux, uy = torch.where(guess[2] > 0, guess[:2], torch.stack((other.ux, other.uy)))
    return Estimate(other.t, other.b, ux, uy)


def _bytes_per_pixel(positions: int) -> float:
    """Peak memory over the pixels: rho, r_x, r_y and their coarse levels, both stacks, coefficients; 150 maps.

    Measured at 1024 x 1024 and 2048 x 2048 (benchmarks/umpa.md).
    """
    return 4.0 * (7.5 * positions + 150)
