"""Result files: HDF5 with units and provenance, complete or absent.

    with result_file(target) as file:
        create(file, "ux", shape=(B, y, x), unit="px", description="...")[...] = ux
        write_provenance(file, stage="retrieve", settings={...}, raw_files=[...], packages=("torch",))

When and on what kind of machine a file and those before it were made stands in the attribute ``history`` of its
provenance, and nowhere else: it is no part of the identity. With the environment variable ``SOURCE_DATE_EPOCH``
(seconds since 1970) in place of the clock, files are the same bytes whenever and wherever they are made.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from speckleflow import __version__
from speckleflow.errors import InputError
from speckleflow.io.atomic import atomic_path
from speckleflow.io.hdf5 import dataset, open_hdf5, raised_by_h5py

PROVENANCE = "provenance"
#: attribute of every result: hash of its checksums, attributes and shapes (see :func:`identity_of`)
IDENTITY = "identity"
#: attribute of the provenance: when and where each stage ran; not part of the identity
HISTORY = "history"
#: dataset of the NeXus groups that repeats the last date of the history; not part of the identity
DATE = "entry/reconstruction/date"
#: A result of at most so many bytes ends with these and the SHA-256 of what stands before them.
_SEALED_BYTES, _SEAL = 16 << 20, b"speckleflow-sha256:"
_SEAL_BYTES = len(_SEAL) + 32
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
    # From format 1.10 on, headers and attributes carry checksums of their own.
    options = {"track_order": False, "locking": False, "rdcc_nbytes": 0, "libver": ("v110", "v110")}
    with atomic_path(target) as private:
        with h5py.File(private, "w", **options) as file:
            yield file
            file.flush()
            file.attrs[IDENTITY] = identity_of(file, private)
        _seal(private)


#: datasets of earlier versions -> their names now
RENAMED = {"quality": "displacement_std"}


@contextmanager
def open_result(path: str | Path, *, verify: bool = True) -> Iterator[h5py.File]:
    """A result file, read-only, refused where it is no longer what its stage wrote.

    Parameters
    ----------
    verify : compare the identity with the contents: reads four bytes of each chunk. Flipped bits in the data
        themselves show when they are read, by the checksum of the chunk.

    Raises
    ------
    InputError
        Absent, damaged, changed since it was written, or no result.
    """
    try:
        _check_seal(Path(path))
        with open_hdf5(path) as file:
            stored = file.attrs.get(IDENTITY)
            if stored is None:
                raise InputError(path, expected="a result with an identity", found="none")
            if verify and stored != identity_of(file, Path(path)):
                raise InputError(
                    path, expected="a result as it was written", found="one changed or damaged since"
                )
            for old, new in RENAMED.items():
                if old in file:
                    raise InputError(
                        path,
                        expected=f"the dataset '{new}'",
                        found=f"'{old}', which it was called before",
                        hint="delete the file and run the workflow again, which makes it anew",
                    )
            yield file
    except InputError as error:
        if error.where != str(path) or error.hint:
            raise
        hint = "delete it and run the workflow again, which makes it anew"
        raise InputError(path, expected=error.expected, found=error.found, hint=hint) from error
    except KeyError as error:
        if not raised_by_h5py(error):
            raise
        raise InputError(
            path,
            expected="a complete result",
            found=str(error.args[0]),
            hint="delete it and run the workflow again, which makes it anew",
        ) from error


def _seal(path: Path) -> None:
    """Append the hash of a small file to it, behind what HDF5 reads; a large one is left as it is."""
    if path.stat().st_size <= _SEALED_BYTES:
        content = path.read_bytes()
        with path.open("ab") as stream:
            stream.write(_SEAL + hashlib.sha256(content).digest())


def _check_seal(path: Path) -> None:
    """Compare a sealed file with its hash, before HDF5 sees it: damaged links of virtual datasets can crash it."""
    if not path.is_file() or not 0 < path.stat().st_size <= _SEALED_BYTES + _SEAL_BYTES:
        return
    content = path.read_bytes()
    if content[-_SEAL_BYTES:].startswith(_SEAL) and (
        hashlib.sha256(content[:-_SEAL_BYTES]).digest() != content[-_SEAL_BYTES + len(_SEAL) :]
    ):
        raise InputError(path, expected="a result as it was written", found="one changed or damaged since")


def identity_of(file: h5py.File, path: Path) -> str:
    """Hash of what an HDF5 file holds: names, shapes, types, attributes, links, and the checksum of every chunk.

    The checksums (fletcher32, the last four bytes of a stored chunk) stand for the data, so that a file of many
    GB is identified in milliseconds. Virtual datasets count by their sources' names.
    """
    digest = hashlib.sha256()

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if name == DATE:
            return
        digest.update(name.encode() + b"\0")
        for key in sorted(item.attrs):
            if (name, key) not in (("/", IDENTITY), (PROVENANCE, HISTORY)):
                value = np.asarray(item.attrs[key])
                content = repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
                digest.update(f"{key}:{value.dtype}:{value.shape}:".encode() + content)
        if isinstance(item, h5py.Dataset):
            digest.update(f"{item.dtype}:{item.shape}".encode())
            if item.is_virtual:
                digest.update(repr([(s.file_name, s.dset_name) for s in item.virtual_sources()]).encode())
            elif item.chunks and item.fletcher32:
                _add_checksums(item, stream, digest)
            else:
                value = np.asarray(item[()])
                digest.update(repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes())
        else:
            links = {key: item.get(key, getlink=True) for key in item}
            paths = {key: link.path for key, link in links.items() if isinstance(link, h5py.SoftLink)}
            if paths:
                digest.update(repr(sorted(paths.items())).encode())

    with path.open("rb") as stream:
        add("/", file)
        file.visititems(add)
    return digest.hexdigest()


def _add_checksums(item: h5py.Dataset, stream: BinaryIO, digest: hashlib._Hash) -> None:
    """Add the stored checksums of a dataset's chunks, in the order of the chunks."""
    found: list[tuple[tuple[int, ...], int]] = []
    item.id.chunk_iter(lambda chunk: found.append((chunk.chunk_offset, chunk.byte_offset + chunk.size - 4)))
    for offset, place in sorted(found):
        stream.seek(place)
        digest.update(repr(offset).encode() + stream.read(4))


