"""Open everything, check everything, before hours of work are spent on data that cannot work.

    inspect_scan(spec) -> Manifest       raises InputProblems with one sentence a problem
    Manifest.table() -> rich renderable;  Manifest.save(path) -> JSON, the same bytes for the same data

Headers of all files are opened and compared; all darks, flats and references are read, and a few sample
frames of each position.
"""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from speckleflow.config import ScanConfig
from speckleflow.correction import Correction, prepare_correction
from speckleflow.correction.references import find_sets
from speckleflow.errors import ConfigError, InputError
from speckleflow.frame_faults import fault_error, look_at_scan
from speckleflow.inspection.agreement import (
    brightness_warning,
    pairing_problems,
)
from speckleflow.inspection.angles import angle_problems, tomography_problems
from speckleflow.inspection.contract import manifest_of
from speckleflow.inspection.geometry import geometry_problems
from speckleflow.inspection.options import settings_problems
from speckleflow.inspection.stacks import calibration_problems, source_problems
from speckleflow.io.base import InputProblems
from speckleflow.io.layout import DIVIDED
from speckleflow.io.scan import Scan, open_scan, try_open_scan
from speckleflow.pattern import measure_pattern
from speckleflow.scan.manifest import Manifest
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import collected_warnings
from speckleflow.tomo.backends.registry import backend_class
from speckleflow.turns import turn_problems

#: Sample frames of so many bytes are all looked at: a second or two.
LOOK_BYTES = 5e8


#: Transmission in the outermost columns, so many, under which projections over their flat are no transmissions.
_LEAST_AIR, _SIDE_PX = 0.1, 4


def inspect_scan(spec: ScanSpec) -> Manifest:
    """Open and check every raw file of a scan.

    Raises
    ------
    InputProblems
        Everything that is wrong, each in one sentence that names the file, what was expected and what found.
    """
    opened, problems, sources = try_open_scan(spec)
    if opened is None:
        raise InputProblems(problems)
    warnings = [f"{source.name}: {note}" for _, source in sources for note in source.metadata.notes]
    problems += calibration_problems(opened, sources, warnings)
    sets = None
    try:
        sets = find_sets(opened)
    except InputError as problem:
        problems.append(problem)
    for role, source in sources:
        problems += source_problems(opened, role, source, warnings, sets)
    problems += [*angle_problems(opened), *geometry_problems(opened)]
    if not problems:  # angles that could be read and are in degrees
        problems += tomography_problems(opened)
    problems += settings_problems(opened)
    left_out: tuple[int, ...] = ()
    if not problems and opened.config.correct.bad_frames == "exclude":
        opened, left_out = _without_bad_frames(opened, warnings)
    pattern: dict[str, float] = {}
    if problems:
        raise InputProblems({str(problem): problem for problem in problems}.values())
    if problems := _bad_frame_problems(opened):
        raise InputProblems(problems)
    correction = _checked_correction(opened, warnings)
    problems = _light_problems(opened) or turn_problems(opened, correction, warnings)
    problems += _agreement_problems(opened, correction, warnings, pattern)
    if problems:
        raise InputProblems({str(problem): problem for problem in problems}.values())
    manifest = manifest_of(opened, warnings)
    flats = manifest.flats if correction.flats is None else f"{manifest.flats}, {correction.flats}"
    references = "" if sets is None else f"mean of {sets}"
    if correction.references is not None:
        references = str(correction.references)
    blur = "not measured: no repeated flats or references of one beam, or too little of them"
    if correction.blur is not None:
        blur = correction.blur.words()
    return replace(
        manifest, left_out=left_out, pattern=pattern, flats=flats, detector_blur=blur, references=references
    )


def _without_bad_frames(scan: Scan, warnings: list[str]) -> tuple[Scan, tuple[int, ...]]:
    """The scan without the projections that cannot be used, and their numbers.

    Raises
    ------
    InputError
        More than ``correct.bad_frames_limit`` of them.
    """
    look = look_at_scan(scan)
    if not look.bad:
        return scan, ()
    first = look.faults[0]
    told = f"{first.where}, frame {first.frame}: {first.why}"
    limit = scan.config.correct.bad_frames_limit
    if len(look.bad) > limit * scan.n_projections:
        raise InputError(
            scan.sample[0].name,
            expected=f"at most {limit:.0%} of the projections with frames that cannot be used",
            found=f"{len(look.bad)} of {scan.n_projections}: {look.exclude} ({told})",
            hint="raise correct.bad_frames_limit, if the others are enough",
        )
    warnings.append(f"{len(look.bad)} projection(s) left out by correct.bad_frames: {look.exclude} ({told})")
    keep = ~np.isin(scan.raw_indices, look.bad)
    used = scan.raw_indices[keep]
    excluded = tuple(sorted({*scan.excluded, *look.bad}))
    whole = replace(
        scan,
        n_projections=len(used),
        angles_deg=scan.angles_deg[keep],
        used=used,
        excluded=excluded,
        times_s=None if scan.times_s is None else scan.times_s[keep],
    )
    return whole, tuple(look.bad)


