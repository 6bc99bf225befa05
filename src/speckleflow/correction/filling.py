"""Bad pixels are filled from their neighbours."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

#: Good neighbours of a bad pixel: the 12 within two pixels, for six coefficients of a quadratic surface.
_NEIGHBOURS = 12
_COEFFICIENTS = 6
#: Good neighbours are looked for this far away first, in pixels.
_SURROUNDINGS = 8


def _nearest_good(
    bad: NDArray[np.bool_], where: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.intp]]:
    """Good pixels, and distance and index among them of the nearest ones to each bad pixel ``where``."""
    # a tree of the surroundings is far smaller than one of the image, and enough but for large holes
    near = scipy.ndimage.uniform_filter(bad.astype(np.float32), 2 * _SURROUNDINGS + 1, mode="constant") > 1e-6
    for candidates in (~bad & near, ~bad):
        good = np.argwhere(candidates)
        count = min(_NEIGHBOURS, len(good))
        if count:
            nearest = scipy.spatial.cKDTree(good).query(where, k=count)
            distance, index = (np.reshape(part, (-1, count)) for part in nearest)
            if count == _NEIGHBOURS and distance.max() <= _SURROUNDINGS:
                break
    return good, distance, index


class Filling:
    """Fills bad pixels from a quadratic surface through their nearest good neighbours.

    The surface is a weighted least-squares fit, evaluated at the bad pixel: exact for a field of up to second
    order, which a plain mean is not, so that the peaks of a speckle pattern keep their height. Near corners
    and in clusters it extrapolates; the value is therefore kept within the range of its neighbours.

    Parameters
    ----------
    bad : (y, x) bool.
    """

    def __init__(self, bad: NDArray[np.bool_]) -> None:
        self.shape = bad.shape
        self.bad = np.flatnonzero(bad)
        if not len(self.bad):
            return
        where = np.argwhere(bad)
        good, distance, index = _nearest_good(bad, where)
        self.neighbours = np.ravel_multi_index(tuple(good.T), bad.shape)[index]
        y, x = np.moveaxis((good[index] - where[:, None]).astype(np.float64), -1, 0)
        terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
        # weight of a neighbour: a Gaussian as wide as the nearest one is far
        weight = np.exp(-0.5 * (distance / distance[:, :1]) ** 2)
        # a tiny ridge on all but the constant: a surface that the neighbours do not determine stays flat
        ridge = np.diag([0.0, *[1e-6] * (_COEFFICIENTS - 1)])
        normal = np.einsum("bkp,bk,bkq->bpq", terms, weight, terms) + ridge
        right = terms * weight[..., None]
        self.weights = np.linalg.solve(normal, right.transpose(0, 2, 1))[:, 0].astype(np.float32)

    def fill(self, frames: NDArray[np.float32]) -> None:
        """Replace the bad pixels of frames (..., y, x) in place."""
        if not len(self.bad):
            return
        flat = frames.reshape(-1, self.shape[0] * self.shape[1])
        if not np.shares_memory(flat, frames):
            raise TypeError("fill needs frames that are contiguous in memory")
        # take, not fancy indexing: its result lies in memory the same way for any number of frames, and so
        # the sums below round the same way in a block of any length
        around = np.take(flat, self.neighbours, axis=1)
        value = (around * self.weights).sum(-1)
        flat[:, self.bad] = np.clip(value, around.min(-1), around.max(-1))
