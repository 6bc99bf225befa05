"""Balls around the voxels of a mask, plane by plane: growing and shrinking without the whole volume in memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.bool_]


def grown_plane(plane: Callable[[int], Plane], z: int, planes: int, radius: int) -> Plane:
    """Plane z of a mask (z, y, x) with all voxels within ``radius`` of it.

    Parameters
    ----------
    plane : the mask's plane (y, x) at an index.
    z, planes : index of the plane and number of planes.
    radius : greatest distance between voxel centres, in voxels.

    Returns
    -------
    (y, x) bool
    """
    grown = np.zeros_like(plane(z))
    for dz in range(-radius, radius + 1):
        if 0 <= z + dz < planes:
            grown |= _grown_by_disc(plane(z + dz), radius**2 - dz**2)
    return grown


def _grown_by_disc(plane: Plane, squared_radius: int) -> Plane:
    """All pixels (y, x) within a disc around those of ``plane``."""
    if not plane.any():
        return plane
    largest = math.isqrt(squared_radius)
    rows = [plane]  # grown along x by 0, 1, 2, ... pixels
    for width in range(1, largest + 1):
        wider = rows[-1].copy()
        wider[:, width:] |= plane[:, :-width]
        wider[:, :-width] |= plane[:, width:]
        rows.append(wider)
    grown = rows[largest].copy()
    for dy in range(1, largest + 1):
        row = rows[math.isqrt(squared_radius - dy**2)]
        grown[dy:] |= row[:-dy]
        grown[:-dy] |= row[dy:]
    return grown
