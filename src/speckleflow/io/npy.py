"""Arrays in .npy files, and in plain words why a file holds none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.hdf5 import check_file

_EXPECTED = "a .npy file of numbers"


def load_npy(file: Path, name: str, *, mapped: bool = False) -> NDArray[Any]:
    """The array of a .npy file; Python objects are never unpacked, as that can run commands.

    Parameters
    ----------
    file, name : the file, and how messages call it.
    mapped : whether the array stays on disk, and only what is used of it is read.

    Raises
    ------
    InputError
        No such file, an archive, Python objects, or a file that is cut short or damaged.
    """
    check_file(file, _EXPECTED, name)
    try:
        _check_header(file, name)
        array = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, OverflowError) as error:
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(name, expected=_EXPECTED, found=f"damage ({words})") from error
    return np.asarray(array) if not mapped else array


def _check_header(file: Path, name: str) -> None:
    """Raise an InputError where the header alone tells that there is no whole array of numbers."""
    with file.open("rb") as stream:
        start = stream.read(4)
        if start.startswith(b"PK"):
            raise InputError(
                name,
                expected=_EXPECTED,
                found="an archive of several arrays (.npz)",
                hint="save each array by numpy.save",
            )
        stream.seek(0)
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            return
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
        if dtype.hasobject:
            raise InputError(
                name,
                expected=_EXPECTED,
                found="Python objects (a pickle), which can run commands when they are read",
                hint="save it as numbers, for example array.astype(float)",
            )
        size, there = dtype.itemsize, file.stat().st_size
        for length in shape:
            size *= int(length)
        if stream.tell() + size > there:
            raise InputError(
                name,
                expected=f"{stream.tell() + size} bytes, as its header says",
                found=f"{there}: the file was cut short",
                hint="copy it again",
            )
