"""What can be wrong with raw data: problems, or warnings of what is odd but possible."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speckleflow.config.models import POSSIBLE, impossible
from speckleflow.errors import InputError
from speckleflow.io.base import FrameSource
from speckleflow.io.frame_axes import read_angles
from speckleflow.io.scan import Scan
from speckleflow.tomo.turns import turn_ranges

#: A larger part of a frame at the detector's highest value is light, not hot pixels: of these, good detectors
#: have less than one in a thousand.
_SATURATED_PART = 1e-3
#: highest values of detectors of 8 to 16 bits, whatever type the file stores them in
_FULL_SCALE = frozenset(2**bits - 1 for bits in (8, 10, 12, 14, 16))
#: No image has one value, its highest, in a larger part of its pixels, but few counts have.
_CLIPPED_PART, _FEW_COUNTS = 0.01, 255
#: and not in so many pixels: in a small frame a single one is the highest by chance
_CLIPPED_PIXELS = 8
#: Pixels that are enough to tell the step between counts.
_SOME_PIXELS = 100_000
#: Counts that wrapped below zero lie in this top part of an unsigned type's range, with none in the part below it.
_WRAPPED, _EMPTY = 0.98, 0.5
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
#: detectors mark gaps and dead pixels by -1 and -2; together these are less than a fifth
_NEGATIVE_PART = 0.2
#: Angles of two positions agree when they differ by less than this part of a step: half of it is a tenth of a
#: pixel's turn at the edge of a scan with the usual number of projections.
_ANGLE_PART = 0.1
#: a turn that lacks or repeats less than this is a whole one
_TURN_DEG = 5.0
#: (least, most) of what X-ray imaging with modulators uses; outside, a unit was probably mistaken
_PLAUSIBLE = {"energy_kev": (4.0, 300.0), "pixel_size_um": (0.01, 300.0), "distance_m": (1e-3, 30.0)}
#: pixels whose sides differ by less are square
_SQUARE = 0.01
_UNIT = {"energy_kev": "keV", "pixel_size_um": "um", "distance_m": "m"}


def frame_problems(
    frames: NDArray,
    what: str,
    where: str,
    *,
    dark: bool = False,
    filled: float = 0.0,
    saturation: float | None = None,
) -> list[InputError]:
    """NaN, saturated and empty frames in (k, ..., y, x).

    Parameters
    ----------
    what, where : name of the frames, e.g. 'flat frames', and of their file.
    dark : whether frames of one value are right.
    filled : share of a frame's pixels that may be NaN or saturated.
    saturation : counts from which a pixel is saturated; None: the largest of the type, or of detectors of fewer bits.

    Returns
    -------
    list of InputError
    """
    problems = []
    axes = tuple(range(1, frames.ndim))

    def which(frame: int) -> str:
        return f" in frame {frame}" if len(frames) > 1 else ""

    if frames.dtype.kind == "f":
        bad = (~np.isfinite(frames)).sum(axes)
        if bad.max(initial=0) > filled * frames[0].size:
            first = int(np.flatnonzero(bad)[0])
            return [
                InputError(
                    where,
                    expected=f"finite values in the {what}",
                    found=f"{int(bad.sum())} NaN or infinite pixel(s){which(first)}",
                )
            ]

    def saturated(part: NDArray, level: str, hint: str) -> InputError:
        """``part`` of each frame's pixels are at one level; the worst frame is told."""
        worst = int(part.argmax())
        found = f"{100 * part[worst]:.1f} % of the pixels at {level}{which(worst)}"
        return InputError(where, expected=f"{what} below saturation", found=found, hint=hint)

    top = int(frames.max()) if frames.dtype.kind in "ui" else 0
    if frames.dtype.kind == "u" and (wrapped := _wrapped(frames)):
        problems.append(
            InputError(
                where,
                expected=f"counts of at least 0 in the {what}",
                found=f"{wrapped} pixels near {np.iinfo(frames.dtype).max} beside others near 0: counts that wrapped "
                "below zero",
                hint="subtract the dark in signed numbers, or give the frames before it was subtracted",
            )
        )
    elif saturation is not None:
        part = (frames >= saturation).mean(axes)
        if part.max() > max(_SATURATED_PART, filled):
            problems.append(saturated(part, f"{saturation:g} or more", "shorten the exposure"))
    elif top in _FULL_SCALE:
        part = (frames == top).mean(axes)
        most = max(_SATURATED_PART, filled if top == np.iinfo(frames.dtype).max else 0.0)
        if part.max() > most:
            key = f"; correct.saturation_level: {top} masks them, where they are few"
            hint = f"shorten the exposure{'' if top == np.iinfo(frames.dtype).max else key}"
            problems.append(saturated(part, f"{top}", hint))
    elif (
        top > _FEW_COUNTS * _count_step(frames)
        and _CLIPPED_PART < (part := (frames == top).mean(axes)).max() < 1
        and (frames == top).sum(axes).max() >= _CLIPPED_PIXELS
    ):
        hint = (
            "a detector that clips there? shorten the exposure, or set correct.saturation_level, which masks few "
            "such pixels"
        )
        problems.append(saturated(part, f"their highest value {top}", hint))
    if frames.dtype.kind == "i" and (part := (frames < 0).mean(axes)).max() > _NEGATIVE_PART:
        worst = int(part.argmax())
        problems.append(
            InputError(
                where,
                expected=f"counts of at least 0 in the {what}",
                found=f"{100 * part[worst]:.0f} % negative pixels{which(worst)}",
                hint="unsigned counts stored as signed ones?",
            )
        )
    if not dark and (empty := frames.max(axes) == frames.min(axes)).any():
        first = int(np.flatnonzero(empty)[0])
        value = frames[first].flat[0]
        problems.append(
            InputError(
                where,
                expected=f"an image in the {what}",
                found=f"only {value:g}{which(first)}",
                hint="files.flat: divided, if the projections are over their flat already"
                if what == "flat frames" and value != 0
                else "",
            )
        )
    return problems


