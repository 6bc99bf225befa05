"""Result files: HDF5 with units, complete or absent, and the same bytes whenever and wherever they are made.

    with result_file(target) as file:
        create(file, "ux", shape=(B, y, x), unit="px", description="...")[...] = ux
        write_provenance(file, stage="retrieve", settings={...}, raw_files=[...], packages=("torch",))

Nothing in a file tells when or on which machine it was written, so that a resumed run can be compared byte by
byte.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from speckleflow import __version__
from speckleflow.errors import InputError
from speckleflow.io.atomic import atomic_path
from speckleflow.io.hdf5 import dataset, open_hdf5

PROVENANCE = "provenance"
#: A chunk holds about this many bytes: large enough to stream from disk, small enough for HDF5's 1 MiB cache.
_CHUNK_BYTES = 1 << 20


@contextmanager
def result_file(target: str | Path) -> Iterator[h5py.File]:
    """A new HDF5 file, renamed to ``target`` when the body ends without an error.

    Raises
    ------
    OutputError
        See :func:`~speckleflow.io.atomic.atomic_path`.
    """
    # No chunk cache: stages write whole chunks, and a full disk then shows at the write. Found only when HDF5
    # empties its cache at the end, it crashes the process.
    options = {"track_order": False, "locking": False, "rdcc_nbytes": 0}
    with atomic_path(target) as private, h5py.File(private, "w", **options) as file:
        yield file


def create(
    group: h5py.Group,
    name: str,
    data: ArrayLike | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    unit: str,
    description: str,
    dtype: DTypeLike = np.float32,
) -> h5py.Dataset:
    """A dataset with its unit ('' where it has none, e.g. T) and meaning as attributes.

    Stacks of images (three axes and more) are chunked by whole images, or by rows of a large one,
    so that a projection and a row of all projections are both read without touching most of the file.
    """
    array = None if data is None else np.asarray(data, dtype)
    shape = array.shape if array is not None else shape
    if shape is None:
        raise TypeError("create needs data or a shape")
    made = group.create_dataset(
        name, shape, dtype=dtype, data=array, chunks=_chunks(shape, np.dtype(dtype)), track_times=False
    )
    made.attrs["units"] = unit
    made.attrs["description"] = description
    return made


def _chunks(shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, ...] | None:
    if len(shape) < 3 or 0 in shape:
        return None
    row = shape[-1] * dtype.itemsize
    return (*(1 for _ in shape[:-2]), max(1, min(shape[-2], _CHUNK_BYTES // row)), shape[-1])


def write_provenance(
    file: h5py.File,
    *,
    stage: str,
    settings: Mapping[str, Any],
    raw_files: Sequence[str | Path] = (),
    packages: Sequence[str] = (),
    weights_sha256: str | None = None,
) -> None:
    """How a result was made, as attributes of the group ``provenance``.

    Parameters
    ----------
    stage : name of the rule or command.
    settings : the settings that decided the result (JSON-like); stored whole and as their hash.
    raw_files : raw files as the configuration names them.
    packages : distributions whose versions matter beside speckleflow, numpy and h5py.
    """
    attributes = file.require_group(PROVENANCE).attrs
    attributes["stage"] = stage
    attributes["settings"] = text = canonical_json(settings)
    attributes["settings_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    attributes["versions"] = canonical_json(versions(packages))
    if raw_files:
        attributes["raw_files"] = canonical_json([str(path) for path in raw_files])
    if (commit := git_commit()) is not None:
        attributes["git_commit"] = commit
    if weights_sha256 is not None:
        attributes["weights_sha256"] = weights_sha256


def read_provenance(path: str | Path) -> dict[str, Any]:
    """The provenance of a result file, its JSON parsed.

    Raises
    ------
    InputError
        The file has none.
    """
    with open_hdf5(path) as file:
        if PROVENANCE not in file:
            raise InputError(path, expected=f"a group {PROVENANCE}", found="none")
        attributes = dict(file[PROVENANCE].attrs)
    as_json = {"settings", "versions", "raw_files"}
    return {key: json.loads(value) if key in as_json else value for key, value in attributes.items()}


def require(file: h5py.File, key: str) -> h5py.Dataset:
    """A dataset of a result file, or an InputError that names what is there instead."""
    return dataset(file, key, str(file.filename))


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, the same text for the same value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Installed versions of speckleflow, numpy, h5py and ``packages``; 'absent': not installed."""
    found = {"speckleflow": __version__}  # also where it runs from a source tree
    for package in ("numpy", "h5py", *packages):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


@functools.cache
def git_commit() -> str | None:
    """Commit of the source that runs, '-dirty' where it was changed since; None outside a repository."""
    package = str(Path(__file__).parents[1])

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", package, *arguments], capture_output=True, text=True, timeout=10)

    try:
        # a package installed somewhere below another repository is not of its commit
        if git("ls-files", "--error-unmatch", "io/results.py").returncode:
            return None
        commit = git("rev-parse", "HEAD")
        # the package alone: an edited configuration is in the settings, and changes no code
        changed = git("diff", "--quiet", "HEAD", "--", ".").returncode == 1
    except (OSError, subprocess.SubprocessError):
        return None
    return None if commit.returncode else commit.stdout.strip() + "-dirty" * changed
