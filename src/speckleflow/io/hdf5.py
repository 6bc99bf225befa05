"""Opening raw HDF5 files: read-only, without locks, with errors a person can act on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the compression filters of detectors)
import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.base import unit_factor

#: links that are followed one after the other
_MOST_LINKS = 16
#: sources of a virtual dataset that are opened to see whether they lead back to it
_SOURCES_OPENED = 64
#: Most bytes of a dataset beside its bytes in the file (deflate packs by 1032 at best), and what is read anyway.
_MOST_PACKED, _SMALL_BYTES = 1100, 1 << 24
#: virtual datasets that have been found sound: file, name, time and size of the file
_CHECKED: set[tuple[str, str, int, int]] = set()


@contextmanager
def open_hdf5(path: str | Path, name: str | None = None) -> Iterator[h5py.File]:
    """A raw HDF5 file, read-only; ``name`` is how messages call it.

    Opened without a lock, because locks fail on many network file systems and a reader changes nothing.

    Raises
    ------
    InputError
        Missing, a directory, not readable, empty, truncated, not HDF5, or damaged where it is read.
    """
    path = Path(path)
    name = name or str(path)
    check_file(path, "an HDF5 file", name)
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except PermissionError as error:
        raise InputError(
            name, expected="an HDF5 file that may be read", found="no permission to read it"
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        if not isinstance(error, OSError) and not raised_by_h5py(error):
            raise
        if "locking flag" in str(error):
            raise InputError(
                name,
                expected="a file that this program has not opened otherwise",
                found="one that it holds open with HDF5's locks",
                hint="close it first, or open it with h5py.File(..., locking=False)",
            ) from error
        raise InputError(
            name, expected="a complete, readable HDF5 file", found=_words(error, path)
        ) from error


def check_file(path: Path, expected: str, name: str) -> None:
    """Raise an InputError unless ``path`` is a file with something in it."""
    try:
        if path.is_dir():
            found = "a directory"
        elif not path.exists():
            found = "a link that leads nowhere" if path.is_symlink() else "no such file"
        elif not path.is_file():  # reading a device or a pipe may never end
            found = "a device or pipe"
        elif path.stat().st_size == 0:
            found = "an empty file (0 bytes)"
        else:
            return
    except PermissionError:
        found = "no permission to read it"
    except OSError as error:
        found = (error.strerror or str(error)).lower()
    raise InputError(name, expected=expected, found=found)


def raised_by_h5py(error: Exception) -> bool:
    """Whether h5py raised an error (at damaged metadata), and not what the caller does with the file."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at is not None and "h5py" in at.tb_frame.f_code.co_filename


def _words(error: Exception, path: Path) -> str:
    text = " ".join(str(error).split())
    if match := re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", text):
        return f"a truncated one ({match[1]} of {match[2]} bytes); was it still being written or copied?"
    if "signature not found" in text:
        return (
            f"a file of another type ({path.stat().st_size} bytes, no HDF5 signature); read are HDF5, TIFF, .npy, EDF, "
            "CBF and other detector formats, .txrm and .xrm, by their suffix"
        )
    if "checksum" in text.lower():
        return f"damaged data: a checksum does not fit ({text})"
    if "filter" in text:
        return f"data compressed in a way that is not supported here ({text})"
    return f"damage ({text})"


def dataset(file: h5py.Group, key: str, name: str) -> h5py.Dataset:
    """The dataset at ``key``.

    Raises
    ------
    InputError
        Nothing is there, it is no dataset, or it is a link to something that cannot be opened.
    """
    found, broken = follow(file, key)
    if isinstance(found, h5py.Dataset):
        check_virtual(found, name)
        return found
    if broken:
        what = broken
    elif found is not None:
        what = "a group"
    else:
        parent = key.rpartition("/")[0] or "/"
        there, _ = follow(file, parent)
        beside = ", ".join(sorted(there)) if isinstance(there, h5py.Group) else ""
        what = f"none ({parent} holds {beside})" if beside else f"none, nor its group {parent}"
    raise InputError(name, expected=f"a dataset {key}", found=what)


def find_dataset(file: h5py.Group, key: str) -> h5py.Dataset | None:
    """The dataset at ``key``, or None.

    Raises
    ------
    InputError
        It is made of itself (see :func:`check_virtual`).
    """
    found, _ = follow(file, key)
    if not isinstance(found, h5py.Dataset):
        return None
    check_virtual(found, Path(file.file.filename).name)
    return found


