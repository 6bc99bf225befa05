"""The detector's point spread from the noise of repeated frames, along x and y by itself.

An X-ray photon that is counted makes a spot of light as wide as the point spread h, which the pixels integrate:
counts of neighbouring pixels then have a covariance C(l) = A (h * h * tri)(l) at a distance of l pixels (tri: the
autocorrelation of a pixel), while noise of the light itself and of the readout has one at l = 0 alone. A detector
that counts photons in pixels has C(l) = 0 but for l = 0. With a Gaussian h of standard deviation s along each axis,
the ratios of C at l = 1, 2 and 3 px give s whatever the readout adds; where s is so small that C(2) is within its
error, C(1) / C(0) gives it under the assumption that the readout adds little.

The differences of consecutive frames hold no pattern and no fixed defect; slow changes of the beam are fitted as
the same constant at every distance. The error is that of leaving out one of 16 parts of the image after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Double = NDArray[np.float64]

#: lags of the covariance in px
LAGS = 8
#: parts of the image along each side whose scatter is the error
_PARTS = 4
#: pairs of frames and pixels of each that are looked at
_PAIRS, _PIXELS = 8, 2**21
#: differences are cut at so many standard deviations: zingers
_CUT = 6.0
#: a covariance is seen where it is so many times its error
_SEEN = 5.0
#: and a detector has no point spread where the covariance of neighbours is below this part of the variance (0.24 px)
_UNSEEN = 0.03
#: standard deviations in px that are tried, and the largest error of one that is used
_TRIED = np.linspace(0.0, 2.5, 126)
LARGEST_ERROR_PX = 0.1
#: below it the noise of neighbouring pixels is independent
_LEAST_PX = 0.2


@dataclass(frozen=True)
class DetectorBlur:
    """Standard deviation of the detector's point spread in pixels along x and y, each with its standard error."""

    x_px: float
    y_px: float
    x_error_px: float
    y_error_px: float

    @property
    def known(self) -> bool:
        """Whether both are measured well enough to be used, and seen at all.

        Where the noise is white, a point spread may still stand before the counting (the source's size, a lens).
        """
        seen = max(self.x_px, self.y_px) >= _LEAST_PX
        return seen and max(self.x_error_px, self.y_error_px) <= LARGEST_ERROR_PX

    @property
    def mean_px(self) -> float:
        """That of a round point spread with the same mean variance."""
        return float(np.sqrt((self.x_px**2 + self.y_px**2) / 2))

    def words(self) -> str:
        """For the user."""
        if max(self.x_px, self.y_px) < _LEAST_PX:
            return "none in the noise of neighbouring pixels, as where photons are counted"
        return (
            f"{self.x_px:.2f} \u00b1 {self.x_error_px:.2f} px along x, "
            f"{self.y_px:.2f} \u00b1 {self.y_error_px:.2f} px along y (standard deviation)"
        )


def measure_detector_blur(frames: NDArray) -> DetectorBlur | None:
    """The point spread from repeated frames (k, y, x) of one beam, raw counts.

    None with fewer than two frames, frames under 32 px, without noise, or too few pixels to tell.
    """
    if frames.ndim != 3 or len(frames) < 2 or min(frames.shape[1:]) < 32:
        return None
    rows = max(32, min(frames.shape[1], _PIXELS // frames.shape[2]))
    first = (frames.shape[1] - rows) // 2
    cut = frames[:, first : first + rows]
    pairs = np.unique(np.linspace(0, len(frames) - 2, min(_PAIRS, len(frames) - 1)).round().astype(int))
    covariances = np.mean([_covariances(cut[k], cut[k + 1]) for k in pairs], axis=0)
    if not np.isfinite(covariances).all() or (covariances[:, :, :, 0] <= 0).any():
        return None
    whole = covariances.mean((0, 1))
    parts = covariances.reshape(-1, 2, LAGS)
    scatter = parts.std(0, ddof=1) / np.sqrt(len(parts))
    widths = [_width(line, error) for line, error in zip(whole, scatter, strict=True)]
    # leaving out one part at a time
    others = [
        [_width(line, error) for line, error in zip(np.delete(parts, k, 0).mean(0), scatter, strict=True)]
        for k in range(len(parts))
    ]
    if not np.isfinite([*widths, *np.ravel(others)]).all():
        return None
    errors = np.std(others, axis=0) * np.sqrt(len(parts) - 1)
    return DetectorBlur(float(widths[0]), float(widths[1]), float(errors[0]), float(errors[1]))


def _covariances(one: NDArray, other: NDArray) -> Double:
    """Covariance (part, part, axis, lag) of the difference of two frames, axis 0 along x."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = b - a * (np.nanmean(b) / np.nanmean(a))
    difference[~np.isfinite(difference)] = 0
    spread = 1.4826 * np.median(np.abs(difference))
    difference = np.clip(difference, -_CUT * spread, _CUT * spread)
    out = np.empty((_PARTS, _PARTS, 2, LAGS))
    for i, band in enumerate(np.array_split(difference, _PARTS, axis=0)):
        for j, part in enumerate(np.array_split(band, _PARTS, axis=1)):
            centred = part - part.mean()
            for axis, image in enumerate((centred.T, centred)):  # lags along the first axis
                for lag in range(LAGS):
                    product = image[lag:] * image[: len(image) - lag]
                    out[i, j, axis, lag] = product.mean()
    return out


def _width(covariance: Double, error: Double) -> float:
    """Standard deviation in px of the Gaussian whose covariance at some lags is that of the noise."""
    model = _model()
    level = covariance[-2:].mean()
    if covariance[2] - level > _SEEN * error[2]:
        first = 1
    elif covariance[1] - level > _SEEN * error[1]:
        first = 0
    else:  # no neighbours alike, or too few pixels to tell
        return 0.0 if _SEEN * error[1] < _UNSEEN * covariance[0] else np.nan
    seen, weight = covariance[first:], 1 / error[first:]
    misfit = np.full(len(_TRIED), np.inf)
    for k in range(first, len(_TRIED)):  # a width of 0 has no lags but 0
        shapes = np.stack([model[k, first:], np.ones_like(seen)], 1) * weight[:, None]
        terms = np.linalg.lstsq(shapes, seen * weight, rcond=None)[0]
        misfit[k] = np.sum((seen * weight - shapes @ terms) ** 2)
    best = int(np.argmin(misfit))
    if 0 < best < len(_TRIED) - 1:  # the parabola through the neighbours
        before, here, after = misfit[best - 1 : best + 2]
        curve = before - 2 * here + after
        step = 0.5 * (before - after) / curve if curve > 0 else 0.0
        return float(_TRIED[best] + step * _TRIED[1])
    return float(_TRIED[best])


@lru_cache(maxsize=1)
def _model() -> Double:
    """(width, lag): a Gaussian of variance 2 s^2 averaged over the triangle of two pixels, 1 at its largest."""
    fine = np.linspace(-1, 1, 401)
    triangle = 1 - np.abs(fine)
    triangle /= triangle.sum()
    distance = np.arange(LAGS)[:, None] - fine
    out = np.empty((len(_TRIED), LAGS))
    for k, width in enumerate(_TRIED):
        if width < 0.02:
            out[k] = np.arange(LAGS) == 0
            continue
        bell = np.exp(-0.25 * (distance / width) ** 2)
        out[k] = (bell * triangle).sum(1)
        out[k] /= out[k, 0]
    return out
