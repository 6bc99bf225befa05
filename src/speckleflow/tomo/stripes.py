"""Detector columns that read wrong in a sinogram, found by what they do over the angles."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

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