def follow(group: h5py.Group, key: str, depth: int = 0) -> tuple[h5py.Group | h5py.Dataset | None, str]:
    """The object at ``key`` through links of every kind, and why a link on the way leads nowhere ('' if none does).

    A link to another file is followed only if that is a regular file: opening a pipe never ends.
    """
    if depth > _MOST_LINKS:
        return None, "links that lead in a circle"
    here: Any = group.file if key.startswith("/") else group
    parts = [part for part in key.split("/") if part not in ("", ".")]
    for number, part in enumerate(parts):
        if not isinstance(here, h5py.Group):
            return None, ""
        link = _link(here, part)
        rest = "/".join(parts[number + 1 :])
        if isinstance(link, h5py.SoftLink):
            found, broken = follow(here, link.path, depth + 1)
            if found is None:
                return None, broken or f"a link to {link.path}, where nothing is"
            here = found
        elif isinstance(link, h5py.ExternalLink):
            if broken := _broken_external(here.file.filename, link, depth):
                return None, broken
            here = _get(here, part)
            if here is None:
                return None, f"a link to {link.filename}, which cannot be opened"
        elif link is None:
            return None, ""
        else:
            here = _get(here, part)
            if here is None:
                return None, ""
        if rest and isinstance(here, h5py.Dataset):
            return None, ""
    return here, ""


def _broken_external(source: str, link: h5py.ExternalLink, depth: int) -> str:
    """Why a link to another file leads nowhere, in words; empty if it can be opened."""
    path = _beside(source, link.filename)
    if path.exists() and not path.is_file():
        return f"a link to {link.filename}, which is no regular file"
    if not path.is_file():
        return f"a link to {link.filename}, which is not there"
    try:
        with h5py.File(path, "r", locking=False) as other:
            found, broken = follow(other, link.path, depth + 1)
            return (
                ""
                if found is not None
                else broken or f"a link to {link.path} in {link.filename}, where nothing is"
            )
    except (OSError, RuntimeError):
        return f"a link to {link.filename}, which cannot be opened"


def _beside(source: str, name: str) -> Path:
    """The file ``name`` as HDF5 looks for it from the file ``source``."""
    path = Path(name)
    if path.is_absolute() and path.exists():
        return path
    beside = Path(source).parent / (path.name if path.is_absolute() else path)
    return beside if beside.exists() or not path.exists() or path.is_absolute() else path


def identity(found: h5py.Group | h5py.Dataset) -> tuple[str, int]:
    """What is equal for two names of one object: its file and its address there."""
    return os.path.realpath(found.file.filename), int(h5py.h5o.get_info(found.id).addr)


def _get(group: h5py.Group, key: str) -> Any:
    try:
        return group.get(key)
    except (KeyError, OSError, RuntimeError):  # damaged, or not to be opened
        return None


def _link(file: h5py.Group, key: str) -> Any:
    try:
        return file.get(key, getlink=True)
    except (KeyError, RuntimeError):
        return None


def check_virtual(source: h5py.Dataset, name: str, seen: frozenset[tuple[str, str]] = frozenset()) -> None:
    """Refuse a virtual dataset that is made of itself, of a pipe or device, or of nothing that is there.

    Reading one that is made of itself ends the process.

    Raises
    ------
    InputError
        Such a dataset, or one none of whose source files is there.
    """
    if not source.is_virtual:
        return
    here = (os.path.realpath(source.file.filename), str(source.name))
    stat = Path(here[0]).stat()
    checked = (*here, stat.st_mtime_ns, stat.st_size)
    if checked in _CHECKED:
        return
    expected = "a virtual dataset of other datasets"
    if here in seen:
        raise InputError(f"{name}:{source.name}", expected=expected, found="one that is made of itself")
    parts = {(part.file_name, part.dset_name) for part in source.virtual_sources()}
    for file_name in sorted({file_name for file_name, _ in parts}):
        path = Path(here[0]) if file_name == "." else _beside(here[0], file_name)
        if path.exists() and not path.is_file():
            raise InputError(
                f"{name}:{source.name}", expected=expected, found=f"{file_name}, which is no file"
            )
    for file_name, key in sorted(parts)[:_SOURCES_OPENED]:
        path = Path(here[0]) if file_name == "." else _beside(here[0], file_name)
        if not path.is_file() or "%" in file_name + key:
            continue
        try:
            with h5py.File(path, "r", locking=False) as other:
                if isinstance(found := follow(other, key)[0], h5py.Dataset):
                    check_virtual(found, name, seen | {here})
        except (OSError, RuntimeError):
            continue
    _CHECKED.add(checked)


