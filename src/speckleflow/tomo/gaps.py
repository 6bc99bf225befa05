"""Pixels without a measurement on the way to the tomography: bridged along the row, never spread.

A backprojection needs every ray. What was not measured takes the straight line between the nearest measured pixels of
its row, or at the image's edge the nearest one's value; a row without any, that of the nearest projections with one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def fill_gaps(values: Image, lost: NDArray[np.bool_]) -> Image:
    """Values (projection, y, x) with those of ``lost`` pixels (same shape) bridged; a row lost in all stays NaN."""
    if not lost.any():
        return values
    filled = np.array(values, np.float32)
    columns = np.arange(values.shape[2])
    empty = np.asarray(lost.all(2))
    for p, y in np.argwhere(lost.any(2) & ~empty).tolist():
        gap = lost[p, y]
        filled[p, y, gap] = np.interp(columns[gap], columns[~gap], filled[p, y, ~gap])
    for y in np.flatnonzero(empty.any(0)).tolist():
        there = np.flatnonzero(~empty[:, y])
        for p in np.flatnonzero(empty[:, y]).tolist():
            if not there.size:
                filled[p, y] = np.nan
                continue
            after = int(np.searchsorted(there, p))
            right, left = int(there[min(after, there.size - 1)]), int(there[max(after - 1, 0)])
            part = np.float32((p - left) / (right - left) if right > left else 0.0)
            filled[p, y] = (1 - np.clip(part, 0, 1)) * filled[left, y] + np.clip(part, 0, 1) * filled[
                right, y
            ]
    return filled


def longest_run(good: NDArray[np.bool_]) -> slice:
    """The longest run of True; empty where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]])))
    starts, stops = edges[0::2], edges[1::2]
    if not starts.size:
        return slice(0, 0)
    longest = int(np.argmax(stops - starts))
    return slice(int(starts[longest]), int(stops[longest]))
