"""Rows of projections as tomography takes them: turned where the rotation axis leans."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from speckleflow.io.base import ALL
from speckleflow.io.projections import BlockSet, Projections
from speckleflow.scan.schema import LOST
from speckleflow.tomo.gaps import fill_gaps
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


def read_bridged(
    source: Projections | BlockSet,
    contrast: str,
    projections: slice | NDArray[np.intp] = ALL,
    rows: slice = ALL,
    flags: Projections | BlockSet | None = None,
) -> NDArray[np.float32]:
    """A contrast (projection, y, x) whose pixels without a measurement are bridged; rows without any are NaN.

    Parameters
    ----------
    source : where the contrast is.
    projections, rows : a range, or of projections indices in rising order.
    flags : where the flags are; None: beside the contrast.
    """
    values = np.asarray(source.read(contrast, projections, rows), np.float32)
    flagged = source if flags is None else flags
    held: Any = getattr(flagged, "layers", flagged)
    if "flags" not in held:
        return values
    return fill_gaps(values, flagged.read("flags", projections, rows) & LOST > 0)


def read_straight(
    source: Projections, contrast: str, start: int, stop: int, projections: slice = ALL
) -> NDArray[np.float32]:
    """Rows [start, stop) of a contrast (projection, y, x) about an axis that stands upright."""
    tilt = float(source.attrs.get(TILT, 0.0))
    if tilt == 0:
        return read_bridged(source, contrast, projections, slice(start, stop))
    _, height, columns = source.shape(contrast)
    axis = float(source.attrs["rotation_axis_px"])
    first, last = rows_needed((start, stop), (height, columns), axis, tilt)
    images = read_bridged(source, contrast, projections, slice(first, last))
    turned = straighten(images, first, (start, stop), height, axis, tilt)
    if np.isnan(images).all((0, 2)).any():
        # a row that takes a part of itself from one that was never measured was not measured either
        turned[:, np.isnan(turned).any((0, 2))] = np.nan
    return turned
