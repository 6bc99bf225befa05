"""A full turn about an axis near the image's edge: a sample of twice the width, stitched from two sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import InputError
from speckleflow.tomo.opposite import half_turns


@dataclass(frozen=True)
class Stitched:
    """A scan over 180 degrees: sinograms (row, angle, x), its angles, and the axis in its columns."""

    sinograms: NDArray[np.float32]
    angles_deg: NDArray[np.float64]
    axis_px: float


def stitch_half_turns(sinograms: ArrayLike, angles_deg: ArrayLike, axis_px: float) -> Stitched:
    """Join each projection (row, angle, x) of a full turn with the mirror image of the opposite one.

    The mirrored half is moved to the pixel grid of the other by cubic splines. Where both see the sample
    their weights pass gradually from one to the other, so that no step shows.

    Raises
    ------
    InputError
        Less than a full turn, or an axis outside the image.
    """
    data = np.asarray(sinograms, dtype=np.float32)
    angles = np.asarray(angles_deg, dtype=np.float64)
    columns = data.shape[-1]
    if data.ndim != 3 or angles.shape != data.shape[1:2]:
        raise InputError(
            "sinograms", expected=f"shape (row, {angles.size} angles, x)", found=f"shape {data.shape}"
        )
    if not 0 <= axis_px <= columns - 1:
        raise InputError(
            "rotation axis", expected=f"inside the image, 0 to {columns - 1} px", found=f"{axis_px:g} px"
        )
    sides = half_turns(angles)
    if not sides.full:
        raise InputError(
            "angles", expected="a full turn to stitch two sides of a sample",
            found=f"{np.ptp(angles):g} degrees",
        )  # fmt: skip
    # Columns of the stitched image in the coordinate of the one that is not mirrored.
    first, last = (
        min(0, int(np.ceil(2 * axis_px - columns + 1))),
        max(columns - 1, int(np.floor(2 * axis_px))),
    )
    s = np.arange(first, last + 1, dtype=np.float64)
    there = 2 * axis_px - s  # where the opposite projection has it
    weight = _share(s, there, columns)
    stitched = np.empty((data.shape[0], sides.angles_deg.size, s.size), np.float32)
    inside = (s >= 0) & (s <= columns - 1)
    for row, sinogram in enumerate(data):
        rows = np.arange(sides.angles_deg.size)[:, None]
        mirrored = scipy.ndimage.map_coordinates(
            sides.back(sinogram), np.broadcast_arrays(rows, there[None, :]), order=3, mode="nearest"
        )
        direct = np.zeros_like(stitched[row])
        direct[:, inside] = sides.front(sinogram)
        stitched[row] = weight * direct + (1 - weight) * mirrored
    return Stitched(stitched, sides.angles_deg, axis_px - first)


def _share(s: NDArray[np.float64], there: NDArray[np.float64], columns: int) -> NDArray[np.float32]:
    """Weight of the direct projection: its depth in its image over the sum of both depths."""
    here_depth = np.clip(np.minimum(s, columns - 1 - s) + 1, 0, None)
    there_depth = np.clip(np.minimum(there, columns - 1 - there) + 1, 0, None)
    return np.asarray(here_depth / (here_depth + there_depth), dtype=np.float32)
