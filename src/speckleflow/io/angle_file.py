"""Angles in a file of their own, beside frames that hold none: text, .npy, or a dataset of another HDF5 file.

Text is one number a line, or a table whose header names the column; lines that begin with # ; % or // are comments. A
unit stands in brackets behind the column's name, such as 'angle [rad]'.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.base import Angles
from speckleflow.io.hdf5 import check_file, dataset, open_hdf5, read_numbers, text
from speckleflow.io.npy import load_npy
from speckleflow.io.patterns import Pattern

#: names of the column with the angles, in whole or in part
_COLUMNS = ("angle", "theta", "rotation", "rot", "omega", "phi", "deg")
_COMMENT = re.compile(r"^\s*(#|;|%|//)")
_SEPARATOR = re.compile(r"\s*[,;\t]\s*|\s+")
_UNIT = re.compile(r"[\[(]\s*([^\])]+?)\s*[\])]")
#: a list of angles is no larger
_MOST_BYTES = 1e8


def angle_file(files_angles: str | None, scan: str) -> tuple[str, str | None] | None:
    """File of the value of ``files.angles`` for a scan, and the HDF5 path in it; None: no such file is named."""
    if files_angles is None:
        return None
    name = Pattern(files_angles, "files.angles").fill(scan, 0)
    if match := re.fullmatch(r"(.+\.(?:h5|hdf5|nxs|nx)):(/?.+)", name, re.IGNORECASE):
        return match[1], match[2]
    return name, None


def read_angle_file(path: Path, name: str, key: str | None = None) -> Angles:
    """The angles of a file, in the order of the frames.

    Parameters
    ----------
    path, name : the file, and how messages call it.
    key : HDF5 path of the angles; None: text or .npy.

    Raises
    ------
    InputError
        No such file, no numbers in it, or several columns of which none is named as an angle.
    """
    if key is not None:
        with open_hdf5(path, name) as file:
            source = dataset(file, key, name)
            return Angles(read_numbers(source, name), text(source.attrs.get("units")))
    if path.suffix.lower() == ".npy":
        values = load_npy(path, name)
        if values.dtype.kind not in "fiu" or values.size != max(values.shape, default=0):
            raise InputError(
                name, expected="one row of angles", found=f"{values.dtype} of shape {values.shape}"
            )
        return Angles(values.astype(np.float64).ravel(), None)
    return _read_text(path, name)


def _read_text(path: Path, name: str) -> Angles:
    check_file(path, "a text file of angles", name)
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(name, expected="a text file of angles", found=f"{path.stat().st_size} bytes")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(
            name,
            expected="a text file of angles",
            found="another encoding, or no text",
            hint="save it as UTF-8, or give .npy or file.h5:/dataset",
        ) from None
    rows: list[tuple[int, list[str]]] = []
    header: list[str] = []
    for number, line in enumerate(lines, 1):
        words = [word for word in _SEPARATOR.split(line.strip()) if word]
        if not words or (_COMMENT.match(line) and rows):
            continue
        if _COMMENT.match(line) or (not rows and _numbers(words) is None):
            header = _titles(line)
            continue
        rows.append((number, words))
    if not rows:
        raise InputError(name, expected="a number a line", found="none")
    width = len(rows[0][1])
    column, unit = _column(header, width, name)
    found = np.empty(len(rows))
    for k, (number, words) in enumerate(rows):
        values = _numbers(words)
        if values is None or len(words) != width:
            raise InputError(
                f"{name}, line {number}",
                expected=f"{width} number{'s' * (width > 1)} as in the lines before",
                found=f"'{' '.join(words)[:80]}'",
            )
        found[k] = values[column]
    return Angles(found, unit)


def _numbers(words: list[str]) -> NDArray[np.float64] | None:
    """Values of a line; None where a word is no number. Columns of names are not a number: NaN beside numbers."""
    values = np.full(len(words), np.nan)
    for k, word in enumerate(words):
        try:
            values[k] = float(word)
        except ValueError:
            if len(words) == 1:
                return None
    return None if np.isnan(values).all() else values


def _titles(line: str) -> list[str]:
    """Names of the columns in a header line; a unit in brackets belongs to the name before it."""
    line = re.sub(r"\s+(?=[\[(])", "", _COMMENT.sub("", line).strip())
    return [word for word in _SEPARATOR.split(line) if word]


def _column(header: list[str], width: int, name: str) -> tuple[int, str | None]:
    """Column of the angles and its unit."""
    named = [k for k, title in enumerate(header) if any(part in title.lower() for part in _COLUMNS)]
    if width == 1:
        titles = header[:1] if len(header) == 1 else []
        return 0, _unit(titles[0]) if titles else None
    if len(header) == width and len(named) == 1:
        return named[0], _unit(header[named[0]])
    raise InputError(
        name,
        expected="one column of angles, or a header that names it angle or theta",
        found=f"{width} columns, {', '.join(header) if header else 'without a header'}",
        hint="keep the column of the angles alone, with decimal points and not commas",
    )


def _unit(title: str) -> str | None:
    match = _UNIT.search(title)
    return match[1] if match else None