def _bad_frame_problems(scan: Scan) -> list[InputError]:
    """Frames of a scan that cannot be used, where it is small enough to look at every one."""
    frame = scan.n_positions * scan.rows * scan.columns * scan.dtype.itemsize
    if scan.config.correct.bad_frames == "exclude" or scan.n_projections * frame > LOOK_BYTES:
        return []
    look = look_at_scan(scan)
    return [fault_error(scan, look.faults[0], look.exclude)] if look.faults else []


def inspect_frames(spec: ScanSpec) -> tuple[str, int]:
    """Every frame of a scan looked at: a table of the bad ones for a terminal, and their number.

    Frames that ``correct.exclude_projections`` names are not looked at.

    Raises
    ------
    InputError
        Headers that do not fit together, or files that cannot be read.
    """
    scan = open_scan(spec)
    look = look_at_scan(scan)
    total = scan.n_projections * scan.n_positions
    lines = [f"{spec.name}: {total} frames looked at, {len(look.faults)} cannot be used"]
    lines += [
        f"  frame {f.frame:5d}  angle {f.angle_deg:8.3f} deg  {f.where}"
        + (f", position {f.position}" if len(scan.sample) == 1 and scan.n_positions > 1 else "")
        + f"  {f.why}"
        for f in look.faults
    ]
    lines += [f"  {sentence}" for sentence in look.jumps]
    if look.faults:
        lines.append(f"  correct.exclude_projections: '{look.exclude}'")
    return "\n".join(lines), len(look.faults)


def backend_warning(config: ScanConfig, manifest: Manifest) -> str | None:
    """What is said of a backend of the reconstruction whose package this environment lacks.

    It is no part of :func:`inspect_scan`: the stage that reconstructs may run in another environment, and another
    backend needs no new inspection.

    Raises
    ------
    InputError
        ``execution.tomography.device`` is none the backend computes on.
    """
    settings, device = config.tomography, config.execution.tomography.device
    if manifest.n_projections == 1 or config.geometry.axis == "time" or settings.enabled == "no":
        return None
    try:
        devices = backend_class(settings.backend).devices
    except ConfigError as problem:
        return f"{problem}; a workflow with conda brings it. Without: tomography.backend: fourier"
    if device not in devices:
        raise InputError(
            "execution.tomography.device",
            expected=f"{' or '.join(devices)} for tomography.backend {settings.backend}",
            found=device,
        )
    return None


def _checked_correction(scan: Scan, warnings: list[str]) -> Correction:
    """The correction of a scan; what its making warns of goes to ``warnings``.

    Raises
    ------
    InputProblems
        No correction can be made, for example as there is no air in the air margins.
    """
    try:
        with collected_warnings() as logged:
            correction = prepare_correction(scan)
    except InputError as problem:
        raise InputProblems([problem]) from None
    warnings += [warning.removeprefix(f"{scan.name}: ") for warning in logged]
    return correction


def _light_problems(scan: Scan) -> list[InputError]:
    """A first projection that is over its flat, and has no light where the flux is measured."""
    if scan.config.files.flat != DIVIDED or scan.config.correct.flux == "none":
        return []
    frame = np.asarray(scan.read_sample(slice(0, 1))[0, 0], np.float64)
    air = float(np.nanmedian(np.concatenate([frame[:, :_SIDE_PX], frame[:, -_SIDE_PX:]], axis=1)))
    if air > _LEAST_AIR:
        return []
    return [
        InputError(
            scan.sample[0].name,
            expected="projections over their flat, 1 in the air (files.flat: divided)",
            found=f"{air:.2g} at the left and right edges",
            hint="are they line integrals, 0 in the air? store exp(-values); correct.flux: none, if there is no air",
        )
    ]


def _agreement_problems(
    scan: Scan, correction: Correction, warnings: list[str], pattern: dict[str, float]
) -> list[InputError]:
    """Sample frames that do not show the pattern of their reference.

    What the pattern is goes to ``pattern``, where one was recorded.
    """
    if correction.reference is None or scan.n_positions * scan.rows * scan.columns == 0:
        return []
    correction = correction.at(scan.raw_indices[0])
    assert correction.reference is not None
    frames = correction.correct_frames(scan.read_sample(slice(0, 1)), scan.raw_indices[:1])[0]
    quality = measure_pattern(correction.reference, frames)
    if quality.judgement:
        warnings.append(quality.judgement)
    numbers = asdict(quality)
    del numbers["judgement"]
    pattern |= {name: float(f"{value:.3g}") for name, value in numbers.items() if np.isfinite(value)}
    files = len(scan.sample) > 1
    names = [
        scan.sample[n].name if files else f"{scan.sample[0].name}, position {n}"
        for n in range(scan.n_positions)
    ]
    single = len(scan.reference) == 1
    partners = [
        f"{scan.reference[0].name}, position {n}" if single else scan.reference[n].name
        for n in range(scan.n_positions)
    ]
    problems, unsure = pairing_problems(frames, correction.reference, names, partners)
    warnings += unsure
    if words := brightness_warning(frames, correction.reference, names[0], partners[0]):
        warnings.append(words)
    return problems
