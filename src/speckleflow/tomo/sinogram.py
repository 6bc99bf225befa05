"""From retrieved contrasts to line integrals: -phi, -ln T, -ln D (physics.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import ConfigError, InputError

#: contrast -> what its sinogram holds
CONTRASTS = {"phase": "-phi", "transmission": "-ln T", "darkfield": "-ln D"}

#: Smallest ratio that differs from 0 whatever the noise: one count of a 16-bit detector.
SMALLEST_RATIO = 1.0 / 65535.0
#: Groups of neighbouring values that the noise is measured in, and the fewest values of a group.
_GROUPS, _GROUP_VALUES = 16, 200
#: About as many values are looked at, of lines spread evenly.
_VALUES = 2**20


class RatioNoise(NamedTuple):
    """Noise of T or D: its variance at a value v is ``constant + slope * v`` (read noise, and counted photons)."""

    constant: float
    slope: float = 0.0

    def deviation(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standard deviation of values; below 0 that of 0."""
        variance = np.float32(self.constant) + np.float32(self.slope) * np.maximum(values, 0)
        return np.asarray(np.sqrt(variance), np.float32)


@dataclass(frozen=True)
class LineIntegrals:
    """Sinogram values of a block or slab.

    Attributes
    ----------
    values : float32, the shape of the input.
    below_noise : number of ratios below their standard deviation, whose integral is a lower bound (phase: 0).
    """

    values: NDArray[np.float32]
    below_noise: int


def ratio_noise(ratios: ArrayLike) -> RatioNoise:
    """Noise of T or D as a function of its value, measured on ``ratios`` (..., x).

    Second differences along x, v(x-1) - 2 v(x) + v(x+1), are sorted into groups of like values (the mean of the
    pixels 2 and 3 to either side); 1.4826 median|second difference| / sqrt(6) is the standard deviation of a group,
    which structure wider than three pixels does not touch, and a line with no negative coefficient through the
    variances gives constant and slope. Noise that the retrieval has spread over neighbouring pixels is
    underestimated. Computed once a scan (from some projections), so that every block is treated alike.
    """
    v = np.asarray(ratios, dtype=np.float32)
    least = SMALLEST_RATIO**2
    if v.shape[-1] < 7:
        return RatioNoise(least)
    lines = v.reshape(-1, v.shape[-1])
    v = lines[:: max(1, v.size // _VALUES)]
    second = np.abs(v[..., 2:-4] - 2 * v[..., 3:-3] + v[..., 4:-2]).ravel()
    around = ((v[..., :-6] + v[..., 1:-5] + v[..., 5:-1] + v[..., 6:]) / 4).ravel()
    count = int(np.clip(len(second) // _GROUP_VALUES, 1, _GROUPS))
    order = np.argsort(around, kind="stable")
    groups = np.array_split(order, count)
    variance = np.array([(1.4826 * float(np.median(second[group]))) ** 2 / 6 for group in groups])
    level = np.array([max(float(np.median(around[group])), 0.0) for group in groups])
    weight = 1 / np.maximum(variance, least)  # an estimate of a variance has an error in proportion to it
    (constant, slope), _ = scipy.optimize.nnls(np.stack([weight, weight * level], 1), weight * variance)
    return RatioNoise(max(float(constant), least), float(slope))


def line_integrals(
    contrast: str, values: ArrayLike, noise: tuple[float, float] | None = None
) -> LineIntegrals:
    """Sinogram values of one contrast, float32, of any shape (projection, y, x) or (angle, x).

    The logarithm of T or D with noise s is that of (v + sqrt(v^2 + 2 s^2)) / 2: as -ln v where v is well above s,
    without its bias of s^2 / (2 v^2) (left at v = 5 s: 0.1 % of the mean ratio, 3 s: 1 %; without it 2 and 6 %), and
    finite where v is 0 or negative. Values above 1 (noise, edge fringes) give negative integrals and are kept, for
    cutting them off would bias the mean.

    Parameters
    ----------
    noise : variance of the values as (constant, slope), see :class:`RatioNoise`; default: :func:`ratio_noise` of them.

    Raises
    ------
    ConfigError
        Unknown contrast.
    InputError
        A value that is not finite, or a noise that is not positive.
    """
    if contrast not in CONTRASTS:
        raise ConfigError(f"contrast must be one of {', '.join(CONTRASTS)}, found '{contrast}'")
    v = np.asarray(values, dtype=np.float32)
    if bad := int(np.count_nonzero(~np.isfinite(v))):
        raise InputError(contrast, expected="finite values", found=f"{bad} NaN or infinite value(s)")
    if contrast == "phase":
        return LineIntegrals(-v, 0)
    law = ratio_noise(v) if noise is None else RatioNoise(*noise)
    if not (law.constant > 0 and law.slope >= 0):
        raise InputError(
            contrast,
            expected="a positive variance for the logarithm",
            found=f"{law.constant:g}, {law.slope:g}",
        )
    deviation = law.deviation(v)
    # the sum in another form where v is negative, in which no digits are lost
    root = np.sqrt(v * v + 2 * deviation * deviation)
    positive = np.where(v > 0, (v + root) / 2, deviation * deviation / np.where(v > 0, 1, root - v))
    return LineIntegrals(-np.log(positive), int(np.count_nonzero(v < deviation)))
