"""Coherence lengths of a speckle pattern, and the intensity transfer function they make.

Siegert relation: g2(dx) = 1 + |g1(dx)|^2, fitted by g2 = 1 + c exp(-pi dx^2 / x_coh^2) along each axis
(preconditioned Wirtinger flow, eq. 3-5). The contrast c is free, since thin sandpaper's speckle is not fully developed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from speckleflow.errors import InputError

#: The fit ends where the correlation falls below this share of its peak: further out grains of the diffuser count.
_LOWEST = 0.3
#: Fewest lags of a fit; one more than it has unknowns.
_LAGS = 3
#: A pattern of a smaller correlation at one pixel's lag (against its variance) is noise.
_FAINTEST = 0.05


def coherence_lengths_px(reference: Tensor) -> tuple[float, float]:
    """Coherence lengths (y, x) in pixels of a reference stack (N, y, x).

    The lag 0 is left out: it alone holds the noise of the detector.

    Raises
    ------
    InputError
        The reference holds no speckle: neighbouring pixels are not correlated.
    """
    pattern = reference.double()
    pattern = pattern / pattern.mean((-2, -1), keepdim=True)
    pattern = pattern - _slow(pattern)
    return _length(pattern.transpose(-2, -1), "y"), _length(pattern, "x")


def blur_of(coherence: float) -> float:
    """Standard deviation of the intensity's point spread: x_coh / (2 sqrt(pi)), in the unit of x_coh (eq. 4)."""
    return coherence / (2 * math.sqrt(math.pi))


def coherence_of(blur: float) -> float:
    """Coherence length of a point spread of standard deviation ``blur``, in its unit; inverse of :func:`blur_of`."""
    return blur * 2 * math.sqrt(math.pi)


def _slow(pattern: Tensor) -> Tensor:
    """What of the pattern (N, y, x) is beam: frequencies below two periods an image."""
    spectrum = torch.fft.rfft2(pattern)
    height, width = pattern.shape[-2:]
    fy = torch.fft.fftfreq(height, d=1 / height)[:, None]
    fx = torch.fft.rfftfreq(width, d=1 / width)[None, :]
    return torch.fft.irfft2(spectrum * (fy**2 + fx**2 <= 4), s=(height, width))


def _length(pattern: Tensor, axis: str) -> float:
    """Coherence length in pixels along the last axis, from the mean autocorrelation of its lines."""
    n = pattern.shape[-1]
    spectrum = torch.fft.rfft(pattern, n=2 * n).abs().square()
    correlation = torch.fft.irfft(spectrum, n=2 * n)[..., : n // 2].flatten(0, -2).sum(0)
    correlation = correlation / (n - torch.arange(n // 2, dtype=torch.float64))
    first = correlation[1]
    if not first > _FAINTEST * correlation[0]:
        raise InputError(
            "reference stack",
            expected=f"speckle: neighbouring pixels that are correlated along {axis}",
            found=f"a correlation of {float(first / correlation[0]):.3f} between neighbours, as of noise",
            hint="check that the diffuser was in the beam, or give retrieval.pwf.coherence_length_um",
        )
    below = (correlation < _LOWEST * first).nonzero()
    last = max(int(below[0]) if len(below) else n // 2, 1 + _LAGS)
    lag = torch.arange(1, last, dtype=torch.float64)
    value = correlation[1:last].clamp_min(1e-3 * float(first))
    # least squares of ln g: its error is that of g over g
    weight = value**2
    square = lag**2
    mean_square, mean_log = (float((weight * v).sum() / weight.sum()) for v in (square, value.log()))
    slope = float((weight * (square - mean_square) * (value.log() - mean_log)).sum())
    slope /= float((weight * (square - mean_square) ** 2).sum())
    return math.sqrt(math.pi / max(-slope, 1e-6))
