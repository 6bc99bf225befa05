"""The level of the air: phase and displacement referred to the empty margins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import InputError
from speckleflow.margins import air_mask
from speckleflow.phase.checks import displacement_pair

Array = NDArray[Any]

#: A value of the air is an outlier (sample or dust in the margin) beyond this many robust standard
#: deviations.
AIR_CLIP_SIGMA = 3.0


def remove_drift(
    ux: ArrayLike, uy: ArrayLike, air: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Take the mean displacement of the air margins off each projection.

    Beam or mask move between reference and sample; that displacement is no refraction and would integrate to
    a ramp.

    Parameters
    ----------
    ux, uy : (B, y, x), displacement in pixels.
    air : widths in pixels of the empty margins (left, right, top, bottom).

    Returns
    -------
    ux, uy : (B, y, x) float32, without the drift.
    drift : (B, 2) float32, what was taken off, (x, y) in pixels: the mean of the air without its outliers.

    Raises
    ------
    InputError
        Shapes differ, a displacement is not finite, or the margins hold no pixel or do not fit.
    """
    ux, uy = displacement_pair(ux, uy)
    empty = air_mask((ux.shape[1], ux.shape[2]), air)
    if not empty.any():
        raise InputError("air margins", expected="at least one pixel, to measure the drift in", found="none")
    drift = np.array([[clipped_mean(a[empty]), clipped_mean(b[empty])] for a, b in zip(ux, uy, strict=True)])
    drift = drift.astype(np.float32)
    return ux - drift[:, 0, None, None], uy - drift[:, 1, None, None], drift


def air_level(phase: Array, empty: NDArray[np.bool_], ramp: bool) -> Array | float:
    if not empty.any():
        return 0.0
    if not ramp:
        return clipped_mean(phase[empty])
    y, x = (np.arange(n) - (n - 1) / 2 for n in phase.shape)
    plane = np.stack([a[empty] for a in np.broadcast_arrays(1.0, x[None, :], y[:, None])], axis=1)
    values = phase[empty]
    keep = np.ones(len(values), bool)
    for _ in range(
        3
    ):  # the first plane may lean on outliers, the second is rid of them, the third is at rest
        level, *_ = np.linalg.lstsq(plane[keep], values[keep], rcond=None)
        keep = _inliers(values - plane @ level)
    return level[0] + level[1] * x[None, :] + level[2] * y[:, None]


def clipped_mean(values: Array) -> float:
    return float(np.mean(values[_inliers(values)], dtype=np.float64))


def _inliers(values: Array) -> NDArray[np.bool_]:
    """Values within AIR_CLIP_SIGMA robust standard deviations (1.4826 MAD) of the median."""
    distance = np.abs(values - np.median(values))
    return distance <= AIR_CLIP_SIGMA * 1.4826 * np.median(distance)