def _count_step(frames: NDArray) -> int:
    """Step of counts whose lowest bits are empty, as those of 12 bits that are stored as the highest of 16."""
    if frames.dtype.kind not in "ui":
        return 1
    return max(1, int(np.gcd.reduce(frames.ravel()[:_SOME_PIXELS])))


def _wrapped(frames: NDArray) -> int:
    """Pixels of unsigned frames just below the largest number, where none lie between them and the image."""
    most = float(np.iinfo(frames.dtype).max)
    high = frames > _WRAPPED * most
    count = int(high.sum())
    # light that saturates leaves pixels of every count below it, and stands at one value
    values = np.unique(frames[high]) if count else np.empty(0)
    if len(values) < 2 or ((frames > _EMPTY * most) & ~high).any() or float(frames.min()) > 0.01 * most:
        return 0
    return count


def size_problems(frames: NDArray, size: tuple[int, int], what: str, where: str) -> list[InputError]:
    """Frames of another size than the sample's (y, x)."""
    if frames.shape[-2:] == size:
        return []
    shown, found = (f"{y} x {x} pixels" for y, x in (size, frames.shape[-2:]))
    return [InputError(where, expected=f"{what} of {shown} as the sample's", found=found)]


def light_problems(light: float, dark: float, what: str, where: str) -> list[InputError]:
    """Frames (median ``light``) that are not brighter than the dark (median ``dark``)."""
    if light > dark:
        return []
    return [
        InputError(
            where,
            expected=f"{what} brighter than the dark ({dark:g} counts)",
            found=f"{light:g}",
            hint="are flats and darks exchanged?" if what == "flat frames" else "",
        )
    ]


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


def geometry_problems(scan: Scan) -> list[InputError]:
    """Values in the files that cannot be (those of the scan table were looked at when it was read)."""
    problems = []
    x, y = scan.sample[0].metadata.pixel_size_um, scan.sample[0].metadata.pixel_size_y_um
    if (
        x is not None
        and y is not None
        and abs(y / x - 1) > _SQUARE
        and scan.config.geometry.pixel_size_um is None
    ):
        problems.append(
            InputError(
                f"{scan.sample[0].name}, pixel size",
                expected="square pixels",
                found=f"{x:g} um along x and {y:g} um along y",
                hint="bin the frames to square pixels, or set geometry.pixel_size_um if they are",
            )
        )
    for key in POSSIBLE:
        value = getattr(scan.geometry, key)
        if value is None or getattr(scan.config.geometry, key) is not None or not np.isfinite(value):
            continue
        if words := impossible(key, value):
            expected, found = words.removeprefix("expected ").split(", found ")
            problems.append(InputError(f"{scan.sample[0].name}, {key}", expected=expected, found=found))
    return problems


def geometry_warnings(scan: Scan) -> list[str]:
    """Values that are hardly possible, and values of the scan table that contradict the file's."""
    warnings = []
    for key, (least, most) in _PLAUSIBLE.items():
        value = getattr(scan.geometry, key)
        if value is None:
            continue
        unit = _UNIT[key]
        if not least <= value <= most:
            warnings.append(f"{key} is {value:g} {unit}; was it given in another unit?")
        stated = getattr(scan.sample[0].metadata, key)
        # one per cent: rounding of a scan table filled in by hand
        if stated is not None and abs(value - stated) > 0.01 * stated:
            warnings.append(
                f"{key} is {value:g} {unit} in the scan table but {stated:g} {unit} in {scan.sample[0].name}"
            )
    return warnings
