"""A rotation axis that leans in the plane of the detector: how far, and projections turned so that it stands.

The axis passes the column ``c`` at the middle row ``m`` and grows by tan(tilt) a row: positive leans to the right
downward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

Float = NDArray[np.float32]

#: Displacement at the rim of the image (half its height or width from the middle), in px, and times the error of the
#: tilt, above which it matters: half a pixel blurs an edge visibly.
RIM_PX, TIMES_ERROR = 0.5, 4.0
#: Fewest rows that a tilt is measured from.
LEAST_ROWS = 5
#: Rows beside those that are needed, for cubic splines.
SPLINE_ROWS = 6


@dataclass(frozen=True)
class Tilt:
    """Tilt of the axis in degrees, its error, and the axis at the middle row."""

    deg: float
    error_deg: float
    axis_px: float
    rim_px: float

    @property
    def matters(self) -> bool:
        return self.rim_px > RIM_PX and abs(self.deg) > TIMES_ERROR * self.error_deg


def axis_tilt(rows: NDArray[np.intp], rows_px: NDArray[np.float64], height: int, columns: int) -> Tilt | None:
    """Tilt from the axes of single rows; None from fewer than five.

    The median of the slopes of all pairs of rows, which a third of wrong rows does not move; its error from the scatter
    about it (of a normal distribution, the slope is known 1.05 times worse than by least squares).
    """
    if len(rows) < LEAST_ROWS:
        return None
    first, second = np.triu_indices(len(rows), 1)
    slope = float(np.median((rows_px[second] - rows_px[first]) / (rows[second] - rows[first])))
    middle = (height - 1) / 2
    rest = rows_px - slope * (rows - middle)
    axis = float(np.median(rest))
    scatter = 1.4826 * float(np.median(np.abs(rest - axis)))
    error = 1.05 * scatter / (float(np.std(rows)) * np.sqrt(len(rows)))
    rim = abs(slope) * max(height, columns) / 2
    return Tilt(float(np.rad2deg(np.arctan(slope))), float(np.rad2deg(error)), axis, rim)


def rows_needed(
    rows: tuple[int, int], shape: tuple[int, int], axis_px: float, tilt_deg: float, reach_px: float = 0.0
) -> tuple[int, int]:
    """Range of rows of images of ``shape`` (y, x) that rows [start, stop) of the turned images are made of, which are
    displaced by ``reach_px`` along y at most."""
    height, columns = shape
    start, stop = rows
    if tilt_deg == 0 and reach_px == 0:
        return start, stop
    angle = np.deg2rad(tilt_deg)
    s = np.array([-axis_px, columns - 1 - axis_px])
    v = np.array([start, stop - 1]) - (height - 1) / 2
    y = (height - 1) / 2 - s[:, None] * np.sin(angle) + v[None, :] * np.cos(angle)
    least = int(np.floor(y.min() - reach_px)) - SPLINE_ROWS
    greatest = int(np.ceil(y.max() + reach_px)) + SPLINE_ROWS + 1
    least = min(max(0, least), height - 1)
    return least, max(least + 1, min(height, greatest))


def straighten(
    images: Float,
    first: int,
    rows: tuple[int, int],
    height: int,
    axis_px: float,
    tilt_deg: float,
    shift_px: NDArray[np.float64] | None = None,
) -> Float:
    """Rows [start, stop) of the images turned about (middle row, ``axis_px``) so that the axis stands upright.

    What each image is displaced by is taken off in the same step.

    Parameters
    ----------
    images : (projection, y, x), the rows from ``first`` on, see :func:`rows_needed`.
    first : row of the detector that ``images`` begin with.
    rows : (start, stop).
    height : rows of the detector.
    axis_px : column of the axis at the middle row.
    tilt_deg : see the module.
    shift_px : (projection, 2), how far the sample lies to the right and downward in each image; None: nowhere.

    Returns
    -------
    (projection, stop - start, x), by cubic splines; what lies outside repeats the border. NaN where a row that is NaN
    in all images is within a pixel; other values must be finite.
    """
    angle, middle = np.deg2rad(tilt_deg), (height - 1) / 2
    s = np.arange(images.shape[2]) - axis_px
    v = (np.arange(*rows) - middle)[:, None]
    x = axis_px + s * np.cos(angle) + v * np.sin(angle)
    y = middle - s * np.sin(angle) + v * np.cos(angle) - first
    turned = np.empty((len(images), rows[1] - rows[0], images.shape[2]), np.float32)
    shifts = np.zeros((len(images), 2)) if shift_px is None else shift_px
    gone = np.isnan(images).all((0, 2))
    if gone.all():
        turned[:] = np.nan
        return turned
    if gone.any():  # a spline takes a NaN to all rows of the image
        there = np.flatnonzero(~gone)
        nearest = there[np.abs(np.arange(gone.size)[:, None] - there).argmin(1)]
        images = images[:, nearest]
    for image, target, (right, down) in zip(images, turned, shifts, strict=True):
        scipy.ndimage.map_coordinates(image, [y + down, x + right], output=target, order=3, mode="nearest")
        if gone.any():
            part = np.interp(np.ravel(y + down), np.arange(gone.size), gone.astype(np.float64))
            target[part.reshape(y.shape) > 0] = np.nan
    return turned
