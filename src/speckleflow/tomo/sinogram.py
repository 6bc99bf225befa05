"""From retrieved contrasts to line integrals: -phi, -ln T, -ln D (physics.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import ConfigError, InputError

#: contrast -> what its sinogram holds
CONTRASTS = {"phase": "-phi", "transmission": "-ln T", "darkfield": "-ln D"}

#: Smallest ratio that differs from 0 whatever the noise: one count of a 16-bit detector.
SMALLEST_RATIO = 1.0 / 65535.0


@dataclass(frozen=True)
class LineIntegrals:
    """Sinogram values of a block or slab, and what had to be done to get them.

    Attributes
    ----------
    values : float32, the shape of the input.
    floor : the smallest T or D that was taken as it is (0 for the phase).
    floored : number of values below it, which were set to it.
    """

    values: NDArray[np.float32]
    floor: float
    floored: int


def log_floor(ratios: ArrayLike) -> float:
    """Smallest T or D whose logarithm means something: the noise of ``ratios`` (..., x).

    One standard deviation from the second differences along x, 1.4826 median|v(x-1) - 2 v(x) + v(x+1)| /
    sqrt(6), which structure wider than three pixels does not touch; at least SMALLEST_RATIO. Computed once a
    scan (from some projections), so that every block is treated alike.
    """
    v = np.asarray(ratios, dtype=np.float32)
    second = v[..., 2:] - 2 * v[..., 1:-1] + v[..., :-2]
    noise = 1.4826 * float(np.median(np.abs(second))) / np.sqrt(6.0) if second.size else 0.0
    return max(noise, SMALLEST_RATIO)


def line_integrals(contrast: str, values: ArrayLike, floor: float | None = None) -> LineIntegrals:
    """Sinogram values of one contrast, float32, of any shape (projection, y, x) or (angle, x).

    T or D below ``floor`` (default: :func:`log_floor` of the values) do not differ from 0: they are set to
    it and counted. Values above 1 (noise, edge fringes) give negative integrals and are kept, for cutting
    them off would bias the mean.

    Raises
    ------
    ConfigError
        Unknown contrast.
    InputError
        A value that is not finite, or a floor that is not positive.
    """
    if contrast not in CONTRASTS:
        raise ConfigError(f"contrast must be one of {', '.join(CONTRASTS)}, found '{contrast}'")
    v = np.asarray(values, dtype=np.float32)
    if bad := int(np.count_nonzero(~np.isfinite(v))):
        raise InputError(contrast, expected="finite values", found=f"{bad} NaN or infinite value(s)")
    if contrast == "phase":
        return LineIntegrals(-v, 0.0, 0)
    least = log_floor(v) if floor is None else float(floor)
    if not least > 0:
        raise InputError(contrast, expected="a positive floor for the logarithm", found=f"{least:g}")
    low = v < least
    return LineIntegrals(-np.log(np.where(low, np.float32(least), v)), least, int(np.count_nonzero(low)))
