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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speckleflow.config import ScanConfig
from speckleflow.errors import InputError
from speckleflow.io.angle_file import angle_file, read_angle_file
from speckleflow.io.base import ALL, Angles, FrameSource, InputProblems, frame_range
from speckleflow.io.consistency import (
    same_files,
    several_positions,
    swapped_files,
    unequal_samples,
    unpaired_references,
)
from speckleflow.io.exclusions import lost_frames, missing_frames, used_projections
from speckleflow.io.frame_axes import count_axes, read_angles, read_times
from speckleflow.io.layout import DIVIDED, SUBTRACTED, Layout, find_layout, raw_files
from speckleflow.io.open import read_calibration
from speckleflow.io.repeats import FrameMean
from speckleflow.io.roles import AS_FLATS, open_role, read_options, reference_frames, source_count
from speckleflow.scan.geometry import ScanGeometry
from speckleflow.scan.spec import ScanSpec

__all__ = ["Scan", "ScanGeometry", "open_scan", "raw_files", "scan_shape"]

#: frames of the largest scan: more is a damaged header
_MOST_FRAMES = 100_000_000


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
    #: time of every projection of a time series, or of a sample that changes as it turns; None: of a still sample
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
        if self.total == source.shape[0]:
            return source.read(projections, rows)[:, None]
        return source.read(ALL, rows)[None][projections]

    def read_reference(self, chosen: Sequence[NDArray[np.intp]] | None = None) -> NDArray[np.float32]:
        """Mean reference frames (N, y, x), raw counts, in the order of the sample's positions.

        ``chosen``: numbers of the frames of each file that are averaged; None: all of them.
        """
        numbers = [None] * len(self.reference) if chosen is None else chosen
        if (
            len(self.reference) > 1
        ):  # one file at a time: all repeats of all positions are as large as the raw data
            return np.concatenate(
                [
                    self._mean(reference_frames(source, self.config, some)).mean
                    for source, some in zip(self.reference, numbers, strict=True)
                ]
            )
        frames = reference_frames(self.reference[0], self.config, numbers[0])
        if frames.ndim == 4 or self.n_positions == 1:
            return self._mean(frames).mean
        return self._mean(frames[None]).mean

    def _mean(self, frames: NDArray, *, spread: bool = False) -> FrameMean:
        """Mean of repeated frames, by the scan's saturation."""
        return FrameMean.from_frames(frames, spread=spread, saturation=self.config.correct.saturation_level)

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
            raise missing_darks_error(self)
        return found

    @property
    def total(self) -> int:
        """Number of projections in the raw files, used or not."""
        return self.n_projections + len(self.excluded)

    def flat_stacks(self) -> Iterator[tuple[NDArray[np.intp] | None, Callable[[], NDArray]]]:
        """Of each file with flats: projections recorded before each flat (None: not known), and how they are read."""
        if self.config.files.flat == DIVIDED:
            return
        for read, source in self._stacks("flats", "sample"):
            yield None if source is None else source.flat_places(), read

    def _calibration(self, kind: str, role: str) -> FrameMean | None:
        parts = [self._mean(read(), spread=kind == "darks") for read, _ in self._stacks(kind, role)]
        return FrameMean.stack(parts) if parts else None

    def _stacks(self, kind: str, role: str) -> Iterator[tuple[Callable[[], NDArray], FrameSource | None]]:
        """Readers of separate files where they are configured, else of the role's files, else of the other's."""
        names = self.layout.flat if kind == "flats" else self.layout.dark
        if names:
            options = read_options(self.config, "flat")
            for name in names:
                yield partial(read_calibration, self.root / name, name, options, kind), None
            return
        roles = [self.sample, self.reference]
        for sources in roles if role == "sample" else reversed(roles):
            if kind == "flats" and self.config.files.reference_dataset == AS_FLATS:
                continue  # what the files call flats shows the diffuser
            if sources and all(source_count(source, kind) for source in sources):
                for source in sources:
                    yield getattr(source, kind), source
                return


def missing_darks_error(scan: Scan) -> InputError:
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
    source = open_role(spec, layout.sample[0])
    projections, positions = count_axes(spec.config, layout, source)
    lost = lost_frames([source], projections) if spec.config.files.missing_frames == "allow" else ()
    projections = len(used_projections(spec.config, projections, lost))
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


def _angles_beside(spec: ScanSpec) -> tuple[str, Angles] | None:
    """Name and angles of the file that ``files.angles`` names, where they are used."""
    named = angle_file(spec.config.files.angles, spec.name)
    if named is None or spec.config.geometry.angles == "range" or spec.config.geometry.axis == "time":
        return None
    return named[0], read_angle_file(spec.root / named[0], *named)


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
                    sources.append(open_role(spec, name, role))
            except InputError as problem:
                problems.append(problem)
    both = [(role, source) for role, sources in opened.items() for source in sources]
    if not opened["sample"]:
        return None, problems, both
    first = opened["sample"][0]
    projections, positions = count_axes(config, layout, first)
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
    problems += [*several_positions(opened["sample"]), *several_positions(opened["reference"])]
    problems += unequal_samples(opened["sample"], first)
    problems += unpaired_references(opened["reference"], first, positions, layout, config)
    problems += same_files(layout, spec)
    angles, times = np.zeros(projections), None
    try:
        angles = read_angles(config, first, projections, _angles_beside(spec))
        if config.geometry.axis != "angle":
            times = read_times(config, first, projections)
    except InputError as problem:
        problems.append(swapped_files(problem, first, opened["reference"]))
    used = np.arange(projections)
    try:
        lost = lost_frames(opened["sample"], projections)
        if config.files.missing_frames == "refuse":
            problems += missing_frames(spec, opened["sample"], projections)
            lost = ()
        used = used_projections(config, projections, lost)
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
