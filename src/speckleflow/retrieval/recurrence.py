"""Whether a pattern repeats itself, as gratings and arrays of holes do.

Such a pattern looks the same after a shift by its period: a displacement is known but for multiples of it, and on
pixels of more than half of it the pattern is aliased and moves the other way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from speckleflow.retrieval.lowpass import hann, spectrum

#: shortest wavelength (px) that is not looked at: wider ones hold the beam, and need no care
_WAVELENGTH = 18.0
#: shifts (px) at which a pattern is compared with itself: farther than speckles are wide; the farthest in shares of
#: the image too, of which there must be enough left
_NEAR, _FAR, _SHARE = 20.0, 64.0, 0.35
#: Least correlation of a pattern that repeats itself. Simulated gratings of 4 to 20 px, contrast 5 to 40 %, 320 px,
#: have 0.76 and more at 200 photons and 0.92 at 10,000; sandpapers up to 0.2, and masks, whose holes lie on a grid, up
#: to 0.6.
REPEATED = 0.5


def repeats_itself(reference: Tensor) -> bool:
    """Whether the pattern of a reference stack (N, y, x) repeats itself; True where the image is too small to tell.

    The centre of its first frames is looked at.
    """
    return recurrence(reference) > REPEATED


def recurrence(reference: Tensor) -> float:
    """Largest autocorrelation of the fine pattern beyond the width of a speckle: 1 for one that is periodic.

    ``reference``: stack (N, y, x). White noise is taken off; where nothing else is left, the result is large and
    says nothing.
    """
    power, wy, wx = spectrum(reference)
    height, width = power.shape
    least = 2 * math.pi / _WAVELENGTH
    power = power * ((wy.abs() > least) | (wx.abs() > least))
    window = torch.fft.fft2(hann(height, width, power.device)).abs().square()
    correlation = torch.fft.ifft2(power).real / torch.fft.ifft2(window).real
    # fftfreq's order: a frequency times the length is a shift
    distance = torch.hypot(wy * height, wx * width) / (2 * math.pi)
    ring = correlation[(distance > _NEAR) & (distance < min(_FAR, _SHARE * min(height, width)))]
    if not len(ring) or not float(correlation[0, 0]) > 0:
        return math.inf
    return float(ring.max() / correlation[0, 0])
