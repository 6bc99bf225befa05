"""How far the pattern of a frame moved against that of another one, and a frame moved by part of a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from speckleflow.inspection.agreement import coarse_match

Image = NDArray[np.float32]

#: half width of the windowed sinc in pixels
_LOBES = 4
#: side of the part that is compared in pixels, steps of the search, and the smoothing of both frames (std in pixels)
_CROP, _STEPS, _SMOOTH = 512, 4, 1.0
#: the smoothing makes the noise of neighbours alike: the error is so many times that of independent pixels
_ALIKE = 2 * np.sqrt(np.pi) * _SMOOTH


@dataclass(frozen=True)
class Motion:
    """Movement of a pattern in pixels, its standard error, and the correlation of both patterns after it."""

    y_px: float
    x_px: float
    error_px: float
    correlation: float

    @property
    def length_px(self) -> float:
        """Of both components."""
        return float(np.hypot(self.y_px, self.x_px))


def pattern_motion(first: NDArray, second: NDArray) -> Motion:
    """Movement of the pattern from one frame (y, x) to another: ``second(x) = first(x - movement)``."""
    correlation, (dy, dx) = coarse_match(first, second)
    a, b = (np.asarray(frame, np.float32) for frame in (first, second))
    rim = int(np.ceil(max(abs(dy), abs(dx)))) + _LOBES + 4
    inner = tuple(_middle(length, rim) for length in a.shape)
    target = scipy.ndimage.gaussian_filter(b, _SMOOTH)[inner].astype(np.float64)
    target /= target.mean()
    error = float("inf")
    for _ in range(_STEPS):
        there = scipy.ndimage.gaussian_filter(shifted(a, dy, dx), _SMOOTH).astype(np.float64)
        slopes = [slope[inner] for slope in np.gradient(there / there[inner].mean())]
        rest = there[inner] / there[inner].mean() - target
        normal = np.array([[float(np.sum(p * q)) for q in slopes] for p in slopes])
        step = np.linalg.lstsq(normal, [float(np.sum(p * rest)) for p in slopes], rcond=None)[0]
        dy, dx = dy + float(step[0]), dx + float(step[1])
        left = rest - step[0] * slopes[0] - step[1] * slopes[1]
        least = float(np.linalg.eigvalsh(normal)[0])
        error = _ALIKE * float(left.std()) / np.sqrt(least) if least > 0 else float("inf")
    return Motion(dy, dx, error, correlation)


def shifted(image: Image, y_px: float, x_px: float) -> Image:
    """An image (y, x) moved by a displacement, ``out(x) = image(x - displacement)``, by a windowed sinc.

    Its edge pixels are repeated outwards.
    """
    for axis, shift in enumerate((y_px, x_px)):
        if shift:
            reach = int(np.ceil(abs(shift))) + _LOBES
            at = np.arange(-reach, reach + 1) + shift
            kernel = np.where(np.abs(at) < _LOBES, np.sinc(at) * np.sinc(at / _LOBES), 0)
            image = scipy.ndimage.correlate1d(image, kernel / kernel.sum(), axis, mode="nearest")
    return image


def _middle(length: int, rim: int) -> slice:
    """What a movement leaves of an axis, at most ``_CROP`` of it."""
    rim = max(min(rim, length // 4), (length - _CROP) // 2)
    return slice(rim, length - rim)
