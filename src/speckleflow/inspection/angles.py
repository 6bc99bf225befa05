"""What can be wrong with angles: unit, range, directions without a projection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.base import FrameSource
from speckleflow.io.frame_axes import read_angles
from speckleflow.io.scan import Scan
from speckleflow.tomo.turns import turn_ranges

#: What a regular step in degrees is by mistake: how many of it are a degree, and what geometry.angles_unit calls it.
_MISTAKEN = {
    "arc minutes": (60.0, "arcmin"),
    "arc seconds": (3600.0, "arcsec"),
    "thousandths of a degree": (1000.0, "mdeg"),
    "degrees labelled as radians": (180 / np.pi, "deg"),
}


#: Random and golden angles leave gaps of a few degrees; a range without directions that is said is larger.
_WEDGE_DEG = 6.0


#: Steps larger than this, all alike, are looked at for a mistaken unit, in degrees.
_LARGE_STEP = 30.0


#: Angles of two positions agree when they differ by less than this part of a step: half of it is a tenth of a
#: pixel's turn at the edge of a scan with the usual number of projections.
_ANGLE_PART = 0.1


#: a turn that lacks or repeats less than this is a whole one
_TURN_DEG = 5.0


def angle_problems(scan: Scan) -> list[InputError]:
    """Angles of the other positions that do not fit the first one's, and angles that must be radians."""
    problems = []
    for source in scan.sample[1:]:
        if scan.config.files.angles is not None:  # one list for all positions
            break
        try:
            angles = read_angles(scan.config, source, scan.n_projections + len(scan.excluded))
            problems += _other_angles(scan, source, angles[scan.raw_indices])
        except InputError as problem:
            problems.append(problem)
    return problems + radian_problems(scan.angles_deg, scan.sample[0].name, "set geometry.angles_unit: rad")


def radian_problems(angles_deg: NDArray[np.float64], where: str, hint: str = "") -> list[InputError]:
    """Angles that cannot be degrees: more than ten within 3.14 or 6.28, or few within exactly as much."""
    count = len(angles_deg)
    if count < 3:
        return []
    span = float(np.ptp(angles_deg))
    turns = span / np.pi * count / (count - 1)
    near = 0.02 if count > 10 else 1e-3
    if not any(abs(turns - n) < near * n for n in (1, 2)):
        return []
    found = f"a span of {span:.4g}, which looks like radians"
    return [InputError(where, expected="angles in degrees", found=found, hint=hint)]


def tomography_problems(scan: Scan) -> list[InputError]:
    """Angles that cannot give the volumes that the settings ask for."""
    settings, where = scan.config.tomography, scan.sample[0].name
    if scan.n_projections == 1 or settings.enabled == "no" or scan.config.geometry.axis == "time":
        return []
    angles = scan.angles_deg
    if scan.config.geometry.axis == "both":
        if problem := _rotation_problem(scan):
            return [problem]
        first, stop = turn_ranges(angles, settings.turn_deg)[0]
        angles = angles[first:stop]
    span = float(np.ptp(angles))
    if span == 0:
        return [
            InputError(
                where,
                expected="more than one angle, for volumes",
                found=f"{scan.angles_deg[0]:g} deg at all {scan.n_projections} projections",
                hint="tomography.enabled: no, if the sample was not turned",
            )
        ]
    if problem := _unit_problem(scan):
        return [problem]
    whole = span * len(angles) / (len(angles) - 1)
    if settings.offset_axis and abs(whole - 360) > _TURN_DEG:
        return [
            InputError(
                where,
                expected="angles over 360 degrees (tomography.offset_axis)",
                found=f"{whole:.4g} degrees",
            )
        ]
    if scan.sample[0].metadata.half_acquisition and not settings.offset_axis:
        return [
            InputError(
                where,
                expected="tomography.offset_axis: true, as the file says that the field of view is half the sample's",
                found="false",
                hint="set it, with angles over 360 degrees, or choose another file",
            )
        ]
    missing, step = missing_wedge(angles)
    if settings.axis_px == "auto" and missing > max(2 * step, _TURN_DEG) and span < 180 - 2 * step:
        radians = "; geometry.angles_unit: rad, if they are radians" if span < 2 * np.pi else ""
        return [
            InputError(
                where,
                expected="angles over 180 degrees, so that the rotation axis can be found",
                found=f"{span:.4g} degrees, without directions over {missing:.3g}",
                hint=f"give the axis in tomography.axis_px, and the volumes will show the missing wedge{radians}",
            )
        ]
    return []


