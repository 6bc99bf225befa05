"""The projections in two halves, odd and even angles, and the part of the volume that is compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: longest side in voxels of the middle part that both halves are reconstructed in
SIDE = 256
#: fewest projections of a scan whose halves are compared
LEAST_PROJECTIONS = 4


def odd_and_even(angles_deg: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Projections of every other angle, whatever their order in the scan: two halves that share none."""
    order = np.argsort(np.asarray(angles_deg, np.float64), kind="stable")
    return np.sort(order[0::2]), np.sort(order[1::2])


def middle(length: int, side: int = SIDE) -> slice:
    """The middle ``side`` of a length, from an even place on: slices are transformed in pairs, the same ones always."""
    first = max(0, length - side) // 2 // 2 * 2
    return slice(first, min(length, first + side))
