"""What the frames of a scan run over: the number of projections and positions, rotation angles, times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speckleflow.config import ScanConfig
from speckleflow.errors import InputError
from speckleflow.io.base import Angles, FrameSource, unit_factor
from speckleflow.io.layout import Layout
from speckleflow.io.patterns import Pattern


def count_axes(config: ScanConfig, layout: Layout, source: FrameSource) -> tuple[int, int]:
    """Number of projections and of diffuser positions."""
    if len(source.shape) == 4:
        return int(source.shape[0]), int(source.shape[1])
    if Pattern(config.files.sample, "files.sample").has_position:
        return int(source.shape[0]), len(layout.positions)
    frames = int(source.shape[0])
    geometry = config.geometry
    if config.files.reference is None or geometry.axis == "time" or geometry.angles == "range":
        return frames, 1
    if config.files.angles is not None or source.angles() is not None:
        return frames, 1
    return 1, frames


def read_angles(
    config: ScanConfig, source: FrameSource, projections: int, beside: tuple[str, Angles] | None = None
) -> NDArray[np.float64]:
    """Angles in degrees, counter-clockwise seen from above; all 0 of a time series.

    Parameters
    ----------
    config : of the scan.
    source : sample frames, whose file may hold angles.
    projections : number of angles there must be.
    beside : name and angles of a file of their own, which count in place of those.

    Raises
    ------
    InputError
        The file has none, too few or too many, an unknown unit, or one that is not a number.
    """
    g = config.geometry
    if g.axis == "time":
        return np.zeros(projections)
    sign = 1.0 if g.rotation == "counterclockwise" else -1.0
    if g.angles == "range":
        steps = max(projections - 1, 1) if g.angle_inclusive else projections
        return sign * (
            g.angle_start_deg + (g.angle_stop_deg - g.angle_start_deg) * np.arange(projections) / steps
        )
    where, recorded = (source.name, source.angles()) if beside is None else beside
    if recorded is None:
        if projections == 1:  # a single view has no angle to ask for
            return np.zeros(1)
        raise InputError(
            source.name,
            expected=f"an angle for each of {projections} projections",
            found="none in the file",
            hint="give geometry.angles: range, angle_start_deg and angle_stop_deg, or a list of them in files.angles",
        )
    if len(recorded.values) != projections:
        raise InputError(
            where,
            expected=f"{projections} angles, one for each projection",
            found=f"{len(recorded.values)}",
            hint=_other_number(source, projections, len(recorded.values)),
        )
    unit = g.angles_unit if g.angles_unit != "file" else recorded.unit or "deg"
    factor = unit_factor(unit, "deg")
    if factor is None:
        raise InputError(
            where,
            expected="angles in degrees, radians, or arc minutes or seconds",
            found=f"unit '{unit}'",
            hint="set geometry.angles_unit",
        )
    if not np.isfinite(recorded.values).all():
        bad = int((~np.isfinite(recorded.values)).sum())
        raise InputError(where, expected="finite angles", found=f"{bad} NaN or infinite")
    angles = sign * factor * recorded.values
    # a continuous rotation may be recorded within one turn
    return np.unwrap(angles, period=360.0) if g.axis == "both" else angles


def _other_number(source: FrameSource, projections: int, angles: int) -> str:
    """What to do about another number of angles than of projections."""
    flats, darks = source.n_flats, source.n_darks
    kinds = {"flats and darks": flats + darks, "flats": flats, "darks": darks}
    more = next((kind for kind, count in kinds.items() if 0 < count == angles - projections), None)
    if more is not None:
        return (
            f"are they those of the {more} too? list the angles of the projections alone in a file, and name it in "
            "files.angles"
        )
    return f"files.frames: '0-{min(projections, angles) - 1}', if those are the frames of the first angles"


def read_times(config: ScanConfig, source: FrameSource, projections: int) -> NDArray[np.float64]:
    """Times in seconds of the frames of a time series: ``geometry.frame_s``, else those in the file.

    Raises
    ------
    InputError
        The file has none, too few or too many, another unit, one that is not a number, or they do not increase.
    """
    if config.geometry.axis == "both" and config.geometry.frame_s is None:
        raise InputError(
            "geometry.frame_s",
            expected="the time from frame to frame in s (geometry.axis: both)",
            found="null",
        )
    if config.geometry.frame_s is not None:
        return config.geometry.frame_s * np.arange(projections, dtype=np.float64)
    recorded = source.angles()
    hint = "name the dataset of the times by files.angles_dataset, or give geometry.frame_s"
    if recorded is None:
        raise InputError(
            source.name,
            expected=f"a time for each of {projections} frames",
            found="none in the file",
            hint=hint,
        )
    values = recorded.values
    if len(values) != projections:
        raise InputError(
            source.name,
            expected=f"{projections} times, one for each frame",
            found=f"{len(values)}",
            hint=hint,
        )
    factor = unit_factor(recorded.unit or "s", "s")
    if factor is None:
        raise InputError(
            source.name, expected="times in s, ms or us", found=f"unit '{recorded.unit}'", hint=hint
        )
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise InputError(source.name, expected="finite times", found=f"{bad} NaN or infinite")
    if len(late := np.flatnonzero(np.diff(values) <= 0)):
        k = int(late[0])
        raise InputError(
            source.name,
            expected="times that increase from frame to frame",
            found=f"{values[k + 1]:g} at frame {k + 1} after {values[k]:g}",
        )
    return factor * values
