"""The manifest: what inspection found the raw data of a scan to be, and the contract that later stages open them by.

manifest = Manifest.load("results/a/manifest.json")
manifest.check_raw(root)                 every raw file is the one that was inspected
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speckleflow.errors import InputError
from speckleflow.io.sealed_json import json_digest, read_sealed, write_sealed
from speckleflow.scan.geometry import ScanGeometry

if TYPE_CHECKING:
    from rich.console import RenderableType

#: samples of so many bytes, spread evenly from the first to the last byte of a raw file, that its hash is taken of
_SAMPLES, _SAMPLE_BYTES = 64, 4096
#: raw files whose hash a job compares, spread over the scan's; the size and time of every one is compared
_HASHED = 64


@dataclass(frozen=True)
class RawFile:
    """Identity of one raw file: name from the project's folder, bytes, time of change, and hash of samples."""

    path: str
    bytes: int
    modified_ns: int
    sha256: str

    def check(self, root: Path, *, hashed: bool = True) -> None:
        """Compare with the file on disk.

        Raises
        ------
        InputError
            Absent, or no longer the file that was inspected.
        """
        path = root / self.path
        try:
            stat = path.stat()
        except OSError as error:
            raise InputError(
                self.path, expected="the raw file that was inspected", found="no such file"
            ) from error
        problem = ""
        if stat.st_size != self.bytes:
            problem = f"one of {stat.st_size} bytes in place of {self.bytes}"
        elif stat.st_mtime_ns != self.modified_ns:
            problem = "one that was changed since"
        elif hashed and _sample_hash(path, stat.st_size) != self.sha256:
            problem = "another one of the same size and time"
        if problem:
            raise InputError(
                self.path,
                expected="the raw file that was inspected",
                found=problem,
                hint="wait until the data are complete, delete manifest.json and run the workflow again",
            )


def raw_file(path: Path, root: Path) -> RawFile:
    """The identity of a raw file."""
    stat = path.stat()
    name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    return RawFile(name, stat.st_size, stat.st_mtime_ns, _sample_hash(path, stat.st_size))


def _sample_hash(path: Path, size: int) -> str:
    """Hash of a file's samples (of a small file of all its bytes): noise makes frames of one size and time differ."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            digest.update(stream.read())
        else:
            for place in np.linspace(0, size - _SAMPLE_BYTES, _SAMPLES).astype(np.int64).tolist():
                stream.seek(place)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


@dataclass(frozen=True)
class FileEntry:
    """One source of raw frames: a file, or the images of a folder or glob (``files``)."""

    path: str
    role: str
    bytes: int
    frames: int
    flats: int
    darks: int
    files: tuple[RawFile, ...] = ()
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What the raw data of a scan are. Holds no hour and no machine: the same data give the same manifest.

    Attributes
    ----------
    n_projections : projections that are used.
    excluded : raw projections that are not used.
    left_out : those of them that ``correct.bad_frames: exclude`` found; the jobs were planned before that.
    positions : diffuser positions that have files of their own.
    angles_deg : angle of every used projection, counter-clockwise seen from above.
    times_s : time of every used projection of a time series, or of a sample that changes as it turns; else empty.
    geometry_from : where each number of the geometry stands: 'configuration', or a file's name.
    flats, darks : where they come from, in words.
    references : sets of reference frames of several times and their use, in words; empty where there is one.
    files : sources in the order in which their frames are used.
    raw_bytes, result_bytes : size of the raw files, and what all results will take on disk (fields and phase,
        and the volumes twice, as slabs and whole).
    projection_bytes : one projection at all diffuser positions as float32, the unit of a job's memory.
    warnings : what is odd but possible.
    detector_blur : point spread of the detector as measured on repeated frames, in words.
    pattern : size_x_px, size_y_px, visibility and error_px of the reference frames (see :mod:`speckleflow.pattern`).
    settings : settings that the inspection depended on, key by key.
    """

    scan: str
    n_projections: int
    n_positions: int
    rows: int
    columns: int
    dtype: str
    first_angle_deg: float
    last_angle_deg: float
    geometry: ScanGeometry
    flats: str
    darks: str
    files: tuple[FileEntry, ...]
    raw_bytes: int
    result_bytes: int
    projection_bytes: int
    warnings: tuple[str, ...]
    excluded: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    angles_deg: tuple[float, ...] = field(default=(), repr=False)
    times_s: tuple[float, ...] = field(default=(), repr=False)
    geometry_from: Mapping[str, str] = field(default_factory=dict)
    pattern: Mapping[str, float] = field(default_factory=dict)
    detector_blur: str = ""
    references: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write as JSON, closed by the hash of what stands before."""
        write_sealed(path, asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> Manifest:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            Absent, damaged, edited, or of another version of the package.
        """
        hint = "delete it and run the workflow again, which inspects the raw data anew"
        values = read_sealed(path, "a manifest", hint)
        try:
            values["geometry"] = ScanGeometry(**values["geometry"])
            values["files"] = tuple(
                FileEntry(
                    **{
                        **entry,
                        "files": tuple(RawFile(**file) for file in entry["files"]),
                        "shape": tuple(entry["shape"]),
                    }
                )
                for entry in values["files"]
            )
            for key in ("warnings", "excluded", "left_out", "positions", "angles_deg", "times_s"):
                values[key] = tuple(values[key])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                path, expected="a manifest of this version", found=f"another one ({error})", hint=hint
            ) from error

    @property
    def raw_sha256(self) -> str:
        """Hash of names, sizes and samples of all raw files; a copy of them has the same."""
        return json_digest(
            [(file.path, file.bytes, file.sha256) for entry in self.files for file in entry.files]
        )

    def used_range(self, start: int, stop: int) -> tuple[int, int]:
        """The used projections of a job that was planned as [start, stop) before the bad frames were known.

        Raises
        ------
        InputError
            None is left for the job.
        """
        planned = self.n_projections + len(self.left_out)
        first, last = (round(edge * self.n_projections / planned) for edge in (start, stop))
        if first == last:
            raise InputError(
                "execution.retrieval.projections_per_block",
                expected="at least 2, where correct.bad_frames leaves projections out",
                found=f"{stop - start}",
            )
        return first, last

    def check_raw(self, root: Path = Path()) -> None:
        """Compare every raw file with the one that was inspected.

        Raises
        ------
        InputError
            The first that is absent or another one.
        """
        files = [file for entry in self.files for file in entry.files]
        step = max(1, len(files) // _HASHED)
        for number, file in enumerate(files):
            file.check(root, hashed=number % step == 0)

    def table(self) -> RenderableType:
        """The manifest for a terminal."""
        from speckleflow.scan.table import manifest_table

        return manifest_table(self)
