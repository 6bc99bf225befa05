"""Opening raw HDF5 files: read-only, without locks, with errors a person can act on."""

from __future__ import annotations

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
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not raised_by_h5py(error):
            raise
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


def _words(error: OSError | RuntimeError, path: Path) -> str:
    text = " ".join(str(error).split())
    if match := re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", text):
        return f"a truncated one ({match[1]} of {match[2]} bytes); was it still being written or copied?"
    if "signature not found" in text:
        return f"a file of another type ({path.stat().st_size} bytes, no HDF5 signature)"
    if "checksum" in text.lower():
        return f"damaged data: a checksum does not fit ({text})"
    if "filter" in text:
        return f"data compressed in a way that is not supported here ({text})"
    return f"damage ({text})"


def dataset(file: h5py.File, key: str, name: str) -> h5py.Dataset:
    """The dataset at ``key``.

    Raises
    ------
    InputError
        Nothing is there, it is no dataset, or it is a link to a file that cannot be opened.
    """
    found = find_dataset(file, key)
    if found is not None:
        return found
    link = _link(file, key)
    if isinstance(link, h5py.ExternalLink):
        what = f"a link to {link.filename}, which cannot be opened"
    elif key in file:
        what = "a group"
    else:
        parent = key.rpartition("/")[0] or "/"
        there = file.get(parent)
        beside = ", ".join(sorted(there)) if isinstance(there, h5py.Group) else ""
        what = f"none ({parent} holds {beside})" if beside else f"none, nor its group {parent}"
    raise InputError(name, expected=f"a dataset {key}", found=what)


def find_dataset(file: h5py.Group, key: str) -> h5py.Dataset | None:
    """The dataset at ``key``, or None."""
    try:
        found = file.get(key)
    except (KeyError, OSError):  # a broken external link
        return None
    return found if isinstance(found, h5py.Dataset) else None


def _link(file: h5py.File, key: str) -> Any:
    try:
        return file.get(key, getlink=True)
    except KeyError:
        return None


def text(value: Any) -> str | None:
    """An attribute or scalar dataset as text, whatever way it was stored."""
    if isinstance(value, h5py.Dataset):
        value = value[()]
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size == 1 else None
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value.strip("\x00 \n") if isinstance(value, str) else None


def quantity(file: h5py.Group, keys: tuple[str, ...], unit: str) -> float | None:
    """The first positive number among ``keys`` that names a unit of the kind of ``unit``, converted to it.

    A number without a unit is not a quantity: it is passed over, and the scan table has to say it.
    """
    for key in keys:
        found = find_dataset(file, key)
        if found is None or found.size != 1 or found.dtype.kind not in "fiu":
            continue
        stated = text(found.attrs.get("units"))
        factor = unit_factor(stated, unit) if stated else None
        value = float(np.asarray(found[()]).ravel()[0])
        if factor is not None and np.isfinite(value) and value > 0:
            return value * factor
    return None


def read_ordered(source: h5py.Dataset, order: tuple[int, ...], wanted: tuple[slice, ...]) -> NDArray:
    """Part of a dataset whose stored axis ``order[i]`` is the i-th wanted axis, as (frames[, N], y, x)."""
    selection: list[slice] = [slice(None)] * source.ndim
    for axis, chosen in zip(order, wanted, strict=True):
        selection[axis] = chosen
    return np.transpose(source[tuple(selection)], order)
