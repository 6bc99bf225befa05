"""What can be wrong with raw data: problems, or warnings of what is odd but possible."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speckleflow.config.models import POSSIBLE, impossible
from speckleflow.errors import InputError
from speckleflow.io.base import FrameSource
from speckleflow.io.scan import Scan, read_angles

#: A larger part of a frame at the detector's highest value is light, not hot pixels: of these, good detectors
#: have less than one in a thousand.
_SATURATED_PART = 1e-3
#: highest values of detectors of 8 to 16 bits, whatever type the file stores them in
_FULL_SCALE = frozenset(2**bits - 1 for bits in (8, 10, 12, 14, 16))
#: No image has one value, its highest, in a larger part of its pixels, but few counts have.
_CLIPPED_PART, _FEW_COUNTS = 0.01, 255
#: detectors mark gaps and dead pixels by -1 and -2; together these are less than a fifth
_NEGATIVE_PART = 0.2
#: Angles of two positions agree when they differ by less than this part of a step: half of it is a tenth of a
#: pixel's turn at the edge of a scan with the usual number of projections.
_ANGLE_PART = 0.1
#: a turn that lacks or repeats less than this is a whole one
_TURN_DEG = 5.0
#: (least, most) of what X-ray imaging with modulators uses; outside, a unit was probably mistaken
_PLAUSIBLE = {"energy_kev": (4.0, 300.0), "pixel_size_um": (0.01, 300.0), "distance_m": (1e-3, 30.0)}
_UNIT = {"energy_kev": "keV", "pixel_size_um": "um", "distance_m": "m"}


def frame_problems(frames: NDArray, what: str, where: str, *, dark: bool = False) -> list[InputError]:
    """NaN, saturated and empty frames in (k, ..., y, x); ``what`` names them, e.g. 'flat frames'."""
    problems = []
    axes = tuple(range(1, frames.ndim))

    def which(frame: int) -> str:
        return f" in frame {frame}" if len(frames) > 1 else ""

    if frames.dtype.kind == "f":
        bad = (~np.isfinite(frames)).sum(axes)
        if bad.any():
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
    if top in _FULL_SCALE:
        part = (frames == top).mean(axes)
        if part.max() > _SATURATED_PART:
            problems.append(saturated(part, f"{top}", "shorten the exposure"))
    elif top > _FEW_COUNTS and _CLIPPED_PART < (part := (frames == top).mean(axes)).max() < 1:
        hint = "a detector that clips there? shorten the exposure"
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
            InputError(where, expected=f"an image in the {what}", found=f"only {value:g}{which(first)}")
        )
    return problems


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
        InputError(where, expected=f"{what} brighter than the dark ({dark:g} counts)", found=f"{light:g}")
    ]


def angle_problems(scan: Scan) -> list[InputError]:
    """Angles of the other positions that do not fit the first one's, and angles that must be radians."""
    problems = []
    for source in scan.sample[1:]:
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
    settings, span = scan.config.tomography, float(np.ptp(scan.angles_deg))
    if scan.n_projections == 1 or settings.enabled == "no":
        return []
    if span == 0:
        return [
            InputError(
                scan.sample[0].name,
                expected="more than one angle, for volumes",
                found=f"{scan.angles_deg[0]:g} deg at all {scan.n_projections} projections",
                hint="tomography.enabled: no, if the sample was not turned",
            )
        ]
    whole = span * scan.n_projections / (scan.n_projections - 1)
    if settings.offset_axis and abs(whole - 360) > _TURN_DEG:
        return [
            InputError(
                scan.sample[0].name,
                expected="angles over 360 degrees (tomography.offset_axis)",
                found=f"{whole:.4g} degrees",
            )
        ]
    return []


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
    """Odd but possible: angles out of order, repeated, or spanning neither a half nor a full turn."""
    if len(angles_deg) < 2:
        return []
    steps = np.diff(angles_deg)
    step = float(np.median(np.abs(steps)))
    warnings = []
    if not (np.all(steps > 0) or np.all(steps < 0)):
        warnings.append("the angles are not in order (an interlaced scan?)")
    if len(np.unique(angles_deg)) < len(angles_deg):
        warnings.append(
            f"{len(angles_deg) - len(np.unique(angles_deg))} of {len(angles_deg)} angles are repeated"
        )
    span = float(np.ptp(angles_deg)) + step
    if min(abs(span - turn) for turn in (180, 360)) > max(2 * step, 1):
        warnings.append(f"the angles span {span:.4g} degrees, neither a half nor a full turn")
    return warnings


def geometry_problems(scan: Scan) -> list[InputError]:
    """Values in the files that cannot be (those of the scan table were looked at when it was read)."""
    problems = []
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