def create(
    group: h5py.Group,
    name: str,
    data: ArrayLike | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    unit: str,
    description: str,
    dtype: DTypeLike = np.float32,
    compressed: bool = False,
) -> h5py.Dataset:
    """A dataset with its unit ('' where it has none, e.g. T) and meaning as attributes.

    ``compressed`` (gzip, no loss) is for values that are alike over many pixels.
    Stacks of images (three axes and more) are chunked by whole images, or by rows of a large one,
    so that a projection and a row of all projections are both read without touching most of the file.
    """
    array = None if data is None else np.asarray(data, dtype)
    shape = array.shape if array is not None else shape
    if shape is None:
        raise TypeError("create needs data or a shape")
    chunks = _chunks(shape, np.dtype(dtype))
    made = group.create_dataset(
        name,
        shape,
        dtype=dtype,
        data=array,
        chunks=chunks,
        fletcher32=chunks is not None,
        fillvalue=fill_value(np.dtype(dtype)),
        track_times=False,
        **({"compression": "gzip", "compression_opts": 1, "shuffle": True} if compressed and chunks else {}),
    )
    made.attrs["units"] = unit
    made.attrs["description"] = description
    return made


def create_like(group: h5py.Group, name: str, original: h5py.Dataset) -> h5py.Dataset:
    """An empty dataset of the shape, type and attributes of another one, with checksums."""
    made = create(group, name, shape=original.shape, unit="", description="", dtype=original.dtype)
    made.attrs.update(original.attrs)
    return made


def fill_value(dtype: np.dtype) -> Any:
    """What a value that was never written reads as: NaN, or the largest integer (all flags set)."""
    return np.nan if dtype.kind == "f" else np.iinfo(dtype).max


def _chunks(shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, ...] | None:
    if not shape or 0 in shape:
        return None
    if len(shape) < 3:  # numbers of projections: one chunk
        return shape
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
    scan: str | None = None,
    raw_sha256: str | None = None,
    chain: Sequence[Mapping[str, Any]] = (),
) -> None:
    """How a result was made, as attributes of the group ``provenance``.

    Parameters
    ----------
    stage : name of the rule or command.
    settings : the settings that decided the result (JSON-like); stored whole and as their hash.
    raw_files : raw files as the configuration names them.
    packages : distributions whose versions matter beside speckleflow, numpy and h5py.
    weights_sha256 : of the network that computed it.
    scan : name of the scan.
    raw_sha256 : hash of names, sizes, times and samples of the raw files.
    chain : provenance of what the result was made from, from the raw files on; of each stage once.
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
    given = {"weights_sha256": weights_sha256, "scan": scan, "raw_sha256": raw_sha256}
    attributes.update({key: value for key, value in given.items() if value is not None})
    records = {record["stage"]: dict(record) for record in chain}
    history = {entry["stage"]: entry for record in records.values() for entry in record.pop(HISTORY, [])}
    history[stage] = _here_and_now(stage)
    attributes[HISTORY] = canonical_json(list(history.values()))
    if records:
        attributes["chain"] = canonical_json(list(records.values()))


def _here_and_now(stage: str) -> dict[str, str]:
    """Stage, time (UTC) and class of machine."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isdigit():
        time, host = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC), "not recorded"
    else:
        time = datetime.datetime.now(datetime.UTC)
        host = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    return {"stage": stage, "made": time.isoformat(timespec="seconds"), "host": host}


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
        return _parsed(file)


def provenance_of(file: h5py.File) -> list[dict[str, Any]]:
    """The provenance of an open result and of all it was made from, one record a stage, raw files first."""
    own = _parsed(file)
    return [*own.pop("chain", []), own]


def _parsed(file: h5py.File) -> dict[str, Any]:
    as_json = {"settings", "versions", "raw_files", "chain", HISTORY}
    attributes = dict(file[PROVENANCE].attrs)
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
