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
    ux: ArrayLike, uy: ArrayLike, air: Sequence[int], lost: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Take the mean displacement of the air margins off each projection.

    Beam or mask move between reference and sample; that displacement is no refraction and would integrate to
    a ramp.

    Parameters
    ----------
    ux, uy : (B, y, x), displacement in pixels.
    air : widths in pixels of the empty margins (left, right, top, bottom).
    lost : (B, y, x), pixels that were not measured and do not count; None: all were.

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
    seen = np.broadcast_to(empty, ux.shape) if lost is None else empty & ~lost
    if not seen.any((1, 2)).all():
        raise InputError("air margins", expected="measured pixels in every projection", found="none in some")
    drift = np.array(
        [[clipped_mean(a[there]), clipped_mean(b[there])] for a, b, there in zip(ux, uy, seen, strict=True)]
    ).astype(np.float32)
    return ux - drift[:, 0, None, None], uy - drift[:, 1, None, None], drift


def level_phase(phase: ArrayLike, air: Sequence[int], order: int = 0) -> NDArray[np.float32]:
    """Phase (B, y, x) of a method that gives it itself, made 0 in the air; without margins its mean is 0.

    Parameters
    ----------
    air : widths in pixels of the empty margins (left, right, top, bottom).
    order : of the surface that is fitted to the air and taken off: 0 constant, 1 plane, 2 quadratic.

    Raises
    ------
    InputError
        Not of three axes, not finite, margins that do not fit, or a plane asked for without margins.
    """
    stack = np.asarray(phase, np.float64)
    if stack.ndim != 3 or not np.isfinite(stack).all():
        raise InputError(
            "phase", expected="finite values (B, y, x)", found=f"shape {stack.shape} or values that are not"
        )
    empty = air_mask((stack.shape[1], stack.shape[2]), air)
    check_margins(empty, order)
    levels = [air_level(image, empty, order) if empty.any() else image.mean() for image in stack]
    return np.stack([image - level for image, level in zip(stack, levels, strict=True)]).astype(np.float32)


def check_margins(empty: NDArray[np.bool_], order: int) -> None:
    """Refuse to fit more than a constant where no pixel is known to be empty.

    Raises
    ------
    InputError
        No such pixel.
    """
    if order and not empty.any():
        what = "a ramp" if order == 1 else "a quadratic"
        raise InputError("air margins", expected=f"at least one pixel, to fit {what} to", found="none")


def air_level(phase: Array, empty: NDArray[np.bool_], order: int) -> Array | float:
    """The surface of an order (0 constant, 1 plane, 2 quadratic) that fits the air of an image (y, x)."""
    if not empty.any():
        return 0.0
    if not order:
        return clipped_mean(phase[empty])
    # from -1 to 1, so that the columns of a quadratic are of one size
    y, x = (np.linspace(-1, 1, n) for n in phase.shape)
    x, y = np.broadcast_arrays(x[None, :], y[:, None])
    terms = np.stack([np.ones_like(x), x, y, *((x * x, x * y, y * y) if order == 2 else ())])
    values, surface = phase[empty], terms[:, empty].T
    keep = np.ones(len(values), bool)
    # the first surface may lean on outliers, the second is rid of them, the third is at rest
    for _ in range(3):
        level, *_ = np.linalg.lstsq(surface[keep], values[keep], rcond=None)
        keep = _inliers(values - surface @ level)
    return np.tensordot(level, terms, 1)


def clipped_mean(values: Array) -> float:
    return float(np.mean(values[_inliers(values)], dtype=np.float64))


def _inliers(values: Array) -> NDArray[np.bool_]:
    """Values within AIR_CLIP_SIGMA robust standard deviations (1.4826 MAD) of the median."""
    distance = np.abs(values - np.median(values))
    return distance <= AIR_CLIP_SIGMA * 1.4826 * np.median(distance)
