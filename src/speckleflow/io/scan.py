"""A scan: frames of all projections and diffuser positions, however they are stored.

    scan_shape(spec) -> (projections, positions, rows, columns)      headers of one file
    raw_files(spec)  -> every raw file                               opens none
    open_scan(spec)  -> Scan                                         headers of every file
    Scan.read_sample(projections)  -> (B, N, y, x) raw; read_reference() -> (N, y, x);
    Scan.read_flat(role), read_dark(role) -> FrameMean (1 or N, y, x) or None;  Scan.angles_deg, Scan.geometry

Layouts: one file per diffuser position; a single file (theta, N, y, x); a single file (frame, y, x), whose
frames are projections where they have angles (in the file or geometry.angles: range), diffuser positions of
one view where not. A reference file per position holds repeated frames, which are averaged.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speckleflow.config import ScanConfig
from speckleflow.errors import InputError
from speckleflow.io.base import ALL, FrameSource, InputProblems, Orientation, frame_range, unit_factor
from speckleflow.io.data_exchange import Datasets
from speckleflow.io.layout import DIVIDED, SUBTRACTED, Layout, find_layout, raw_files
from speckleflow.io.open import ReadOptions, open_source, read_calibration
from speckleflow.io.patterns import Pattern, parse_positions
from speckleflow.scan.geometry import ScanGeometry
from speckleflow.scan.spec import ScanSpec

__all__ = ["FrameMean", "Scan", "ScanGeometry", "open_scan", "raw_files", "scan_shape"]

#: value of files.reference_dataset for beamlines that record the diffuser as the flats of each sample file
AS_FLATS = "flats"
#: frames of the largest scan: more is a damaged header
_MOST_FRAMES = 100_000_000
#: fewest frames of which the smallest and largest value of a pixel are dropped before averaging (cosmic rays)
_TRIM_FROM = 5


def unmeasured(frames: NDArray, level: float | None = None) -> NDArray[np.bool_] | None:
    """Pixels that are not finite, or saturated: at ``level`` or more (None: at the largest count of their type).

    None where there are none.
    """
    if frames.dtype.kind not in "uif" or not frames.size:
        return None
    if frames.dtype.kind == "f":
        lost = ~np.isfinite(frames)
        if level is not None:
            lost |= frames >= level
        return lost if lost.any() else None
    most = np.iinfo(frames.dtype).max if level is None else level
    return frames >= most if frames.max() >= most else None


@dataclass(frozen=True)
class FrameMean:
    """Mean and standard deviation (None: too few, or not asked) of repeated frames, each (1 or N, y, x).

    A pixel that one of the frames did not measure (see :func:`unmeasured`) is NaN in the mean.
    """

    mean: NDArray[np.float32]
    spread: NDArray[np.float32] | None
    count: int

    @classmethod
    def of(cls, frames: NDArray, *, spread: bool = False, saturation: float | None = None) -> FrameMean:
        """From frames (k, y, x) or (k, N, y, x); of five and more, a pixel's two extremes are left out.

        ``saturation``: counts from which a pixel is saturated; None: the largest of its type.
        """
        count = len(frames)
        total = frames.sum(0, dtype=np.float64)
        mean, deviation, trim = total / count, None, count >= _TRIM_FROM
        if trim:
            mean = (total - frames.min(0) - frames.max(0)) / (count - 2)
        if trim and spread:
            squares = np.zeros_like(mean)
            for frame in frames:  # one at a time: a copy of the whole stack would be as large as the raw data
                squares += np.square(frame - mean)
            deviation = np.sqrt(squares / count).astype(np.float32)
            deviation = deviation if deviation.ndim == 3 else deviation[None]
        if (lost := unmeasured(frames, saturation)) is not None:
            mean[lost.any(0)] = np.nan
        return cls((mean if mean.ndim == 3 else mean[None]).astype(np.float32), deviation, count)

    @classmethod
    def stack(cls, parts: list[FrameMean]) -> FrameMean:
        """One after the other along the diffuser positions."""
        spreads = [part.spread for part in parts if part.spread is not None]
        return cls(
            np.concatenate([part.mean for part in parts]),
            np.concatenate(spreads) if len(spreads) == len(parts) else None,
            min(part.count for part in parts),
        )


@dataclass(frozen=True)
class Scan:
    """An opened scan (see the module's docstring). Angles are counter-clockwise seen from above."""

    name: str
    config: ScanConfig
    root: Path
    layout: Layout
    n_projections: int
    n_positions: int
    rows: int
    columns: int
    dtype: np.dtype
    angles_deg: NDArray[np.float64] = field(repr=False)
    geometry: ScanGeometry
    sample: tuple[FrameSource, ...] = field(repr=False)
    reference: tuple[FrameSource, ...] = field(repr=False)
    #: number in the raw files of every projection that is used; None: all of them
    used: NDArray[np.intp] | None = field(default=None, repr=False)
    #: raw projections that are not used, in order
    excluded: tuple[int, ...] = ()
    #: time of every projection of a time series; None: the projections are rotation angles
    times_s: NDArray[np.float64] | None = field(default=None, repr=False)

    @property
    def raw_indices(self) -> NDArray[np.intp]:
        """Number in the raw files of every projection."""
        return np.arange(self.n_projections) if self.used is None else self.used

    @property
    def has_reference(self) -> bool:
        """Whether a diffuser was used; else this is an absorption scan."""
        return bool(self.reference)

    def read_sample(self, projections: slice = ALL, rows: slice = ALL) -> NDArray:
        """Raw sample frames (B, N, y, x) of a range of projections, in the detector's dtype.

        Raises
        ------
        InputError
            A file cannot be read, or the range leaves the scan.
        """
        index = np.asarray(frame_range(projections, self.n_projections), np.intp)
        if self.used is None or not len(self.excluded):
            return self._read(projections, rows)
        index = self.used[index]
        runs = np.split(index, np.flatnonzero(np.diff(index) != 1) + 1) if len(index) else []
        parts = [self._read(slice(int(run[0]), int(run[-1]) + 1), rows) for run in runs]
        return np.concatenate(parts) if parts else self._read(slice(0, 0), rows)

    def _read(self, projections: slice, rows: slice) -> NDArray:
        """Frames by their number in the raw files."""
        if len(self.sample) > 1:
            first = self.sample[0].read(projections, rows)
            frames = np.empty((len(first), len(self.sample), *first.shape[1:]), self.dtype)
            frames[:, 0] = first
            for n, source in enumerate(self.sample[1:], 1):
                frames[:, n] = source.read(projections, rows)
            return frames
        source = self.sample[0]
        if len(source.shape) == 4:
            return source.read(projections, rows)
        if self.n_projections + len(self.excluded) == source.shape[0]:
            return source.read(projections, rows)[:, None]
        return source.read(ALL, rows)[None][projections]

    def read_reference(self) -> NDArray[np.float32]:
        """Mean reference frames (N, y, x), raw counts, in the order of the sample's positions."""
        if (
            len(self.reference) > 1
        ):  # one file at a time: all repeats of all positions are as large as the raw data
            return np.concatenate(
                [self._mean(reference_frames(source, self.config)).mean for source in self.reference]
            )
        frames = reference_frames(self.reference[0], self.config)
        if frames.ndim == 4 or self.n_positions == 1:
            return self._mean(frames).mean
        return self._mean(frames[None]).mean

    def _mean(self, frames: NDArray, *, spread: bool = False) -> FrameMean:
        """Mean of repeated frames, by the scan's saturation."""
        return FrameMean.of(frames, spread=spread, saturation=self.config.correct.saturation_level)

    def read_flat(self, role: str = "sample") -> FrameMean | None:
        """Flats (beam without diffuser) of the 'sample' or 'reference' frames; None where there are none."""
        if self.config.files.flat == DIVIDED:
            return None
        return self._calibration("flats", role)

    def read_dark(self, role: str = "sample") -> FrameMean | None:
        """Darks of the 'sample' or 'reference' frames; None where they have been subtracted already.

        Raises
        ------
        InputError
            There are none: a missing dark is never taken as 0.
        """
        if self.config.files.dark == SUBTRACTED or self.config.files.flat == DIVIDED:
            return None
        found = self._calibration("darks", role)
        if found is None:
            raise no_darks(self)
        return found

    def _calibration(self, kind: str, role: str) -> FrameMean | None:
        """Separate files where they are configured, else those in the role's files, else in the other's."""
        names = self.layout.flat if kind == "flats" else self.layout.dark
        if names:
            options = read_options(self.config, "flat")
            held = (read_calibration(self.root / name, name, options, kind) for name in names)
            return FrameMean.stack([self._mean(frames, spread=kind == "darks") for frames in held])
        roles = [self.sample, self.reference]
        for sources in roles if role == "sample" else reversed(roles):
            if kind == "flats" and self.config.files.reference_dataset == AS_FLATS:
                continue  # what the files call flats shows the diffuser
            if sources and all(source_count(source, kind) for source in sources):
                held = (getattr(source, kind)() for source in sources)
                return FrameMean.stack([self._mean(frames, spread=kind == "darks") for frames in held])
        return None


def source_count(source: FrameSource, kind: str) -> int:
    """Number of 'flats' or 'darks' that a source holds."""
    return source.n_flats if kind == "flats" else source.n_darks


def no_darks(scan: Scan) -> InputError:
    """The error of a scan without darks."""
    return InputError(
        scan.sample[0].name,
        expected="dark frames in the raw files or in files.dark",
        found="none",
        hint="files.dark: subtracted, if they have been taken off already",
    )


def scan_shape(spec: ScanSpec) -> tuple[int, int, int, int]:
    """(projections, positions, rows, columns); opens one header, checks no other file.

    Raises
    ------
    InputError
        Files are missing or unpaired, or the header cannot be read.
    """
    layout, problems = find_layout(spec)
    if problems:
        raise InputProblems(problems)
    source = _open(spec, layout.sample[0])
    projections, positions = _axes(spec.config, layout, source)
    lost = _lost([source], projections) if spec.config.files.missing_frames == "allow" else ()
    projections = len(_used(spec.config, projections, lost))
    return projections, positions, int(source.shape[-2]), int(source.shape[-1])


def open_scan(spec: ScanSpec) -> Scan:
    """Open the header of every file of a scan and check that they fit together; no frame is read.

    Raises
    ------
    InputProblems
        Everything that does not fit, one sentence each.
    """
    opened, problems, _ = try_open_scan(spec)
    if opened is None or problems:
        raise InputProblems(problems)
    return opened


def try_open_scan(
    spec: ScanSpec,
) -> tuple[Scan | None, list[InputError], list[tuple[str, FrameSource]]]:
    """The scan if its headers allow one, all problems, and (role, source) of every file that opened."""
    config = spec.config
    layout, problems = find_layout(spec)
    opened: dict[str, list[FrameSource]] = {"sample": [], "reference": []}
    for role, sources in opened.items():
        for name in getattr(layout, role):
            try:
                if name not in layout.missing:  # said already
                    sources.append(_open(spec, name, role))
            except InputError as problem:
                problems.append(problem)
    both = [(role, source) for role, sources in opened.items() for source in sources]
    if not opened["sample"]:
        return None, problems, both
    first = opened["sample"][0]
    projections, positions = _axes(config, layout, first)
    if projections * positions > _MOST_FRAMES:
        raise InputProblems(
            [
                InputError(
                    first.name,
                    expected=f"at most {_MOST_FRAMES} frames",
                    found=f"{projections * positions} by its header",
                )
            ]
        )
    problems += [*_four_axes(opened["sample"]), *_four_axes(opened["reference"])]
    problems += _unequal(opened["sample"], first)
    problems += _unpaired(opened["reference"], first, positions, layout, config)
    problems += _same_files(layout, spec)
    angles, times = np.zeros(projections), None
    try:
        angles = read_angles(config, first, projections)
        if config.geometry.axis == "time":
            times = read_times(config, first, projections)
    except InputError as problem:
        problems.append(_maybe_swapped(problem, first, opened["reference"]))
    used = np.arange(projections)
    try:
        lost = _lost(opened["sample"], projections)
        if config.files.missing_frames == "refuse":
            problems += _missing_frames(spec, opened["sample"], projections)
            lost = ()
        used = _used(config, projections, lost)
    except InputError as problem:
        problems.append(problem)
    geometry, missing = _geometry(config, first)
    problems += missing
    rows, columns = first.shape[-2:]
    return (
        Scan(
            name=spec.name,
            config=config,
            root=spec.root,
            layout=layout,
            n_projections=len(used),
            n_positions=positions,
            rows=rows,
            columns=columns,
            dtype=first.dtype,
            angles_deg=angles[used],
            geometry=geometry,
            sample=tuple(opened["sample"]),
            reference=tuple(opened["reference"]),
            used=used,
            excluded=tuple(np.setdiff1d(np.arange(projections), used).tolist()),
            times_s=None if times is None else times[used],
        ),
        problems,
        both,
    )


def exclusions(config: ScanConfig) -> list[int]:
    """The projections that ``correct.exclude_projections`` names, in order."""
    text = config.correct.exclude_projections
    return sorted(parse_positions(text, "correct.exclude_projections")) if text else []


def _lost(sources: list[FrameSource], projections: int) -> tuple[int, ...]:
    """Projections that one of the positions lacks."""
    lost = {int(frame) for source in sources if source.shape[0] == projections for frame in source.lost()[0]}
    return tuple(sorted(lost))


def _missing_frames(spec: ScanSpec, sources: list[FrameSource], projections: int) -> list[InputError]:
    """Sample files that announce frames they do not hold."""
    problems = []
    excluded = exclusions(spec.config)
    for source in sources:
        numbers, why = source.lost()
        if source.shape[0] == projections:
            numbers = np.setdiff1d(numbers, excluded)
        if not len(numbers):
            continue
        shown = ", ".join(map(str, numbers[:4])) + (" ..." if len(numbers) > 4 else "")
        problems.append(
            InputError(
                source.name,
                expected=f"{source.shape[0]} frames",
                found=f"{len(numbers)} of them missing, frame {shown}: {why}",
                hint="files.missing_frames: allow leaves them out and keeps the angles of the others",
            )
        )
    return problems


def _used(config: ScanConfig, projections: int, lost: tuple[int, ...] = ()) -> NDArray[np.intp]:
    """Numbers of the projections that are used: neither excluded nor ``lost``.

    Raises
    ------
    InputError
        One that is excluded is not in the scan, or none is left.
    """
    named = re.findall(r"\d+", config.correct.exclude_projections or "")
    if beyond := [int(n) for n in named if int(n) >= projections]:
        raise InputError(
            "correct.exclude_projections",
            expected=f"numbers from 0 to {projections - 1}",
            found=f"{beyond[0]}",
        )
    used = np.setdiff1d(np.arange(projections), np.asarray([*exclusions(config), *lost], int))
    if not len(used):
        raise InputError(
            "correct.exclude_projections", expected="at least one projection to use", found="none left"
        )
    return used


def datasets(config: ScanConfig, role: str = "sample") -> Datasets:
    """HDF5 paths that the configuration names for a role's files."""
    files = config.files
    frames = files.sample_dataset
    if role == "reference" and files.reference_dataset not in (None, AS_FLATS):
        frames = files.reference_dataset
    return Datasets(frames, files.flat_dataset, files.dark_dataset, files.angles_dataset)


def read_options(config: ScanConfig, role: str = "sample") -> ReadOptions:
    """How the files of a role ('sample', 'reference', 'flat' or 'dark') are read."""
    files = config.files
    sample = role == "sample"
    return ReadOptions(
        format=files.format,
        keys=datasets(config, role),
        axes=files.axes if sample else None,
        positions=None if files.positions == "auto" else len(parse_positions(files.positions)),
        orientation=Orientation(files.transpose, files.flip_y, files.flip_x),
        frames=files.frames if sample else None,
    )


def read_angles(config: ScanConfig, source: FrameSource, projections: int) -> NDArray[np.float64]:
    """Angles in degrees, counter-clockwise seen from above; all 0 of a time series.

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
    recorded = source.angles()
    if recorded is None:
        if projections == 1:  # a single view has no angle to ask for
            return np.zeros(1)
        raise InputError(
            source.name,
            expected=f"an angle for each of {projections} projections",
            found="none in the file",
            hint="give geometry.angles: range, angle_start_deg and angle_stop_deg",
        )
    if len(recorded.values) != projections:
        raise InputError(
            source.name,
            expected=f"{projections} angles, one for each projection",
            found=f"{len(recorded.values)}",
            hint=f"files.frames: '0-{min(projections, len(recorded.values)) - 1}', if those are the frames "
            "of the first angles",
        )
    unit = g.angles_unit if g.angles_unit != "file" else recorded.unit or "deg"
    factor = unit_factor(unit, "deg")
    if factor is None:
        raise InputError(
            source.name,
            expected="angles in degrees or radians",
            found=f"unit '{unit}'",
            hint="set geometry.angles_unit",
        )
    if not np.isfinite(recorded.values).all():
        bad = int((~np.isfinite(recorded.values)).sum())
        raise InputError(source.name, expected="finite angles", found=f"{bad} NaN or infinite")
    return sign * factor * recorded.values


def read_times(config: ScanConfig, source: FrameSource, projections: int) -> NDArray[np.float64]:
    """Times in seconds of the frames of a time series: ``geometry.frame_s``, else those in the file.

    Raises
    ------
    InputError
        The file has none, too few or too many, another unit, one that is not a number, or they do not increase.
    """
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


def _open(spec: ScanSpec, name: str, role: str = "sample") -> FrameSource:
    return open_source(spec.root / name, name, options=read_options(spec.config, role))


def reference_frames(source: FrameSource, config: ScanConfig) -> NDArray:
    """All reference frames of a reference file, raw: (k, y, x) or (k, N, y, x)."""
    if config.files.reference_dataset != AS_FLATS:
        return source.read()
    frames = source.flats()
    if frames is None:
        raise InputError(
            source.name, expected="reference frames as flats (files.reference_dataset)", found="none"
        )
    return frames


def _axes(config: ScanConfig, layout: Layout, source: FrameSource) -> tuple[int, int]:
    """Number of projections and of diffuser positions."""
    if len(source.shape) == 4:
        return int(source.shape[0]), int(source.shape[1])
    if Pattern(config.files.sample, "files.sample").has_position:
        return int(source.shape[0]), len(layout.positions)
    frames = int(source.shape[0])
    geometry = config.geometry
    if config.files.reference is None or geometry.axis == "time" or geometry.angles == "range":
        return frames, 1
    if source.angles() is not None:
        return frames, 1
    return 1, frames


def _four_axes(sources: list[FrameSource]) -> list[InputError]:
    """Files of one position each that hold several."""
    return [
        InputError(
            source.name,
            expected="frames (theta, y, x) of one diffuser position, as there is a file for each",
            found=_shape(source),
        )
        for source in sources
        if len(sources) > 1 and len(source.shape) == 4
    ]


def _same_files(layout: Layout, spec: ScanSpec) -> list[InputError]:
    """A file that is to be sample and reference at once, where its datasets do not tell them apart."""
    if spec.config.files.reference_dataset is not None:
        return []
    samples = {os.path.realpath(spec.root / name) for name in layout.sample}
    return [
        InputError(name, expected="another file as reference than as sample", found="the same")
        for name in layout.reference
        if os.path.realpath(spec.root / name) in samples
    ]


def _maybe_swapped(problem: InputError, first: FrameSource, references: list[FrameSource]) -> InputError:
    """Where the reference files have the angles that the sample's lack, say what that means."""
    if first.angles() is not None or not any(source.angles() is not None for source in references):
        return problem
    return InputError(
        problem.where,
        expected=problem.expected,
        found=f"{problem.found}, but the reference files have angles",
        hint="are files.sample and files.reference swapped?",
    )


def _unequal(sources: list[FrameSource], first: FrameSource) -> list[InputError]:
    """Sample files whose frames differ from the first one's in number, size or type."""
    return [
        InputError(
            source.name,
            expected=f"{_shape(first)} as in {first.name}",
            found=_shape(source),
        )
        for source in sources[1:]
        if (source.shape, source.dtype) != (first.shape, first.dtype)
    ]


def _unpaired(
    references: list[FrameSource], first: FrameSource, positions: int, layout: Layout, config: ScanConfig
) -> list[InputError]:
    """References whose frames are of another size or number than the sample's."""
    problems = []
    as_flats = config.files.reference_dataset == AS_FLATS
    for source in references:
        if source.shape[-2:] != first.shape[-2:]:
            problems.append(
                InputError(
                    source.name,
                    expected=f"frames of {_size(first)} as in {first.name}",
                    found=f"frames of {_size(source)}",
                )
            )
        if as_flats and not source.n_flats:
            problems.append(
                InputError(
                    source.name,
                    expected="reference frames as flats (files.reference_dataset)",
                    found="no flats",
                )
            )
    if len(references) == 1 and len(layout.reference) == 1 and positions > 1:
        source = references[0]
        held = source.shape[1] if len(source.shape) == 4 else source.shape[0]
        if held != positions:
            problems.append(
                InputError(
                    first.name,
                    expected=f"{held} sample frames, one for each reference frame in {source.name}",
                    found=f"{positions}",
                )
            )
    return problems


def _geometry(config: ScanConfig, source: FrameSource) -> tuple[ScanGeometry, list[InputError]]:
    """The scan table's values over the file's; what neither says is asked for, never guessed."""
    values: dict[str, float | None] = {}
    problems = []
    needed = ("pixel_size_um", "energy_kev", "distance_m") if config.files.reference else ("pixel_size_um",)
    for key in ("pixel_size_um", "energy_kev", "distance_m"):
        stated = getattr(config.geometry, key)
        values[key] = stated if stated is not None else getattr(source.metadata, key)
        if values[key] is None and key in needed:
            problems.append(
                InputError(
                    source.name,
                    expected=f"{key} with its unit in the file, or geometry.{key} in the configuration",
                    found="neither",
                )
            )
    pixel = values["pixel_size_um"]
    geometry = ScanGeometry(
        pixel if pixel is not None else float("nan"),
        values["energy_kev"],
        values["distance_m"],
        config.geometry.magnification,
        config.geometry.diffuser_distance_m,
    )
    return geometry, problems


def _size(source: FrameSource) -> str:
    return f"{source.shape[-2]} x {source.shape[-1]} pixels"


def _shape(source: FrameSource) -> str:
    positions = f" of {source.shape[1]} positions" if len(source.shape) == 4 else ""
    return f"{source.shape[0]} frames{positions} of {_size(source)} ({source.dtype})"
