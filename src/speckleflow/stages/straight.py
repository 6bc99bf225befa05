"""Rows of projections as tomography takes them: turned where the rotation axis leans, and aligned if asked for."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.io.base import ALL
from speckleflow.io.projections import BlockSet, Projections
from speckleflow.io.results import create
from speckleflow.scan.schema import LOST
from speckleflow.tomo.alignment import Alignment
from speckleflow.tomo.gaps import fill_gaps
from speckleflow.tomo.tilt import rows_needed, straighten

#: attribute of projections, slabs and volumes: the tilt that is taken off, in degrees
TILT = "rotation_axis_tilt_deg"
#: attribute of the same: whether the sample leaves the view
CUT_OFF = "sample_leaves_view"
#: attribute of the same: what was done to align the projections, in words
ALIGNED = "alignment"


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


def straight_rows(
    source: Projections | BlockSet,
    contrast: str,
    rows: tuple[int, int],
    *,
    axis_px: float,
    tilt_deg: float,
    alignment: Alignment | None,
    projections: slice | NDArray[np.intp] = ALL,
    flags: Projections | BlockSet | None = None,
) -> NDArray[np.float32]:
    """Rows [start, stop) of a contrast (projection, y, x), turned about the axis and aligned.

    Parameters
    ----------
    source, projections, flags : see :func:`read_bridged`.
    axis_px, tilt_deg : see :func:`speckleflow.tomo.tilt.straighten`.
    alignment : what is taken off the projections; None: nothing.
    """
    held: Any = getattr(source, "layers", None)
    height, columns = held[contrast].shape if held is not None else source.shape(contrast)[1:]  # type: ignore[union-attr]
    moves = alignment is not None and alignment.moves
    reach = alignment.reach_px if alignment is not None else 0.0
    first, last = rows_needed(rows, (height, columns), axis_px, tilt_deg, reach)
    images = read_bridged(source, contrast, projections, slice(first, last), flags)
    if tilt_deg or moves:
        shift = alignment.shift_px[projections] if alignment is not None else None
        images = straighten(images, first, rows, height, axis_px, tilt_deg, shift)
        # a row that takes a part of itself from one that was never measured was not measured either
        images[:, np.isnan(images).any((0, 2))] = np.nan
    return images if alignment is None else alignment.level_off(contrast, images, projections)


def read_straight(
    source: Projections, contrast: str, start: int, stop: int, projections: slice = ALL
) -> NDArray[np.float32]:
    """Rows [start, stop) of a contrast (projection, y, x) about an axis that stands upright, aligned."""
    return straight_rows(
        source,
        contrast,
        (start, stop),
        axis_px=float(source.attrs.get("rotation_axis_px", 0.0)),
        tilt_deg=float(source.attrs.get(TILT, 0.0)),
        alignment=read_alignment(source.file),
        projections=projections,
    )


def write_alignment(file: h5py.File, alignment: Alignment) -> None:
    """What is taken off the projections, in group ``alignment`` of their file."""
    file.attrs[ALIGNED] = alignment.words
    group = file.create_group("alignment")
    group.attrs["contrast"] = alignment.contrast
    words = "displacement (x, y) of the sample, to the right and downward, that is taken off"
    create(group, "shift_px", alignment.shift_px, unit="px", description=words, dtype=np.float64)
    for contrast, level in alignment.levels.items():
        words = f"line integral of the {contrast} that is taken off every pixel"
        create(group, f"level_{contrast}", level, unit="", description=words, dtype=np.float64)


def read_alignment(file: h5py.File) -> Alignment | None:
    """What :func:`write_alignment` wrote; None where nothing is taken off."""
    if "alignment" not in file:
        return None
    group = file["alignment"]
    levels = {
        name.removeprefix("level_"): np.asarray(item[:], np.float64)
        for name, item in group.items()
        if name.startswith("level_")
    }
    shift = np.asarray(group["shift_px"][:], np.float64)
    return Alignment(shift, levels, str(group.attrs["contrast"]), str(file.attrs[ALIGNED]))
