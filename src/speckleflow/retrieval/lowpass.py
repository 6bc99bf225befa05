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

#: candidate widths in pixels. The least keeps the noise of the interpolated sample nearly independent of the
#: sub-pixel fraction; beyond the widest nothing is left of a pattern that needs it.
CANDIDATES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4)
#: Largest bias that is accepted before it is taken off, so that less than the 1 % is left to which absolute phase is
#: usually asked to be right. A low-pass wide enough for 0.6 % made the error of umpa 18 % larger (geometric mean of 12
#: held-out cells, 5000 photons), one for 3 % made it 2 % smaller.
ACCEPTED = 0.02
_FRAMES, _SIDE = 8, 256


class LowPass(NamedTuple):
    """Width (standard deviation in pixels), and the bias that is left along x and y: u_found / u - 1 for small u."""

    sigma: float
    bias_x: float
    bias_y: float

    def unbiased(self, ux: Tensor, uy: Tensor) -> tuple[Tensor, Tensor]:
        """The displacement in px without that bias."""
        turn = 2 * math.pi
        return ux - self.bias_x / turn * (turn * ux).sin(), uy - self.bias_y / turn * (turn * uy).sin()


def choose_low_pass(reference: Tensor) -> LowPass:
    """Narrowest of :data:`CANDIDATES` with a predicted bias within :data:`ACCEPTED`.

    Where none reaches that (a grating has one frequency, which no low-pass changes): the narrowest within a
    tenth of the best. ``reference``: stack (N, y, x); the centre of its first frames is looked at.
    """
    power, wy, wx, *_ = spectrum(reference)
    power = power.clamp_min(0)
    found = [LowPass(sigma, *interpolation_bias(power, wy, wx, sigma)) for sigma in CANDIDATES]
    largest = [max(one.bias_x, one.bias_y) for one in found]
    enough = max(ACCEPTED, 1.1 * min(largest))
    return next(one for one, bias in zip(found, largest, strict=True) if bias <= enough)


def interpolation_bias(power: Tensor, wy: Tensor, wx: Tensor, sigma: float) -> tuple[float, float]:
    """Relative bias of small displacements along x and y after a Gaussian low-pass of ``sigma`` pixels."""
    kept = power * torch.exp(-(wx**2 + wy**2) * sigma**2)
    biases = []
    for w in (wx, wy):
        d = 3 * torch.sin(w) / (2 + torch.cos(w))
        total = (kept * d * d).sum()
        biases.append(float((kept * w * d).sum() / total) - 1 if float(total) > 0 else 0.0)
    return biases[0], biases[1]


def hann(height: int, width: int, device: torch.device) -> Tensor:
    """Window (y, x) that the spectrum is taken in."""
    along_y, along_x = (torch.hann_window(length, device=device) for length in (height, width))
    return along_y[:, None] * along_x


class Spectrum(NamedTuple):
    """Mean power (y, x) of several frames, its frequencies in rad per pixel; the power of white noise that was taken
    off, and the number of frames.
    """

    power: Tensor
    wy: Tensor
    wx: Tensor
    noise: float
    frames: int


def spectrum(reference: Tensor) -> Spectrum:
    """Spectrum of the pattern of a stack (N, y, x), in the centre of its first frames.

    White noise is taken off, so that the power is below zero where there is nothing else: it is what the spectrum
    holds in its corners, beyond 0.8 of both Nyquist frequencies (power of noise is exponentially distributed, its
    median is ln 2 of its mean).
    """
    _, height, width = reference.shape
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    part = reference[:_FRAMES, top : top + _SIDE, left : left + _SIDE]
    height, width = part.shape[-2:]
    part = part - part.mean(dim=(1, 2), keepdim=True)
    power = torch.fft.fft2(part * hann(height, width, part.device)).abs().square().mean(0)
    wy = 2 * math.pi * torch.fft.fftfreq(height, device=part.device)[:, None]
    wx = 2 * math.pi * torch.fft.fftfreq(width, device=part.device)[None]
    corner = power[(wy.abs() > 0.8 * math.pi) & (wx.abs() > 0.8 * math.pi)]
    noise = float(corner.median()) / math.log(2)
    return Spectrum(power - noise, wy, wx, noise, len(part))