def unwritten(source: h5py.Dataset, axis: int = 0) -> tuple[NDArray[np.intp], str]:
    """Numbers of the frames along ``axis`` that are not, or only in part, in the file; and why, in words.

    HDF5 reads such frames as zeros: chunks that were never written, and sources of a virtual dataset that are not
    there.
    """
    if source.is_virtual:
        return _sources_absent(source, axis)
    if source.chunks is None or not source.size:
        return np.empty(0, np.intp), ""
    grid = [-(-length // chunk) for length, chunk in zip(source.shape, source.chunks, strict=True)]
    if source.id.get_num_chunks() == int(np.prod(grid)):
        return np.empty(0, np.intp), ""
    written = np.zeros(grid[axis], np.intp)

    def count(chunk: Any) -> None:
        written[chunk.chunk_offset[axis] // source.chunks[axis]] += 1

    source.id.chunk_iter(count)
    short = np.flatnonzero(written < np.prod(grid) // grid[axis])
    frames = np.unique((short[:, None] * source.chunks[axis] + np.arange(source.chunks[axis])).ravel())
    return frames[frames < source.shape[axis]], "never written"


def _sources_absent(source: h5py.Dataset, axis: int) -> tuple[NDArray[np.intp], str]:
    present, absent = np.zeros(source.shape[axis], bool), np.zeros(source.shape[axis], bool)
    names: list[str] = []
    there: dict[str, bool] = {}
    for part in source.virtual_sources():
        first, last = (int(bound[axis]) for bound in part.vspace.get_select_bounds())
        if part.file_name not in there:
            known = part.file_name == "." or "%" in part.file_name
            there[part.file_name] = known or _beside(source.file.filename, part.file_name).is_file()
        if there[part.file_name]:
            present[first : last + 1] = True
        else:
            names.append(part.file_name)
            absent[first : last + 1] = True
    lost = np.flatnonzero(absent | ~present)
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        lost,
        f"their source {names[0]}{more} is not there" if names else "in no source of the virtual dataset",
    )


def check_size(source: h5py.Dataset, name: str) -> None:
    """Refuse to read a dataset as a whole that is far larger than what the file holds of it.

    Raises
    ------
    InputError
        Such a dataset: its shape is wrong, or it was never written.
    """
    if source.is_virtual or source.external or not source.size:
        return
    held = source.id.get_storage_size()
    if source.nbytes > _MOST_PACKED * held + _SMALL_BYTES:
        raise InputError(
            f"{name}:{source.name}",
            expected="numbers that the file can hold",
            found=f"{source.dtype} of shape {source.shape} in {held} bytes",
        )


def text(value: Any) -> str | None:
    """An attribute or scalar dataset as text, whatever way it was stored."""
    if isinstance(value, h5py.Dataset):
        value = value[()]
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size == 1 else None
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value.strip("\x00 \n") if isinstance(value, str) else None


def read_numbers(source: h5py.Dataset, name: str, expected: str = "angles") -> NDArray[np.float64]:
    """All numbers of a dataset in a row, also of those that are stored as text.

    Raises
    ------
    InputError
        Neither numbers nor text of numbers, or a shape that the file cannot hold.
    """
    check_size(source, name)
    where = f"{name}:{source.name}"
    if source.dtype.kind in "fiub":
        return np.asarray(source[()], np.float64).ravel()
    if source.dtype.kind not in "SUO" or h5py.check_string_dtype(source.dtype) is None:
        raise InputError(where, expected=expected, found=f"values of type {source.dtype}")
    words = [text(word) or "" for word in np.ravel(source[()]).tolist()]
    try:
        return np.array([float(word) for word in words])
    except ValueError:
        wrong = next(word for word in words if not _is_number(word))
        raise InputError(where, expected=f"{expected}, as numbers", found=f"'{wrong[:80]}'") from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def quantity(file: h5py.Group, keys: tuple[str, ...], unit: str, most: float = float("inf")) -> float | None:
    """The first positive number among ``keys`` that names a unit of the kind of ``unit``, converted to it.

    A number without a unit is not a quantity: it is passed over, and the scan table has to say it. So is one above
    ``most``: the energy of the electrons in a ring, where that of the photons is looked for.
    """
    for key in keys:
        found = find_dataset(file, key)
        if found is None or found.size != 1 or found.dtype.kind not in "fiu":
            continue
        stated = text(found.attrs.get("units"))
        factor = unit_factor(stated, unit) if stated else None
        value = float(np.asarray(found[()]).ravel()[0])
        if factor is not None and np.isfinite(value) and 0 < value * factor <= most:
            return value * factor
    return None


def read_ordered(source: h5py.Dataset, order: tuple[int, ...], wanted: tuple[slice, ...]) -> NDArray:
    """Part of a dataset whose stored axis ``order[i]`` is the i-th wanted axis, as (frames[, N], y, x)."""
    selection: list[slice] = [slice(None)] * source.ndim
    for axis, chosen in zip(order, wanted, strict=True):
        selection[axis] = chosen
    return np.transpose(source[tuple(selection)], order)
