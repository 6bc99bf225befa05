"""A first displacement from coarse to fine, so that the fine steps start inside their capture range."""

from __future__ import annotations

import math
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from speckleflow.retrieval.filters import energy, filter_xy, gaussian, halve
from speckleflow.retrieval.normal import (
    Basis,
    Estimate,
    Moments,
    apply,
    make_basis,
    measure,
    solve,
    spline_coefficients,
)
from speckleflow.retrieval.parallel import parallel_for

#: window of the start: 4 pi sigma^2 = 50 pixels, as many as the usual 7 x 7
WINDOW = gaussian(2.0)
_LOW_PASS = gaussian(0.6)
#: a coarser level must keep this many pixels on its shorter side: more than two windows
_SMALLEST = 12
#: steps a level; the second halves what the first left, more changes less than the noise
_STEPS = 2
#: evidence (twice the log-likelihood ratio) that a shift must have over none: the largest of 25 chi-square
#: values of one degree of freedom stays below 12 in 98.7 % of pure noise
_EVIDENCE = 12.0


def pyramid(reference: Tensor, mean: Tensor, levels: int, scale: float = 1.0) -> list[Basis]:
    """Bases of the reference at 1/2, 1/4, ... of the resolution (``levels``, or fewer for small images).

    The stack is divided by ``scale``, ``mean`` (y, x) has been.
    """
    bases: list[Basis] = []
    while len(bases) < levels and min(reference.shape[-2:]) // 2 >= _SMALLEST:
        reference, mean = halve(reference), halve(mean[None])[0]
        bases.append(make_basis(reference, mean, _LOW_PASS, scale))
    return bases


def first_estimate(
    sample: Tensor, bases: list[Basis], max_displacement: float, scale: float = 1.0
) -> Estimate:
    """Fields at full resolution from the coarse ``bases`` (finest first) of a sample stack (N, y, x).

    The sample is divided by ``scale``, the mean level of the reference.
    """
    shapes = [sample.shape[-2:]]
    samples: list[Tensor] = []
    for _ in bases:
        samples.append(halve(samples[-1] if samples else sample))
        shapes.append(samples[-1].shape[-2:])
    now: Estimate | None = None
    for level in range(len(bases), 0, -1):
        basis, reach = bases[level - 1], max_displacement / 2.0**level
        coefficients = spline_coefficients(samples[level - 1], _LOW_PASS, scale)
        moments: Moments | None = None
        if now is None:
            now = _search_whole_pixels(coefficients, basis, math.ceil(reach))
        else:
            now, moments = keep_if_better(now, coefficients, basis)
        for _ in range(_STEPS):
            now = _gauss_newton_step(
                now, moments or measure(coefficients, basis, now.ux, now.uy), basis, reach
            )
            moments = None
        now = _upsample(now, shapes[level - 1])
    if now is None:
        height, width = sample.shape[-2:]
        one, zero = (
            torch.ones(height, width, device=sample.device),
            torch.zeros(height, width, device=sample.device),
        )
        return Estimate(one, one.clone(), zero, zero.clone())
    return now


def _search_whole_pixels(coefficients: Tensor, basis: Basis, reach: int) -> Estimate:
    """Best whole-pixel shift within ``reach``; none where no shift is clearly better than none."""
    _, height, width = basis.shape
    zero = torch.zeros(height, width, device=coefficients.device)
    shifts = sorted(product(range(-reach, reach + 1), repeat=2), key=lambda s: s[0] ** 2 + s[1] ** 2)
    unexplained, slope, samples = (zero.new_empty(len(shifts), height, width) for _ in range(3))

    def fit_shift(k: int) -> None:
        dy, dx = shifts[k]
        unexplained[k], slope[k], samples[k] = _fit_contrast(
            measure(coefficients, basis, zero + dx, zero + dy), basis
        )

    parallel_for(fit_shift, range(len(shifts)))
    least, best = unexplained.min(0)
    best = torch.where(
        _evidence(least, unexplained[0], samples.gather(0, best[None])[0]) > _EVIDENCE, best, 0
    )
    table = torch.tensor(shifts, dtype=torch.float32, device=zero.device)
    b = slope.gather(0, best[None])[0].clamp(0.05, 1.5)
    return Estimate(torch.ones_like(zero), b, table[best, 1], table[best, 0])