def _rotation_problem(scan: Scan) -> InputError | None:
    """Angles that are no continuous rotation over at least one turn."""
    steps, turn = np.diff(scan.angles_deg), scan.config.tomography.turn_deg
    back = np.flatnonzero(steps * np.sign(steps[0]) <= 0)
    if len(back):
        k = int(back[0])
        return InputError(
            scan.sample[0].name,
            expected="angles that go on one way (geometry.axis: both)",
            found=f"{scan.angles_deg[k + 1]:g} degrees at projection {k + 1} after {scan.angles_deg[k]:g}",
        )
    ranges = turn_ranges(scan.angles_deg, turn)
    fewest = min((stop - first for first, stop in ranges), default=0)
    if fewest < 2:
        span = abs(scan.angles_deg[-1] - scan.angles_deg[0])
        return InputError(
            scan.sample[0].name,
            expected=f"a whole turn of {turn:g} degrees in several projections (tomography.turn_deg)",
            found=f"{len(scan.angles_deg)} projections over {span:g} degrees",
        )
    return None


def missing_wedge(angles_deg: NDArray[np.float64]) -> tuple[float, float]:
    """Largest range of directions (of 180 degrees) without a projection, and the usual step, both in degrees."""
    directions = np.unique(np.round(np.mod(angles_deg, 180.0), 3) % 180.0)
    if len(directions) < 2:
        return 180.0, 0.0
    gaps = np.diff(directions, append=directions[0] + 180.0)
    step = float(np.median(gaps))
    return max(float(gaps.max()) - step, 0.0), step


def wedge_warning(angles_deg: NDArray[np.float64]) -> str | None:
    """A sentence where directions have no projection; None where half a turn is covered."""
    missing, usual = missing_wedge(angles_deg)
    if missing <= max(2 * usual, _WEDGE_DEG):
        return None
    return f"missing wedge: no projection over {missing:.3g} degrees of directions"


def _unit_problem(scan: Scan) -> InputError | None:
    """Angles that make a half or full turn only in another unit than the one taken."""
    angles = scan.angles_deg
    if scan.config.geometry.angles == "range" or len(angles) < 3:
        return None
    steps = np.diff(angles)
    step = float(np.median(steps))
    if abs(step) < _LARGE_STEP or np.ptp(steps) > 0.01 * abs(step):
        return None
    whole = abs(step) * len(angles)
    for unit, (factor, key) in _MISTAKEN.items():
        for turn in (180.0, 360.0):
            if min(abs(whole / factor - turn), abs((whole - abs(step)) / factor - turn)) < 1e-3 * turn:
                return InputError(
                    scan.sample[0].name,
                    expected="angles in degrees, or in the unit that the file names",
                    found=f"steps of {step:g} degrees, which are a scan over {turn:g} degrees in {unit}",
                    hint=f"set geometry.angles_unit: {key}, or geometry.angles: range",
                )
    if abs(step) >= 360.0:
        return InputError(
            scan.sample[0].name,
            expected="angles in degrees, less than a turn from one to the next",
            found=f"regular steps of {step:g} degrees, as motors count",
            hint="geometry.angles: range with angle_start_deg and angle_stop_deg takes others",
        )
    return None


def _other_angles(scan: Scan, source: FrameSource, angles: NDArray[np.float64]) -> list[InputError]:
    if scan.n_projections == 1:
        return []
    step = float(np.median(np.abs(np.diff(scan.angles_deg))))
    away = np.abs(angles - scan.angles_deg)
    if away.max() <= _ANGLE_PART * step:
        return []
    worst = int(away.argmax())
    return [
        InputError(
            source.name,
            expected=f"{scan.angles_deg[worst]:g} deg at projection {worst} as in {scan.sample[0].name}",
            found=f"{angles[worst]:g} deg",
        )
    ]


def angle_warnings(angles_deg: NDArray[np.float64]) -> list[str]:
    """Odd but possible: angles out of order, some repeated, a missing wedge, or many turns."""
    count = len(angles_deg)
    if count < 2 or np.ptp(angles_deg) == 0:
        return []
    steps = np.diff(angles_deg)
    distinct, repeats = np.unique(np.round(angles_deg, 3), return_counts=True)
    warnings = []
    if not (np.all(steps >= 0) or np.all(steps <= 0)):
        warnings.append("the angles are not in order (an interlaced scan?)")
    if np.ptp(repeats) > 0:  # exposures that are all repeated alike are meant to be
        warnings.append(f"{count - len(distinct)} of {count} angles are repeated")
    step = float(np.median(np.diff(distinct))) if len(distinct) > 1 else 0.0
    span = float(np.ptp(distinct)) + step
    if min(abs(span - turn) for turn in (180, 360)) > max(2 * step, 1):
        warnings.append(f"the angles span {span:.4g} degrees, neither a half nor a full turn")
    if wedge := wedge_warning(angles_deg):
        warnings.append(wedge)
    if span > 3 * 180 and step < _LARGE_STEP and np.all(np.abs(steps) < _LARGE_STEP):
        turns = round(span / 180)
        warnings.append(
            f"{turns} half turns one after the other are taken as one scan: if the sample changed, choose one of them "
            "by files.frames"
        )
    return warnings
