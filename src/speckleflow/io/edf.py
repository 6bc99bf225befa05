"""EDF images (ESRF): a text header in braces, then the pixels; several images may follow in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_BLOCK = 512  #: a header is filled up to a multiple of so many bytes
_LONGEST = 64 * _BLOCK  #: a header without its end by then is no header
_TYPES = {
    "signedbyte": "i1", "signedshort": "i2", "signedinteger": "i4", "signedlong": "i4", "signed64": "i8",
    "unsignedbyte": "u1", "unsignedshort": "u2", "unsignedinteger": "u4", "unsignedlong": "u4",
    "unsigned64": "u8", "floatvalue": "f4", "float": "f4", "real": "f4", "doublevalue": "f8", "double": "f8",
}  # fmt: skip


@dataclass(frozen=True)
class EdfImages:
    """Shape (frames, y, x), type, and where each image starts in the file."""

    shape: tuple[int, int, int]
    dtype: np.dtype
    offsets: tuple[int, ...]


def edf_header(path: Path) -> EdfImages:
    """Headers of all images of a file.

    Raises
    ------
    ValueError
        Not EDF, compressed, cut off, or images of different shapes.
    """
    size = path.stat().st_size
    kinds: set[tuple[int, int, np.dtype]] = set()
    offsets: list[int] = []
    position = 0
    with path.open("rb") as stream:
        while position < size:
            stream.seek(position)
            header, length = _header(stream.read(_LONGEST))
            columns, rows, dtype = int(header["dim_1"]), int(header["dim_2"]), _dtype(header)
            kinds.add((rows, columns, dtype))
            offsets.append(position + length)
            position += length + rows * columns * dtype.itemsize
    if len(kinds) != 1:
        raise ValueError("images of different shapes or types" if kinds else "no image")
    if position > size:
        raise ValueError(f"{size} bytes where its header announces {position}")
    ((rows, columns, dtype),) = kinds
    return EdfImages((len(offsets), rows, columns), dtype, tuple(offsets))


def edf_read(path: Path, frames: range) -> NDArray:
    """Chosen images (f, y, x) of a file, in the byte order of this machine."""
    images = edf_header(path)
    pixels = images.shape[1] * images.shape[2]
    read = [
        np.fromfile(path, images.dtype, pixels, offset=images.offsets[i]).reshape(images.shape[1:])
        for i in frames
    ]
    native = images.dtype.newbyteorder("=")
    return np.asarray(read, native) if read else np.empty((0, *images.shape[1:]), native)


def _header(text: bytes) -> tuple[dict[str, str], int]:
    """Keys (lower case) and length of a header."""
    end = text.find(b"}")
    if not text.startswith((b"{", b"\n{", b"\r\n{")) or end < 0:
        raise ValueError("no EDF header")
    lines = (line.partition("=") for line in text[:end].decode("latin-1").strip().strip("{").split(";"))
    header = {key.strip().lower(): value.strip() for key, _, value in lines}
    missing = [key for key in ("dim_1", "dim_2", "datatype") if key not in header]
    if missing:
        raise ValueError(f"an EDF header without {', '.join(missing)}")
    if header.get("compression", "None").lower() not in ("none", ""):
        raise ValueError(f"compression {header['compression']}, which is not supported")
    length = int(header.get("edf_headersize", 0)) or -(-(end + 2) // _BLOCK) * _BLOCK
    return header, length


def _dtype(header: dict[str, str]) -> np.dtype:
    kind = _TYPES.get(header["datatype"].lower())
    if kind is None:
        raise ValueError(f"unknown DataType {header['datatype']}")
    big = header.get("byteorder", "LowByteFirst").lower() == "highbytefirst"
    return np.dtype(kind).newbyteorder(">" if big else "<")
