"""The frames of every source of a scan: projections, flats, darks and references, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speckleflow.correction import missing_flats_error
from speckleflow.correction.flats import beam_problem
from speckleflow.correction.references import FoundSets, set_changes
from speckleflow.errors import InputError
from speckleflow.inspection.agreement import (
    repeat_problems,
    repeat_warnings,
)
from speckleflow.inspection.frames import frame_problems, light_problems, size_problems
from speckleflow.io.base import FrameSource
from speckleflow.io.layout import DIVIDED
from speckleflow.io.open import read_calibration
from speckleflow.io.repeats import odd_frame
from speckleflow.io.roles import AS_FLATS, read_options, reference_frames, source_count
from speckleflow.io.scan import Scan, missing_darks_error

#: Sample frames read of each position: first, last and some between; all would take as long as the work.
_PROBES = 5


def source_problems(
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
    """Flats of two beams, unless it is said what they are to be."""
    if scan.config.correct.flats != "auto":
        return []
    problem = beam_problem(frames, where, source.flat_places())
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


def calibration_problems(
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


def _level(frames: NDArray[Any]) -> float:
    """Median of about a million pixels: as good as that of all, and seconds faster on a large detector."""
    return float(np.nanmedian(frames.ravel()[:: max(1, frames.size // 1_000_000)]))


def _present(frames: NDArray[Any] | None) -> NDArray[Any]:
    assert frames is not None  # the header counted them
    return frames
