"""The low-pass that a pattern needs so that cubic B-spline interpolation biases its displacement little.

Between the samples a cubic B-spline moves a component of frequency w not by w u but, for small u, by d(w) u with
d(w) = 3 sin w / (2 + cos w), the response of its derivative at the samples: too little for components near the
Nyquist frequency, so that the displacement that fits best comes out too large. The least-squares fixed point is

    u_found / u = sum P(w) w d(w) / sum P(w) d(w)^2,

P being the power of the low-passed pattern. Fine patterns (measured: correlation 0.2 at two pixels) are off by 4 %
without a low-pass, as the formula says; wide speckle needs none. Whole pixels need no interpolation, and the error
found for constant shifts is (u_found / u - 1) sin(2 pi u) / (2 pi), which is taken off: of patterns that are well
sampled a twentieth of it is left; of those that alias, which the spectrum takes for finer or coarser ones, up to half.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from speckleflow.retrieval.filters import gaussian, response, variance
from speckleflow.retrieval.spectrum import Spectrum

#: candidate widths in pixels. The least keeps the noise of the interpolated sample nearly independent of the
#: sub-pixel fraction; beyond the widest nothing is left of a pattern that needs it.
CANDIDATES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4)
#: Largest bias that is accepted before it is taken off, so that less than the 1 % is left to which absolute phase is
#: usually asked to be right. A low-pass wide enough for 0.6 % made the error of umpa 18 % larger (geometric mean of 12
#: held-out cells, 5000 photons), one for 3 % made it 2 % smaller.
ACCEPTED = 0.02


class LowPass(NamedTuple):
    """Width (standard deviation in pixels), and the bias that is left along x and y: u_found / u - 1 for small u."""

    sigma: float
    bias_x: float
    bias_y: float

    @property
    def variance(self) -> float:
        """Variance in px^2 of the sampled kernel: 0.081 at 0.4 px, where the Gaussian's own is 0.16."""
        return variance(gaussian(self.sigma))

    def unbiased(self, ux: Tensor, uy: Tensor) -> tuple[Tensor, Tensor]:
        """The displacement in px without that bias."""
        turn = 2 * math.pi
        return ux - self.bias_x / turn * (turn * ux).sin(), uy - self.bias_y / turn * (turn * uy).sin()


def choose_low_pass(pattern: Spectrum) -> LowPass:
    """Narrowest of :data:`CANDIDATES` with a predicted bias within :data:`ACCEPTED`.

    Where none reaches that (a grating has one frequency, which no low-pass changes): the narrowest within a
    tenth of the best. ``pattern``: spectrum of a reference stack.
    """
    power = pattern.power.clamp_min(0)
    found = [
        LowPass(sigma, *interpolation_bias(power, pattern.wy, pattern.wx, sigma)) for sigma in CANDIDATES
    ]
    largest = [max(one.bias_x, one.bias_y) for one in found]
    enough = max(ACCEPTED, 1.1 * min(largest))
    return next(one for one, bias in zip(found, largest, strict=True) if bias <= enough)


def interpolation_bias(power: Tensor, wy: Tensor, wx: Tensor, sigma: float) -> tuple[float, float]:
    """Relative bias of small displacements along x and y after a Gaussian low-pass of ``sigma`` pixels."""
    kernel = gaussian(sigma)
    kept = power * (response(kernel, wy) * response(kernel, wx)).square()
    biases = []
    for w in (wx, wy):
        d = 3 * torch.sin(w) / (2 + torch.cos(w))
        total = (kept * d * d).sum()
        biases.append(float((kept * w * d).sum() / total) - 1 if float(total) > 0 else 0.0)
    return biases[0], biases[1]