def keep_if_better(
    now: Estimate, coefficients: Tensor, basis: Basis, other: Tensor | None = None
) -> tuple[Estimate, Moments]:
    """The displacement of ``now`` where it clearly explains this level better than ``other`` (2, y, x; None: zero).

    A pattern of fine pitch has all but vanished at the coarse levels, which then follow noise; here, where it
    is seen, such a displacement fits worse than none at all. The moments are those of the returned displacement.
    """
    ox, oy = torch.zeros_like(now.ux).expand(2, *now.ux.shape) if other is None else other
    there = measure(coefficients, basis, now.ux, now.uy)
    here = measure(coefficients, basis, ox, oy)
    unexplained, slope, samples = _fit_contrast(there, basis)
    unexplained_other, slope_other, _ = _fit_contrast(here, basis)
    keep = _evidence(unexplained, unexplained_other, samples) > _EVIDENCE
    b = torch.where(keep, slope, slope_other).clamp(0.05, 1.5)
    moments = Moments(
        torch.where(keep, there.h, here.h),
        torch.where(keep, there.energy, here.energy),
        torch.where(keep, there.valid, here.valid),
    )
    return Estimate(now.t, b, torch.where(keep, now.ux, ox), torch.where(keep, now.uy, oy)), moments


def _fit_contrast(moments: Moments, basis: Basis) -> tuple[Tensor, Tensor, Tensor]:
    """Best T and B in a window for a given displacement: what part of the pattern they leave, B, and of how many
    samples; each (y, x).

    The part left is 1 - ZNCC^2: a shift brings other data into the window, which may hold a stronger pattern,
    so that sums of squares of two shifts cannot be compared. All sums are over the rays that land inside the
    image.
    """
    maps = torch.stack((moments.h[0], moments.h[1], moments.energy, *basis.gram[[0, 1, 4]]))
    mean, product_, total, mm, mr, rr = filter_xy(maps * moments.valid, WINDOW, WINDOW, "zero")
    inside = filter_xy(moments.valid, WINDOW, WINDOW, "zero")
    mm = mm + 1e-12
    variance = rr - mr**2 / mm + 1e-6 * mm
    covariance = (product_ - mr * mean / mm).clamp_min(0)
    pattern = (total - mean**2 / mm).clamp_min(1e-12)
    unexplained = (1 - covariance**2 / (variance * pattern)).clamp(1e-6, 1)
    return unexplained, covariance / variance, inside * (basis.shape[0] / energy(WINDOW) ** 2)


def _evidence(unexplained: Tensor, unexplained_none: Tensor, samples: Tensor) -> Tensor:
    """Twice the log-likelihood ratio of a shift over none, for normal noise of unknown strength.

    Four of the samples are used up by T, B and the shift itself.
    """
    return (samples - 4).clamp_min(0) * (unexplained_none / unexplained).log()


def _gauss_newton_step(now: Estimate, moments: Moments, basis: Basis, reach: float) -> Estimate:
    """One Gauss-Newton step in a fixed window; prior: displacements are of the order of ``reach``."""
    zero = torch.zeros_like(now.t)
    theta = torch.stack((now.t - 1, now.b, zero, zero))
    residual = (moments.h - apply(basis.gram, theta)) * moments.valid
    matrix = filter_xy(basis.gram, WINDOW, WINDOW, "zero")
    right = filter_xy(residual, WINDOW, WINDOW, "zero")
    squares = moments.energy - (theta * (moments.h + residual)).sum(0)
    noise = filter_xy(squares[None].clamp_min(0), WINDOW, WINDOW, "zero")[0] / basis.shape[0]
    prior = noise * energy(WINDOW) ** 2 / (reach * now.b) ** 2
    for k in (7, 9):
        matrix[k] += prior
    right[2] += prior * now.b * now.ux
    right[3] += prior * now.b * now.uy
    matrix[0] *= 1 + 1e-5
    matrix[4] += 1e-5 * matrix[0]
    step, _ = solve(matrix, right)
    b = (now.b + step[1]).clamp(0.02, 2.0)
    t = (now.t + step[0]).clamp(0.01, 2.0)
    ux = now.ux - (step[2] / b).clamp(-1, 1)
    uy = now.uy - (step[3] / b).clamp(-1, 1)
    return Estimate(t, b, ux.clamp(-reach, reach), uy.clamp(-reach, reach))


def _upsample(now: Estimate, shape: torch.Size) -> Estimate:
    """Carry fields to twice the resolution; a coarse pixel's centre lies between four fine ones."""
    height, width = shape
    stack = torch.stack((now.t, now.b, 2 * now.ux, 2 * now.uy))[None]
    fine = F.interpolate(stack, scale_factor=2.0, mode="bilinear", align_corners=False)
    fine = F.pad(fine, (0, width - fine.shape[-1], 0, height - fine.shape[-2]), mode="replicate")[0]
    return Estimate(fine[0], fine[1], fine[2], fine[3])
