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
from speckleflow.retrieval.filters import gaussian
from speckleflow.retrieval.flags import edge_flags, fold_flags
from speckleflow.retrieval.lowpass import choose_low_pass
from speckleflow.retrieval.noise import NoiseGain, noise_gain
from speckleflow.retrieval.normal import Basis, Estimate, local_mean, make_basis, measure, spline_coefficients
from speckleflow.retrieval.pyramid import first_estimate, pyramid

#: coarse levels below full resolution: 1/2, 1/4, 1/8
_LEVELS = 3
#: scale in pixels over which the reference is averaged to its local mean: several periods of common modulators
_MEAN_SIGMA = 12.0
#: steps at full resolution; after two the changes are below the noise
_STEPS = 2


@dataclass(frozen=True)
class State:
    """What a scan's reference gives once: mean level, bases at full and coarse resolution, noise, low-pass."""

    scale: float
    basis: Basis
    coarse: list[Basis]
    gain: NoiseGain
    low_pass: float


class Umpa(Retriever):
    """UMPA with transmission and dark field; ``settings``: UmpaSettings(window, max_displacement_px)."""

    name = "umpa"
    gives = frozenset({"ux", "uy", "transmission", "darkfield", "quality", "flags"})

    @property
    def halo(self) -> int:
        """The widest windows of the coarsest level and of full resolution, and the search range."""
        reach = int(self.settings.max_displacement_px) + 1
        return 8 * ((96 + reach + 7) // 8)

    def _prepare(self, reference: Tensor) -> State:
        scale = float(reference.mean())
        if not scale > 0:
            raise InputError("reference stack", expected="a beam (mean above 0)", found=f"mean {scale:g}")
        reference = reference / scale
        mean = local_mean(reference, _MEAN_SIGMA)
        low_pass = choose_low_pass(reference)
        basis = make_basis(reference, mean, gaussian(low_pass))
        coarse = pyramid(reference, mean, _LEVELS)
        return State(scale, basis, coarse, noise_gain(basis, low_pass), low_pass)

    def _reference_shape(self, state: State) -> tuple[int, int, int]:
        return state.basis.shape

    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        each = [dict(self._one(stack / state.scale, state).items()) for stack in sample]
        return Fields(**{name: torch.stack([fields[name] for fields in each]) for name in each[0]})

    def _one(self, sample: Tensor, state: State) -> Fields:
        """Fields (y, x) of one sample stack (N, y, x)."""
        limit = float(self.settings.max_displacement_px)
        window = self.settings.window
        now = first_estimate(sample, state.coarse, limit)
        coefficients = spline_coefficients(sample, gaussian(state.low_pass))
        for step in range(_STEPS):
            model = linearise(now, measure(coefficients, state.basis, now.ux, now.uy), state.basis)
            if window == "auto":
                scales = SCALES if step == _STEPS - 1 else COARSE_SCALES
                now, variance, bound = mixed_windows(now, model, state.gain, scales)
            else:
                now, variance, bound = fixed_window(now, model, state.gain, int(window))
            beyond = (now.ux.abs() > limit) | (now.uy.abs() > limit)
            now = Estimate(now.t, now.b, now.ux.clamp(-limit, limit), now.uy.clamp(-limit, limit))
        flags = (bound | beyond).to(torch.uint8) * FLAG_BOUND
        flags |= fold_flags(now.ux, now.uy)
        flags |= edge_flags(now.ux, now.uy, int(SCALES[-1] * 3) if window == "auto" else int(window) // 2)
        return Fields(
            transmission=now.t,
            ux=now.ux,
            uy=now.uy,
            darkfield=now.b / now.t,
            quality=variance.sqrt(),
            flags=flags,
        )
