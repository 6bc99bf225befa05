"""How the files of each role (sample, reference, flat, dark) of a scan are opened and read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speckleflow.config import ScanConfig
from speckleflow.errors import InputError
from speckleflow.io.base import FrameSource, Orientation
from speckleflow.io.data_exchange import Datasets
from speckleflow.io.open import ReadOptions, open_source
from speckleflow.io.patterns import parse_positions
from speckleflow.scan.spec import ScanSpec

#: value of files.reference_dataset for beamlines that record the diffuser as the flats of each sample file
AS_FLATS = "flats"


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


def open_role(spec: ScanSpec, name: str, role: str = "sample") -> FrameSource:
    return open_source(spec.root / name, name, options=read_options(spec.config, role))


def reference_frames(
    source: FrameSource, config: ScanConfig, numbers: NDArray[np.intp] | None = None
) -> NDArray:
    """Reference frames of a reference file, raw: (k, y, x) or (k, N, y, x); all, or those of these numbers."""
    if config.files.reference_dataset != AS_FLATS:
        if numbers is None or not len(numbers):
            return source.read()
        runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
        return np.concatenate([source.read(slice(int(run[0]), int(run[-1]) + 1)) for run in runs])
    frames = source.flats()
    if frames is None:
        raise InputError(
            source.name, expected="reference frames as flats (files.reference_dataset)", found="none"
        )
    return frames if numbers is None else frames[numbers]


def source_count(source: FrameSource, kind: str) -> int:
    """Number of 'flats' or 'darks' that a source holds."""
    return source.n_flats if kind == "flats" else source.n_darks
