"""Rows of projections as tomography takes them: turned where the rotation axis leans."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speckleflow.io.projections import Projections
from speckleflow.tomo.tilt import rows_needed, straighten

#: attribute of projections, slabs and volumes: the tilt that is taken off, in degrees
TILT = "rotation_axis_tilt_deg"
#: attribute of the same: whether the sample leaves the view
CUT_OFF = "sample_leaves_view"


def padding_of(source: Projections, setting: str) -> str:
    """What is beyond the detector, see ``tomography.padding``."""
    if setting != "auto":
        return setting
    return "edge" if bool(source.attrs.get(CUT_OFF, False)) else "zero"


def read_straight(source: Projections, contrast: str, start: int, stop: int) -> NDArray[np.float32]:
    """Rows [start, stop) of a contrast (projection, y, x) about an axis that stands upright."""
    tilt = float(source.attrs.get(TILT, 0.0))
    if tilt == 0:
        return np.asarray(source.read(contrast, rows=slice(start, stop)), np.float32)
    _, height, columns = source.shape(contrast)
    axis = float(source.attrs["rotation_axis_px"])
    first, last = rows_needed((start, stop), (height, columns), axis, tilt)
    images = np.asarray(source.read(contrast, rows=slice(first, last)), np.float32)
    return straighten(images, first, (start, stop), height, axis, tilt)
