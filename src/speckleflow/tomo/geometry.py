"""Parallel-beam geometry: the single definition of where a point of the sample lands; angular weights.

Frame (physics.md). Look along the beam, from the source to the detector: image columns x grow to the right,
image rows y grow downward, along the rotation axis. The sample turns counter-clockwise seen from above.

Volume axes are (z, y, x), a slice is (y, x):

* volume z is the detector row (downward, along the rotation axis);
* slice x is the detector's column direction at angle 0 (to the right);
* slice y points AGAINST the beam at angle 0: row 0 is the detector's side, the last row the source's.

(x, y, z) is therefore right-handed, and a slice shown the usual way (row 0 on top) is the sample seen from
above, turning counter-clockwise. The rotation axis passes through the centre of a slice,
((W - 1)/2, (W - 1)/2) for W columns, wherever it lies on the detector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: A gap between neighbouring angles this many times the usual one (90th percentile) is a missing wedge.
#: Golden-ratio sequences have gaps up to 2.62 times their smallest, and the largest gap of a few hundred
#: random angles is about ln(n) / ln(10) < 3 times theirs, so both stay below it.
MISSING_WEDGE_FACTOR = 5.0


def detector_coordinate(
    angle_deg: ArrayLike, x: ArrayLike, y: ArrayLike, axis_px: float = 0.0
) -> NDArray[np.float64]:
    """Detector column where the point (y, x) of a slice is projected: ``axis + x cos(angle) + y sin(angle)``.

    Parameters
    ----------
    angle_deg : rotation of the sample in degrees, counter-clockwise seen from above.
    x, y : place in the slice in pixels, counted from the rotation axis (x = column - (W - 1)/2, y likewise
        with the row); y points against the beam at angle 0.
    axis_px : detector column of the rotation axis, pixel centres at integers.

    All broadcast against each other. The depth along the beam is ``x sin(angle) - y cos(angle)``, growing
    towards the detector.
    """
    angle = np.deg2rad(np.asarray(angle_deg, dtype=np.float64))
    return axis_px + np.asarray(x) * np.cos(angle) + np.asarray(y) * np.sin(angle)


def slice_coordinates(columns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(y, x) of the pixel centres of a slice, counted from the rotation axis: shapes (W, 1) and (1, W)."""
    centred: NDArray[np.float64] = np.arange(columns, dtype=np.float64) - (columns - 1) / 2
    return centred[:, None], centred[None, :]


def field_of_view(columns: int, axis_px: float) -> NDArray[np.bool_]:
    """Pixels of a slice that every projection saw; elsewhere a slice is not quantitative.

    The circle about the rotation axis that fits the detector: radius min(axis, W - 1 - axis) + 1/2.
    """
    radius = min(axis_px, columns - 1 - axis_px) + 0.5
    y, x = slice_coordinates(columns)
    return np.asarray(x**2 + y**2 <= radius**2)


def angular_weights(angles_deg: ArrayLike) -> NDArray[np.float64]:
    """Quadrature weight of every angle in radians: the part of the half circle that it stands for.

    Projections at an angle and at 180 degrees from it hold the same line integrals, so angles are folded to
    [0, 180); each gets half the gap to either neighbour, coincident ones share. Uniform angles over 180 or
    360 degrees, in either sense, each get pi / (number of angles). A missing wedge (MISSING_WEDGE_FACTOR) is
    not filled by its two neighbours; the sum of the weights is then below pi, by the missing angle.
    """
    # Rounded, so that equal angles are equal and 180 - 1e-9 is one with 0; 1e-6 degrees is far below a pixel.
    folded = np.round(np.asarray(angles_deg, dtype=np.float64), 6) % 180.0
    distinct, which, count = np.unique(folded, return_inverse=True, return_counts=True)
    if distinct.size == 1:
        return np.full(folded.shape, np.pi / folded.size)
    gaps = np.diff(distinct, append=distinct[0] + 180.0)
    usual = np.quantile(gaps, 0.9)
    gaps = np.where(gaps > MISSING_WEDGE_FACTOR * usual, usual, gaps)
    weights = np.deg2rad((gaps + np.roll(gaps, 1)) / 2)
    return np.asarray((weights / count)[which])
