"""Bad pixels: hot, noisy or dead by darks and flats."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from speckleflow.io.repeats import FrameMean

Image = NDArray[np.float32]

#: side of the median that says what a pixel's neighbours see: wide enough that two bad ones lose the vote
_NEIGHBOURS = 5
#: A response within a tenth of the neighbours' is what the division by the flat is for; dead pixels, and dust
#: that hides the light, are far beyond.
_RESPONSE = 0.1
#: A dark level within this part of the beam's is taken off like any other; a tenth of it, the most that it
#: drifts with the detector's temperature, then is a thousandth of T, less than the noise.
_OFFSET = 0.01
#: Light over the median's below which no light reaches a pixel: a stop, slits, a dead pixel. Speckles keep a tenth.
_UNLIT = 0.01


def robust_sigma(values: NDArray) -> float:
    """Standard deviation of the bulk, 1.4826 times the median absolute deviation.

    Where more than half of the values are equal (an integer dark, a constant), the bulk has no width; the
    resolution of the values then is the least deviation that can mean anything.
    """
    centre = np.median(values)
    away = np.abs(values - centre)
    width = 1.4826 * float(np.median(away))
    if width > 0:
        return width
    rest = away[away > 0]
    scale = max(abs(float(centre)), float(np.finfo(np.float32).tiny))
    return max(float(np.median(rest)) if rest.size else 0.0, 1e-6 * scale)


def bad_pixels(
    darks: list[FrameMean], beams: list[Image], sigma: float, size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Pixels (y, x) that are hot, noisy or dead: ``sigma`` robust standard deviations from their neighbours,
    and by more than the correction mends.

    Parameters
    ----------
    darks : dark frames; a pixel is bad by its dark level, or by the spread of its frames.
    beams : flats (or references) over the dark, (1 or N, y, x); a pixel is bad by its mean response relative
        to the median of its neighbours': a speckle moves from frame to frame, a bad pixel stays.
    """
    bad = np.zeros(size, bool)
    light = min((float(np.median(beam)) for beam in beams), default=0.0)
    for dark in darks:
        level = dark.mean.mean(0, dtype=np.float64)
        bad |= _outliers(level - _neighbours(level), sigma, _OFFSET * light)
        if dark.spread is not None:
            spread = np.sqrt(np.mean(np.square(dark.spread, dtype=np.float64), 0))
            # an excess that is lost in the noise of the light itself does no harm
            bad |= spread - np.median(spread) > max(sigma * robust_sigma(spread), _OFFSET * light)
    for beam in beams:
        mean = beam.mean(0, dtype=np.float64)
        around = _neighbours(mean)
        lit = around > 0
        bad |= _outliers(np.where(lit, mean / np.where(lit, around, 1) - 1, -1), sigma, _RESPONSE)
        bad |= ~(beam > 0).all(0) | unlit(beam)
    return bad


def unlit(beam: Image) -> NDArray[np.bool_]:
    """Pixels (y, x) that no light reaches at any position of a beam (N, y, x) over the dark."""
    mean = beam.mean(0, dtype=np.float64)
    return np.asarray(mean <= _UNLIT * np.median(mean))


def _neighbours(image: NDArray) -> NDArray:
    """Median of the neighbourhood, the pixel itself included (it cannot win the vote)."""
    return scipy.ndimage.median_filter(image, _NEIGHBOURS, mode="nearest")


def _outliers(deviation: NDArray, sigma: float, least: float) -> NDArray[np.bool_]:
    away = np.abs(deviation - np.median(deviation))
    return (away > sigma * robust_sigma(deviation)) & (away > least)
