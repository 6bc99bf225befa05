"""Open everything, check everything, before hours of work are spent on data that cannot work.

    inspect_scan(spec) -> Manifest       raises InputProblems with one sentence a problem
    Manifest.table() -> rich renderable;  Manifest.save(path) -> JSON, the same bytes for the same data

Headers of all files are opened and compared; all darks, flats and references are read, and a few sample
frames of each position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speckleflow.agreement import brightness_warning, pairing_problems, repeat_problems, repeat_warnings
from speckleflow.checks import (
    angle_problems,
    angle_warnings,
    frame_problems,
    geometry_problems,
    geometry_warnings,
    light_problems,
    size_problems,
    tomography_problems,
)
from speckleflow.config import ScanConfig
from speckleflow.correction import Correction, air_margins, missing_flats_error, prepare_correction, read_mask
from speckleflow.correction.flats import beam_problem
from speckleflow.correction.references import FoundSets, find_sets, set_changes
from speckleflow.errors import ConfigError, InputError
from speckleflow.frame_faults import fault_error, look_at_scan
from speckleflow.io.angle_file import angle_file
from speckleflow.io.base import FrameSource, InputProblems
from speckleflow.io.images import find_images
from speckleflow.io.layout import DIVIDED, SUBTRACTED
from speckleflow.io.open import read_calibration
from speckleflow.io.repeats import odd_frame
from speckleflow.io.roles import AS_FLATS, read_options, reference_frames, source_count
from speckleflow.io.scan import Scan, missing_darks_error, open_scan, try_open_scan
from speckleflow.pattern import measure_pattern
from speckleflow.scan.acquisition import CONFIG_KEYS, Acquisition
from speckleflow.scan.manifest import FileEntry, Manifest, raw_file
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import collected_warnings
from speckleflow.tomo.backends.registry import backend_class
from speckleflow.tomo.turns import turn_ranges
from speckleflow.turns import turn_problems
from speckleflow.weights import digest

#: Sample frames read of each position: first, last and some between; all would take as long as the work.
_PROBES = 5
#: Sample frames of so many bytes are all looked at: a second or two.
LOOK_BYTES = 5e8
#: Transmission in the outermost columns, so many, under which projections over their flat are no transmissions.
_LEAST_AIR, _SIDE_PX = 0.1, 4
#: a mask of bad pixels marks less
_MOST_BAD = 0.5


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
    problems += _calibration_problems(opened, sources, warnings)
    sets = None
    try:
        sets = find_sets(opened)
    except InputError as problem:
        problems.append(problem)
    for role, source in sources:
        problems += _source_problems(opened, role, source, warnings, sets)
    problems += [*angle_problems(opened), *geometry_problems(opened)]
    if not problems:  # angles that could be read and are in degrees
        problems += tomography_problems(opened)
    problems += _settings_problems(opened)
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
    manifest = _manifest(opened, warnings)
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


def _source_problems(
    scan: Scan, role: str, source: FrameSource, warnings: list[str], sets: FoundSets | None
) -> list[InputError]:
    """Everything that is wrong inside one file; what is odd goes to ``warnings``.

    Reference frames are repeats within each of their ``sets``.
    """
    size = (scan.rows, scan.columns)
    where, problems, level = source.name, [], None
    for what, read in _stacks(scan, role, source):
        try:
            frames = read()
        except InputError as problem:
            problems.append(problem)
            continue
        if _averaged(scan, source, what, frames, sets):
            frames = _without_odd(frames, what, where, warnings)
        problems += size_problems(frames, size, what, where)
        problems += frame_problems(
            frames,
            what,
            where,
            dark=what == "dark frames",
            filled=scan.config.correct.fill_fraction,
            saturation=scan.config.correct.saturation_level,
        )
        if what in ("flat frames", "reference frames") and frames.shape[-2:] == size:
            if what == "flat frames":
                problems += _beam_problems(scan, source, frames, where)
            groups = [np.arange(len(frames))]
            if what == "reference frames" and sets is not None:
                groups = sets.of_file(next(k for k, other in enumerate(scan.reference) if other is source))
                warnings += _set_warnings(scan, frames, sets, groups, where)
            for group in groups:
                warnings += _repeat_warnings(scan, frames[group], what, where)
                if what == "reference frames" and _are_repeats(scan, frames):
                    problems += repeat_problems(frames[group], what, where)
        if what == "dark frames":
            level = _level(frames)
        elif level is not None:
            problems += light_problems(_level(frames), level, what, where)
    return problems


def _beam_problems(scan: Scan, source: FrameSource, frames: NDArray[Any], where: str) -> list[InputError]:
    """Flats of two beams, where nothing says which of them is whose."""
    if scan.config.correct.flats != "auto" or source.flat_places() is not None:
        return []
    problem = beam_problem(frames, where)
    return [] if problem is None else [problem]


def _set_warnings(
    scan: Scan, frames: NDArray[Any], sets: FoundSets, groups: list[NDArray[np.intp]], where: str
) -> list[str]:
    """Sets of references that differ beyond their noise, where their mean is used."""
    if scan.config.correct.references != "mean":
        return []
    changes = list(set_changes(frames, sets, groups))
    if not changes:
        return []
    return [
        f"{where}: {'; '.join(changes)}; the mean of the {len(groups)} sets is used (correct.references: nearest, or "
        "interpolate where the pattern drifts)"
    ]


def _are_repeats(scan: Scan, frames: NDArray[Any]) -> bool:
    """Whether reference frames (k, y, x) are of one position."""
    return frames.ndim == 3 and (len(scan.reference) > 1 or scan.n_positions == 1)


def _repeat_warnings(scan: Scan, frames: NDArray[Any], what: str, where: str) -> list[str]:
    if what == "reference frames" and not _are_repeats(scan, frames):
        return []
    used = "their mean is used"
    if what == "flat frames":
        used = "correct.flats decides whether they are averaged or interpolated"
    return repeat_warnings(frames, what, where, used)


def _stacks(scan: Scan, role: str, source: FrameSource) -> Iterator[tuple[str, Callable[[], NDArray[Any]]]]:
    """Name and reader of each stack of a file, the darks first; of the sample frames a few."""
    as_flats = scan.config.files.reference_dataset == AS_FLATS
    divided = scan.config.files.flat == DIVIDED
    if source.n_darks and scan.config.files.dark is None and not divided:
        yield "dark frames", lambda: _present(source.darks())
    if source.n_flats and scan.config.files.flat is None and not as_flats:
        yield "flat frames", lambda: _present(source.flats())
    if role == "reference":
        yield "reference frames", lambda: reference_frames(source, scan.config)
        return
    frames = np.arange(source.shape[0])
    if len(frames) == scan.n_projections + len(scan.excluded):
        frames = scan.raw_indices  # a frame that is not used may be unusable
        if scan.config.correct.bad_frames == "exclude":
            return  # every frame is looked at
        frames = np.setdiff1d(frames, source.lost()[0])  # said by their number
    if not len(frames):
        return
    probes = np.linspace(0, len(frames) - 1, min(_PROBES, len(frames))).round().astype(int)
    for probe in np.unique(frames[probes]).tolist():
        chosen = slice(probe, probe + 1)
        yield f"sample frame {probe}", lambda chosen=chosen: source.read(chosen)  # type: ignore[misc]


def _averaged(
    scan: Scan, source: FrameSource, what: str, frames: NDArray[Any], sets: FoundSets | None
) -> bool:
    """Whether one mean is taken of repeated frames, and not of parts of them."""
    if what == "reference frames":
        return sets is None and _are_repeats(scan, frames)
    if what == "flat frames":
        flats = scan.config.correct.flats
        return flats == "mean" or (flats == "auto" and source.flat_places() is None)
    return what == "dark frames"


def _without_odd(frames: NDArray[Any], what: str, where: str, warnings: list[str]) -> NDArray[Any]:
    """Repeated frames without the one that their mean leaves out, which is said."""
    odd = odd_frame(frames)
    if odd is None:
        return frames
    rest = np.delete(frames, odd, axis=0)
    warnings.append(
        f"{where}: {what[:-1]} {odd} of {len(frames)} has {np.median(frames[odd]):g} counts beside {_level(rest):g} of "
        "the others, and is left out of their mean"
    )
    return rest


def _calibration_problems(
    scan: Scan, sources: list[tuple[str, FrameSource]], warnings: list[str]
) -> list[InputError]:
    """Flats and darks that are missing, or wrong where they are in files of their own; the odd goes to ``warnings``."""
    problems = []
    levels: dict[str, tuple[float, str]] = {}
    for kind in ("flats", "darks"):
        what = f"{kind[:-1]} frames"
        for name in scan.layout.flat if kind == "flats" else scan.layout.dark:
            try:
                frames = read_calibration(scan.root / name, name, read_options(scan.config, "flat"), kind)
            except InputError as problem:
                problems.append(problem)
                continue
            frames = _without_odd(frames, what, name, warnings)
            problems += size_problems(frames, (scan.rows, scan.columns), what, name)
            problems += frame_problems(
                frames,
                what,
                name,
                dark=kind == "darks",
                filled=scan.config.correct.fill_fraction,
                saturation=scan.config.correct.saturation_level,
            )
            levels[kind] = _level(frames), name
        if getattr(scan.config.files, kind[:-1]) is None and scan.config.files.flat != DIVIDED:
            problems += _absent(scan, kind, sources)
    if len(levels) == 2 and levels["flats"][0] <= levels["darks"][0]:
        (light, flat), (level, dark) = levels["flats"], levels["darks"]
        problems.append(
            InputError(
                flat,
                expected=f"flat frames brighter than the dark frames of {dark} ({level:g} counts)",
                found=f"{light:g}",
                hint="are files.flat and files.dark exchanged?",
            )
        )
    return problems


def _absent(scan: Scan, kind: str, sources: list[tuple[str, FrameSource]]) -> list[InputError]:
    """Files without the flats or darks that others of their role have, or all files where some must have."""
    holders = [(role, source) for role, source in sources if source_count(source, kind)]
    if not holders:
        if kind == "darks":
            return [missing_darks_error(scan)]
        return [] if scan.has_reference else [missing_flats_error(scan)]
    having = dict(reversed(holders))
    return [
        InputError(source.name, expected=f"{kind[:-1]} frames as in {having[role].name}", found="none")
        for role, source in sources
        if role in having and not source_count(source, kind)
    ]


def _settings_problems(scan: Scan) -> list[InputError]:
    """Settings of correction and retrieval that do not fit the frames."""
    size, settings = (scan.rows, scan.columns), scan.config.correct
    method = scan.config.retrieval.spec
    problems = []
    if not method.takes(scan.n_positions):
        problems.append(
            InputError(
                scan.sample[0].name,
                expected=f"{method.positions} diffuser position(s) for retrieval.method {method.name}",
                found=f"{scan.n_positions}",
                hint=method.positions_hint,
            )
        )
    if min(size) < method.min_side:
        problems.append(
            InputError(
                scan.sample[0].name,
                expected=f"frames of at least {method.min_side} x {method.min_side} pixels for method {method.name}",
                found=f"{size[0]} x {size[1]}",
            )
        )
    try:
        Acquisition.of_geometry(scan.geometry, angles_deg=scan.angles_deg).require(
            [entry for entry in method.needs if CONFIG_KEYS[entry]], method.name
        )
    except InputError as problem:
        problems.append(problem)
    try:
        digest(scan.config.retrieval)
    except InputError as problem:
        problems.append(problem)
    try:
        air_margins(settings, size)
        if settings.mask is not None:
            problems += _mask_problems(
                read_mask(scan.root / settings.mask, settings.mask, size), settings.mask
            )
    except InputError as problem:
        problems.append(problem)
    return problems


def _mask_problems(bad: NDArray[np.bool_], name: str) -> list[InputError]:
    """A mask in the other convention."""
    if bad.mean() <= _MOST_BAD:
        return []
    return [
        InputError(
            name,
            expected="a mask of bad pixels, 0 where a pixel is good",
            found=f"{100 * bad.mean():.0f} % of the pixels marked",
            hint="is it a mask of good pixels? store 1 - mask",
        )
    ]


def _manifest(scan: Scan, warnings: list[str]) -> Manifest:
    entries = [
        *(_entry(scan, source, "sample") for source in scan.sample),
        *(_entry(scan, source, "reference") for source in scan.reference),
        *(_separate(scan, name, "flat") for name in scan.layout.flat),
        *(_separate(scan, name, "dark") for name in scan.layout.dark),
        *_beside(scan),
    ]
    method = scan.config.retrieval.spec
    fields = len(method.output_fields - {"flags", "attenuation"}) + method.has_phase + method.can_be_checked
    contrasts = 1 + method.has_phase + ("darkfield" in method.output_fields)
    turns, angles = 1, scan.angles_deg
    if scan.config.geometry.axis == "both":
        ranges = turn_ranges(angles, scan.config.tomography.turn_deg)
        turns, angles = len(ranges), angles[slice(*ranges[0])]
        if rest := scan.n_projections - ranges[-1][1]:
            warnings.append(
                f"{rest} projection{'s' * (rest > 1)} after the last whole turn of {turns} are in no volume"
            )
    volumes = turns * contrasts * (scan.n_projections > 1 and scan.config.geometry.axis != "time")
    image, volume = 4 * scan.rows * scan.columns, 4 * scan.rows * scan.columns**2
    return Manifest(
        scan=scan.name,
        n_projections=scan.n_projections,
        n_positions=scan.n_positions,
        rows=scan.rows,
        columns=scan.columns,
        dtype=str(scan.dtype),
        first_angle_deg=float(scan.angles_deg[0]),
        last_angle_deg=float(scan.angles_deg[-1]),
        geometry=scan.geometry,
        flats=_origin(scan, "flats"),
        darks=_origin(scan, "darks"),
        files=tuple(entries),
        raw_bytes=sum(entry.bytes for entry in entries),
        result_bytes=scan.n_projections * fields * image + 2 * volumes * volume,
        projection_bytes=image * scan.n_positions,
        warnings=tuple(dict.fromkeys([*geometry_warnings(scan), *angle_warnings(angles), *warnings])),
        excluded=tuple(scan.excluded),
        positions=tuple(scan.layout.positions),
        angles_deg=tuple(scan.angles_deg.tolist()),
        times_s=() if scan.times_s is None else tuple(scan.times_s.tolist()),
        geometry_from=_geometry_from(scan),
    )


def _entry(scan: Scan, source: FrameSource, role: str) -> FileEntry:
    files = tuple(raw_file(path, scan.root) for path in source.files)
    size = sum(file.bytes for file in files)
    return FileEntry(
        source.name, role, size, source.shape[0], source.n_flats, source.n_darks, files, tuple(source.shape)
    )


def _separate(scan: Scan, name: str, role: str) -> FileEntry:
    frames = read_calibration(scan.root / name, name, read_options(scan.config, "flat"), f"{role}s")
    path = scan.root / name
    files = tuple(raw_file(p, scan.root) for p in ([path] if path.is_file() else find_images(path, name)))
    return FileEntry(
        name, role, sum(file.bytes for file in files), len(frames), 0, 0, files, tuple(frames.shape)
    )


def _beside(scan: Scan) -> list[FileEntry]:
    """The mask of bad pixels and the list of angles, files that decide results like the frames."""
    angles = angle_file(scan.config.files.angles, scan.name)
    named = {"mask": scan.config.correct.mask, "angles": None if angles is None else angles[0]}
    shapes = {"mask": (scan.rows, scan.columns), "angles": (scan.n_projections + len(scan.excluded),)}
    entries = []
    for role, name in named.items():
        if name is not None:
            file = raw_file(scan.root / name, scan.root)
            entries.append(FileEntry(name, role, file.bytes, 0, 0, 0, (file,), shapes[role]))
    return entries


def _geometry_from(scan: Scan) -> dict[str, str]:
    """Where each number of the geometry stands; those that are not known are left out."""
    stated = scan.config.geometry
    return {
        key: "configuration" if getattr(stated, key) is not None else scan.sample[0].name
        for key in ("energy_kev", "pixel_size_um", "distance_m", "diffuser_distance_m")
        if getattr(scan.geometry, key) is not None
    }


def _origin(scan: Scan, kind: str) -> str:
    """Where the flats or darks come from, in words."""
    if scan.config.files.flat == DIVIDED:
        return "divided already" if kind == "flats" else "subtracted already"
    if kind == "darks" and scan.config.files.dark == SUBTRACTED:
        return "subtracted already"
    names = scan.layout.flat if kind == "flats" else scan.layout.dark
    if names:
        return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    for role, sources in (("sample", scan.sample), ("reference", scan.reference)):
        least = min((source_count(source, kind) for source in sources), default=0)
        if least:
            return f"in the {role} files, {least} each"
    return "none: the reference carries the beam shape"


def _level(frames: NDArray[Any]) -> float:
    """Median of about a million pixels: as good as that of all, and seconds faster on a large detector."""
    return float(np.nanmedian(frames.ravel()[:: max(1, frames.size // 1_000_000)]))


def _present(frames: NDArray[Any] | None) -> NDArray[Any]:
    assert frames is not None  # the header counted them
    return frames
