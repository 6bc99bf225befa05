"""Rings: a detector column that reads wrong in every projection, a stripe in the sinogram."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import InputError


def remove_rings(sinograms: ArrayLike, window_px: int) -> NDArray[np.float32]:
    """Sinograms (row, angle, x) or (angle, x) without stripes, float32; the input is left as it is.

    Sorting-based removal: each column is sorted by value, the sorted sinogram is smoothed by a median over
    ``window_px`` columns, and the values go back to where they came from. Neighbouring columns see nearly
    the same values over a scan, in another order, so that sorting lines them up, whatever the sample's shape,
    and a stripe is what sticks out of its neighbours (Vo, Atwood and Drakopoulos, Optics Express 26, 28396
    (2018), algorithm 3). The window is at least twice as wide as the widest stripe; structure that is
    concentric with the rotation axis and narrower than half of it goes, too.

    Raises
    ------
    InputError
        A window that is not positive, or wider than the image.
    """
    data = np.asarray(sinograms, dtype=np.float32)
    columns = data.shape[-1]
    if not 1 <= window_px <= columns:
        raise InputError("ring filter", expected=f"a window of 1 to {columns} px", found=f"{window_px} px")
    if data.ndim == 2:
        return _clean_sinogram(data, window_px)
    cleaned = np.empty_like(data)
    for row, sinogram in enumerate(data):
        cleaned[row] = _clean_sinogram(sinogram, window_px)
    return cleaned


def _clean_sinogram(sinogram: NDArray[np.float32], window_px: int) -> NDArray[np.float32]:
    order = np.argsort(sinogram, axis=0, kind="stable")
    ranked = np.take_along_axis(sinogram, order, axis=0)
    smooth = scipy.ndimage.median_filter(ranked, size=(1, window_px), mode="reflect")
    cleaned = np.empty_like(sinogram)
    np.put_along_axis(cleaned, order, smooth, axis=0)
    return cleaned
