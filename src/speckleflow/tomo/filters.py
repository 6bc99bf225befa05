"""The ramp of filtered back-projection and the windows that soften it, identical for every backend."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from speckleflow.errors import ConfigError

FILTERS = ("ramlak", "shepp", "hann", "parzen")
#: As sharp as ``ramlak`` on what a detector's pixels average (Shepp-Logan's error 0.0423 against 0.0420), and better
#: where nothing has damped what lies near the Nyquist frequency (rays through points: 0.0509 against 0.0650; noise).
DEFAULT = "shepp"


def ramp(length: int) -> NDArray[np.float64]:
    """Frequency response (length // 2 + 1,) of the discrete ramp for a real FFT of ``length`` pixels.

    The transform of the band-limited ramp's kernel in real space, h(0) = 1/4, h(odd n) = -1/(pi n)^2,
    h(even n) = 0 per pixel (Kak and Slaney, Principles of Computerized Tomographic Imaging, eq. 3.61), and
    not |f| sampled: with zero padding it has the right mean, so slices show no cupping and keep their scale.
    """
    n = np.minimum(np.arange(length), length - np.arange(length))
    kernel = np.zeros(length)
    kernel[0] = 0.25
    odd = n % 2 == 1
    kernel[odd] = -1.0 / (np.pi * n[odd]) ** 2
    return np.asarray(scipy.fft.rfft(kernel).real)


def window(name: str, length: int) -> NDArray[np.float64]:
    """Window (length // 2 + 1,) over the frequencies of a real FFT, 1 at zero frequency.

    ``ramlak``: 1; ``shepp``: sinc(f) (Shepp-Logan); ``hann``: 0 at Nyquist; ``parzen``: smoothest.

    Raises
    ------
    ConfigError
        Unknown name.
    """
    f = scipy.fft.rfftfreq(length)  # cycles per pixel, Nyquist = 0.5
    u = 2 * f
    if name == "ramlak":
        return np.ones_like(f)
    if name == "shepp":
        return np.asarray(np.sinc(f))
    if name == "hann":
        return np.asarray(0.5 + 0.5 * np.cos(np.pi * u))
    if name == "parzen":
        return np.where(u <= 0.5, 1 - 6 * u**2 * (1 - u), 2 * (1 - u) ** 3)
    raise ConfigError(f"filter must be one of {', '.join(FILTERS)}, found '{name}'")
