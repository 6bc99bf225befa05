"""Periodicity of a pattern, as of gratings and arrays of holes.

A periodic pattern looks the same after a shift by its period: the displacement is known up to multiples of it. On
pixels larger than half the period the pattern is aliased and moves the other way.
"""

from __future__ import annotations

import math

import torch

from speckleflow.retrieval.spectrum import Spectrum, hann

#: standard deviation (px) of the Gaussian high-pass: wavelengths above some 18 px hold the shape of the beam
_COARSE = 4.0
#: range of shifts of the autocorrelation: beyond the width of speckles (px), up to 64 px and a share of the image
_NEAR, _FAR, _SHARE = 20.0, 64.0, 0.35
#: noise alone reaches four to five of its standard deviations at some shift; correlations below twice that count less
_LEAST_SIGMA = 10.0
#: the spectrum's neighbours share their noise: equivalent noise bandwidth of the Hann window in two dimensions
_HANN_BANDWIDTH = 1.5**2
#: Least autocorrelation of a periodic pattern. Simulated gratings of 4 to 20 px, contrast 5 to 40 %, 320 px,
#: have 0.8 and more at 200 photons and 0.98 at 10,000; sandpapers mostly below 0.2, and masks, whose holes lie on a
#: grid, up to 0.6.
PERIODIC = 0.5


def is_periodic(pattern: Spectrum) -> bool:
    """Whether the pattern of a reference stack is periodic; True where the image is too small to tell."""
    return periodicity(pattern) > PERIODIC


def periodicity(pattern: Spectrum) -> float:
    """Largest autocorrelation of the fine pattern beyond the width of a speckle: 1 for one that is periodic.

    White noise is subtracted; the result is small where there is nothing else.
    """
    power, wy, wx, noise, frames = pattern
    height, width = power.shape
    fine = (1 - torch.exp(-(wx**2 + wy**2) * _COARSE**2 / 2)) ** 2
    power = power * fine
    window = torch.fft.fft2(hann(height, width, power.device)).abs().square()
    correlation = torch.fft.ifft2(power).real / torch.fft.ifft2(window).real
    # fftfreq's order: a frequency times the length is a shift
    distance = torch.hypot(wy * height, wx * width) / (2 * math.pi)
    ring = correlation[(distance > _NEAR) & (distance < min(_FAR, _SHARE * min(height, width)))]
    if not len(ring):
        return math.inf
    sigma = noise * math.sqrt(_HANN_BANDWIDTH * float(fine.square().sum()) / frames) / float(window.sum())
    return float(ring.max()) / max(float(correlation[0, 0]), _LEAST_SIGMA * sigma, 1e-12)
