"""The pattern of the reference frames: how large its speckles are, how strong it is, and what that allows.

pattern = measure_pattern(reference, sample);  pattern.size_x_px, .size_y_px, .visibility, .error_px, .judgement
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

#: What is wider than this is beam and not pattern (standard deviation in pixels), ...
_SMOOTH = 24.0
#: ... of the middle of the frames, so many pixels along a side at the most, of so many positions.
_CROP, _POSITIONS = 512, 3
#: Speckles below two pixels alias; those above a quarter of the view are too few to be compared.
_FINEST_PX, _COARSEST_PART = 2.0, 1 / 4
#: side in pixels of the window that the expected error is told for, and the largest one that is of use
_WINDOW, _LARGEST_ERROR_PX = 7, 0.5
#: A pattern of less than this part of the variance is not seen; fewer pixels along a side show too little.
_SEEN, _LEAST_SIDE = 0.1, 16


@dataclass(frozen=True)
class PatternQuality:
    """What the reference frames show.

    Attributes
    ----------
    size_x_px, size_y_px : full width at half maximum of the autocorrelation, in pixels, without the noise.
    visibility : standard deviation of the pattern over its mean, without the noise.
    error_px : standard deviation of a displacement by a window of 7 x 7 pixels, from noise and slope of the pattern.
    judgement : one sentence where the pattern is too fine, too coarse or too weak; empty where it is none of them.
    """

    size_x_px: float
    size_y_px: float
    visibility: float
    error_px: float
    judgement: str


def measure_pattern(
    reference: NDArray[np.float32], sample: NDArray[np.float32] | None = None
) -> PatternQuality:
    """Size, visibility and use of a pattern.

    Parameters
    ----------
    reference : (N, y, x) corrected reference frames.
    sample : (N, y, x) one corrected projection, for its noise; None: as noisy as the reference.

    Returns
    -------
    PatternQuality
        NaN in all numbers where nothing but noise is seen.
    """
    count = len(reference)
    chosen = np.unique(np.linspace(0, count - 1, min(_POSITIONS, count)).round().astype(int))
    covariance = np.mean([_autocovariance(reference[n]) for n in chosen], axis=0)
    signal = _without_noise(covariance)
    if not signal > _SEEN * covariance[0, 0] or min(reference.shape[1:]) < _LEAST_SIDE:
        nothing = float("nan")
        return PatternQuality(
            nothing, nothing, nothing, nothing, "no pattern is seen in the reference frames"
        )
    noise = [covariance[0, 0] - signal]
    if sample is not None:
        own = np.mean([_autocovariance(sample[n]) for n in chosen], axis=0)
        noise.append(max(float(own[0, 0] - _without_noise(own)), 0.0))
    else:
        noise *= 2
    sizes = [_width(line / signal) for line in (covariance[0], covariance[:, 0])]
    # mean square slopes of a pattern whose autocorrelation is a Gaussian of this width
    slope = min(signal * 8 * np.log(2) / size**2 for size in sizes)
    error = float(np.sqrt(max(sum(noise), 0.0) / (slope * count * _WINDOW**2)))
    visibility = float(np.sqrt(signal))
    judgement = _judged(sizes, error, reference.shape)
    return PatternQuality(sizes[0], sizes[1], visibility, error, judgement)


def _judged(sizes: list[float], error: float, shape: tuple[int, ...]) -> str:
    fine, coarse = min(sizes), max(sizes)
    count, *view = shape
    if fine < _FINEST_PX:
        return (
            f"the pattern is too fine: speckles of {fine:.1f} px alias (2 px at least, 3 to 6 are best); "
            "a coarser diffuser, a smaller pixel or more distance mends it"
        )
    if coarse > _COARSEST_PART * min(view):
        return f"the pattern is too coarse: speckles of {coarse:.0f} px in a view of {view[1]} x {view[0]}"
    if error > _LARGEST_ERROR_PX:
        return (
            f"the pattern is too weak for {count} position{'s' * (count > 1)}: a window of {_WINDOW} x {_WINDOW} px "
            f"finds a displacement to {error:.2f} px; more positions, longer exposures or larger windows mend it"
        )
    return ""


def _autocovariance(frame: NDArray[np.float32]) -> NDArray[np.float64]:
    """Covariance of the pattern of the middle of a frame with itself at lags (y, x) from 0 on."""
    rows, columns = (slice((n - min(n, _CROP)) // 2, (n + min(n, _CROP)) // 2) for n in frame.shape)
    part = np.asarray(frame[rows, columns], np.float64)
    wide = min(_SMOOTH, min(part.shape) / 4)
    mean = float(part.mean())
    pattern = part / np.maximum(scipy.ndimage.gaussian_filter(part, wide), 1e-3 * abs(mean) + 1e-30) - 1
    pattern -= pattern.mean()
    size = [scipy.fft.next_fast_len(2 * n, real=True) for n in pattern.shape]
    power = np.abs(scipy.fft.rfft2(pattern, size)) ** 2
    pairs = np.multiply.outer(*(np.maximum(n - np.arange(n), 1) for n in pattern.shape))
    covariance = scipy.fft.irfft2(power, size)[: pattern.shape[0], : pattern.shape[1]] / pairs
    half = [max(n // 2, 3) for n in pattern.shape]
    return np.asarray(covariance[: half[0], : half[1]])


def _without_noise(covariance: NDArray[np.float64]) -> float:
    """The variance of the pattern: what lags of one and two pixels lead to at none, where white noise adds."""
    found = []
    for line in (covariance[0], covariance[:, 0]):
        one, two = float(line[1]), float(line[2])
        if one <= 0:
            return 0.0
        # a Gaussian through both; a line where the second is gone already
        found.append(one ** (4 / 3) / two ** (1 / 3) if two > 0.05 * one else 2 * one)
    return min(float(np.mean(found)), float(covariance[0, 0]))


def _width(line: NDArray[np.float64]) -> float:
    """Full width at half maximum of a symmetric line that begins at its maximum, taken as 1."""
    line = line.copy()
    line[0] = 1.0
    below = np.flatnonzero(line < 0.5)
    if not len(below):
        return 2.0 * len(line)
    last = int(below[0])
    before, after = float(line[last - 1]), float(line[last])
    return 2 * (last - 1 + (before - 0.5) / (before - after))
