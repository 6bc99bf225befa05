"""Unified Modulated Pattern Analysis, solved by Gauss-Newton from coarse to fine.

The cost is that of Zdora et al., Phys. Rev. Lett. 118, 203903 (2017); the solution differs: no search, but a
pyramid of Gauss-Newton steps on the reference grid, where the reference, its cubic B-spline derivatives and
their window sums do not change from step to step or from projection to projection, and only the sample is warped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speckleflow.errors import InputError
from speckleflow.retrieval.base import FLAG_BOUND, Fields, Retriever
from speckleflow.retrieval.filters import Kernel, box, energy, filter_xy, gaussian
from speckleflow.retrieval.flags import edge_flags, fold_flags
from speckleflow.retrieval.normal import (
    Basis,
    apply,
    local_mean,
    make_basis,
    measure,
    solve,
    spline_coefficients,
)
from speckleflow.retrieval.pyramid import Estimate, first_estimate, pyramid

#: coarse levels below full resolution: 1/2, 1/4, 1/8
_LEVELS = 3
#: light low-pass of both stacks in pixels
_LOW_PASS = gaussian(0.6)
#: scale in pixels over which the reference is averaged to its local mean
_MEAN_SIGMA = 12.0
_STEPS = 2


@dataclass(frozen=True)
class State:
    """What a scan's reference stack gives once: its mean level, the basis at full resolution and the coarse ones."""

    scale: float
    basis: Basis
    coarse: list[Basis]


class Umpa(Retriever):
    """UMPA with transmission and dark field; ``settings``: UmpaSettings(window, max_displacement_px)."""

    name = "umpa"
    gives = frozenset({"ux", "uy", "transmission", "darkfield", "quality", "flags"})

    def _prepare(self, reference: Tensor) -> State:
        scale = float(reference.mean())
        if not scale > 0:
            raise InputError("reference stack", expected="a beam (mean above 0)", found=f"mean {scale:g}")
        reference = reference / scale
        mean = local_mean(reference, _MEAN_SIGMA)
        basis = make_basis(reference, mean, _LOW_PASS)
        return State(scale, basis, pyramid(reference, mean, _LEVELS))

    def _reference_shape(self, state: State) -> tuple[int, int, int]:
        return state.basis.shape

    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        each = [self._one(stack / state.scale, state) for stack in sample]
        return Fields(
            **{name: torch.stack([dict(f.items())[name] for f in each]) for name, _ in each[0].items()}
        )

    def _one(self, sample: Tensor, state: State) -> Fields:
        limit = float(self.settings.max_displacement_px)
        now = first_estimate(sample, state.coarse, limit)
        window = self.settings.window
        kernel: Kernel = gaussian(2.0) if window == "auto" else box(int(window))
        coefficients = spline_coefficients(sample, _LOW_PASS)
        basis = state.basis
        matrix = filter_xy(basis.gram, kernel, kernel, "zero")
        matrix[0] *= 1 + 1e-5
        for k in (4, 7, 9):
            matrix[k] += 1e-5 * matrix[0]
        bound = torch.zeros_like(now.ux, dtype=torch.bool)
        quality = torch.zeros_like(now.ux)
        for _ in range(_STEPS):
            moments = measure(coefficients, basis, now.ux, now.uy)
            zero = torch.zeros_like(now.t)
            theta = torch.stack((now.t - 1, now.b, zero, zero))
            residual = (moments.h - apply(basis.gram, theta)) * moments.valid
            step, inverse = solve(matrix, filter_xy(residual, kernel, kernel, "zero"))
            squares = moments.energy - (theta * (moments.h + residual)).sum(0)
            noise = filter_xy(squares[None].clamp_min(0), kernel, kernel, "zero")[0] / basis.shape[0]
            t, b = now.t + step[0], now.b + step[1]
            b_safe = b.clamp_min(0.02)
            dx, dy = step[2] / b_safe, step[3] / b_safe
            ux = (now.ux - dx.clamp(-1, 1)).clamp(-limit, limit)
            uy = (now.uy - dy.clamp(-1, 1)).clamp(-limit, limit)
            bound = (dx.abs() > 1) | (dy.abs() > 1) | (ux.abs() >= limit) | (uy.abs() >= limit)
            bound |= (t <= 0.01) | (b <= 0)
            quality = ((inverse[2] + inverse[3]) * noise).sqrt() * energy(kernel) / (b_safe * 2**0.5)
            now = Estimate(t.clamp_min(0.01), b.clamp_min(0.0), ux, uy)
        flags = bound.to(torch.uint8) * FLAG_BOUND
        flags |= fold_flags(now.ux, now.uy) | edge_flags(now.ux, now.uy, len(kernel) // 2)
        return Fields(
            transmission=now.t,
            ux=now.ux,
            uy=now.uy,
            darkfield=now.b / now.t,
            quality=quality,
            flags=flags,
        )
