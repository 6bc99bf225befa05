"""The low-pass that a pattern needs so that cubic B-spline interpolation does not bias its displacement.

Between the samples a cubic B-spline moves a component of frequency w not by w u but, for small u, by d(w) u with
d(w) = 3 sin w / (2 + cos w), the response of its derivative at the samples: too little for components near the
Nyquist frequency, so that the displacement that fits best comes out too large. The least-squares fixed point is

    u_found / u = sum P(w) w d(w) / sum P(w) d(w)^2,

P being the power of the low-passed pattern. Fine patterns (measured: correlation 0.2 at two pixels) are off by 4 %
without a low-pass, as the formula says; wide speckle needs none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: candidate widths in pixels. The least keeps the noise of the interpolated sample nearly independent of the
#: sub-pixel fraction; beyond the widest nothing is left of a pattern that needs it.
CANDIDATES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4)
#: largest bias that is accepted: a third of what absolute phase is usually asked to be right to
ACCEPTED = 0.006
_FRAMES, _SIDE = 8, 256


def choose_low_pass(reference: Tensor) -> float:
    """Narrowest of :data:`CANDIDATES` (sigma in pixels) with a predicted bias within :data:`ACCEPTED`.

    Where none reaches that (a grating has one frequency, which no low-pass changes): the narrowest within a
    tenth of the best. ``reference``: stack (N, y, x); the centre of its first frames is looked at.
    """
    power, wy, wx = _spectrum(reference)
    biases = [interpolation_bias(power, wy, wx, sigma) for sigma in CANDIDATES]
    enough = max(ACCEPTED, 1.1 * min(biases))
    return next(sigma for sigma, bias in zip(CANDIDATES, biases, strict=True) if bias <= enough)


def interpolation_bias(power: Tensor, wy: Tensor, wx: Tensor, sigma: float) -> float:
    """Relative bias of small displacements, the larger of x and y, after a Gaussian low-pass of ``sigma`` pixels."""
    kept = power * torch.exp(-(wx**2 + wy**2) * sigma**2)
    bias = 0.0
    for w in (wx, wy):
        d = 3 * torch.sin(w) / (2 + torch.cos(w))
        total = (kept * d * d).sum()
        bias = max(bias, float((kept * w * d).sum() / total) - 1) if float(total) > 0 else bias
    return bias


def _spectrum(reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean power (y, x) of the pattern in the centre of a few frames, and its frequencies in rad per pixel.

    White noise is taken off: it is what the spectrum holds in its corners, beyond 0.8 of both Nyquist
    frequencies (power of noise is exponentially distributed, its median is ln 2 of its mean).
    """
    _, height, width = reference.shape
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    part = reference[:_FRAMES, top : top + _SIDE, left : left + _SIDE]
    height, width = part.shape[-2:]
    part = part - part.mean(dim=(1, 2), keepdim=True)
    hann_y = torch.hann_window(height, device=part.device)[:, None]
    hann_x = torch.hann_window(width, device=part.device)
    power = torch.fft.fft2(part * hann_y * hann_x).abs().square().mean(0)
    wy = 2 * math.pi * torch.fft.fftfreq(height, device=part.device)[:, None]
    wx = 2 * math.pi * torch.fft.fftfreq(width, device=part.device)[None]
    corner = power[(wy.abs() > 0.8 * math.pi) & (wx.abs() > 0.8 * math.pi)]
    return (power - corner.median() / math.log(2)).clamp_min_(0), wy, wx
