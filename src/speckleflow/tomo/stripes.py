"""Detector columns that read wrong in a sinogram, found by what they do over the angles."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

Double = NDArray[np.float64]

#: Roughness along the angle over that of the neighbouring columns, above which a column fluctuates, and below which it
#: is stuck. Photon noise changes slowly along x, and the roughness of sound columns by 20 % at 60 angles.
FLUCTUATES, STUCK = 3.0, 0.2
#: Columns that the roughness of the neighbours is taken from.
NEIGHBOURS = 31
#: Greatest part of the columns that is filled; more are no faults of single columns.
MOST = 0.4


def dead_columns(sinogram: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Columns of a sinogram (angle, x) that do not respond or fluctuate by themselves.

    The measure is the median of the second differences along the angle, which neither a gain nor an offset of a column
    changes (Vo, Atwood and Drakopoulos, Optics Express 26, 28396 (2018), algorithm 6, uses a moving mean).
    """
    if len(sinogram) < 5:
        return np.zeros(sinogram.shape[1], bool)
    rough = np.median(np.abs(np.diff(sinogram, 2, axis=0)), axis=0)
    size = min(NEIGHBOURS, max(3, sinogram.shape[1] // 4))
    usual = scipy.ndimage.median_filter(rough, size, mode="nearest")
    usual = np.maximum(usual, np.finfo(np.float32).tiny)
    return np.asarray((rough > FLUCTUATES * usual) | (rough < STUCK * usual))


def fill_columns(sinogram: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The sinogram (angle, x) with ``bad`` columns interpolated along x from those to either side."""
    if not bad.any() or bad.all():
        return sinogram
    good, where = np.flatnonzero(~bad), np.flatnonzero(bad)
    right = np.clip(np.searchsorted(good, where), 1, good.size - 1) if good.size > 1 else np.zeros_like(where)
    left = np.maximum(right - 1, 0)
    a, b = good[left], good[right]
    part = np.clip((where - a) / np.maximum(b - a, 1), 0, 1).astype(np.float32)
    filled = sinogram.copy()
    filled[:, where] = (1 - part) * sinogram[:, a] + part * sinogram[:, b]
    return filled


def without_dead_columns(sinograms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sinograms (row, angle, x) with dead columns filled; a row of too many is left as it is."""
    filled = sinograms
    for row, sinogram in enumerate(sinograms):
        bad = dead_columns(sinogram)
        if bad.any() and bad.mean() < MOST:
            if filled is sinograms:
                filled = sinograms.copy()
            filled[row] = fill_columns(sinogram, bad)
    return filled


def without_static_stripes(sinogram: NDArray[np.float32], window_px: int = 9) -> NDArray[np.float32]:
    """The sinogram (angle, x) less what its mean over the angles has beside that mean's median over ``window_px``."""
    mean = sinogram.mean(axis=0, keepdims=True)
    return np.asarray(sinogram - (mean - scipy.ndimage.median_filter(mean, (1, window_px), mode="nearest")))


#: Parts of the scan whose means are compared, and in how many of them a stripe has to show.
PARTS, SHOWS_IN = 8, 3
#: Step between neighbouring columns over the usual one about it (1.48 median absolute deviation), that begins or ends a
#: stripe; columns that the usual one is taken from; columns that the sample is smooth over; widest stripe.
STEP, STEP_COLUMNS, SMOOTH_COLUMNS, WIDEST = 6.0, 31, 9, 24
#: What is left of the steps of a stripe where it ends, over the largest of them; columns of stripes side by side.
CLOSED, NARROW = 0.25, 4
#: Median over the columns of the roughness of the mean sinogram along x over its noise, above which every column is
#: striped. 1 to 7 without stripes (7: few flats), 40 and more with (benchmarks/rings.md).
DENSE = 10.0
#: Fewest angles and columns that stripes can be told from the sample in.
LEAST_ANGLES, LEAST_COLUMNS = 48, 48


def striped_columns(sinogram: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Columns of single stripes, narrow or wide, steady, drifting or over a part of the scan.

    Along x, the mean of a part of the scan is smooth but for the stripes, which begin and end by steps that cancel.
    """
    _, columns = sinogram.shape
    parts = np.stack([part.mean(axis=0) for part in np.array_split(sinogram, PARTS)]).astype(np.float64)
    slope = np.diff(parts, axis=1)
    step = slope - scipy.ndimage.median_filter(slope, (1, SMOOTH_COLUMNS), mode="nearest")
    usual = 1.4826 * scipy.ndimage.median_filter(np.abs(step), (1, STEP_COLUMNS), mode="nearest")
    usual = np.maximum(usual, 0.5 * np.median(usual)) + np.finfo(np.float32).tiny
    edges = np.flatnonzero(np.sort(np.abs(step) / usual, axis=0)[-SHOWS_IN] > STEP)
    striped = np.zeros(columns, bool)
    first = 0
    while first < len(edges):
        last = _end_of_stripe(edges, first, step, usual)
        if last is None:
            first += 1
            continue
        striped[edges[first] + 1 : edges[last] + 1] = True
        first = last + 1
    return striped


def _end_of_stripe(edges: NDArray[np.intp], first: int, step: Double, usual: Double) -> int | None:
    """Number of the edge at which the steps since ``first`` have cancelled, in all parts; None: at none.

    A wide stripe has no edge within: what cancels by chance over many columns is no stripe.
    """
    level, largest = np.zeros(len(step)), 0.0
    for number in range(first, len(edges)):
        edge = edges[number]
        width = edge - edges[first]
        if width > WIDEST or (width > NARROW and number > first + 1):
            return None
        level = level + step[:, edge]
        size = float(np.linalg.norm(level))
        if number > first and size < CLOSED * largest:
            return number
        largest = max(largest, size)
    return None


def stripe_density(sinogram: NDArray[np.float32]) -> float:
    """Median over the columns of the roughness of the mean over the angles along x, over what noise explains."""
    rough = np.diff(sinogram, 2, axis=1)
    noise = 1.4826 * np.median(np.abs(np.diff(rough, 2, axis=0)), axis=0) / np.sqrt(6)
    tiny = np.finfo(np.float32).tiny
    return float(np.median(np.abs(rough.mean(axis=0)) / (noise / np.sqrt(len(rough)) + tiny)))
