"""Image formats of detectors (EDF, CBF, SPE, HIS, MarCCD and others) through fabio."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError

#: suffixes of formats that fabio reads and that imaging beamlines write
SUFFIXES = (".edf", ".cbf", ".mccd", ".spe", ".img", ".sfrm", ".mrc", ".dm3", ".mar3450", ".his")
_COMPRESSED = (".gz", ".bz2")
#: header fields of EDF that give the size of the image
_DIMENSIONS = ("Dim_1", "Dim_2", "Dim_3")


def is_detector_image(path: Path) -> bool:
    """Whether a file's name is that of such a format, compressed or not."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in SUFFIXES


def detector_layout(path: Path, name: str) -> tuple[tuple[int, int, int], np.dtype]:
    """Shape (frames, y, x) and type of a file's images.

    Raises
    ------
    InputError
        No such image, images of different shapes, or a file cut short.
    """
    with _opened(path) as image:
        kinds = {(tuple(shape), np.dtype(dtype)) for shape, dtype in _frames(image, path, name)}
        count = int(image.nframes)
    if len(kinds) != 1:
        raise InputError(name, expected="images of one shape and type", found=f"{len(kinds)} kinds")
    ((shape, dtype),) = kinds
    if len(shape) != 2 or min(shape) < 1 or dtype.kind not in "uif":
        raise InputError(name, expected="images (y, x) of numbers", found=f"{dtype} of shape {shape}")
    return (count, int(shape[0]), int(shape[1])), dtype.newbyteorder("=")


def detector_images(path: Path, name: str, frames: range | NDArray[np.intp]) -> NDArray:
    """Chosen images (f, y, x) of a file."""
    with _opened(path) as image:
        read = [np.asarray(image.get_frame(int(frame)).data) for frame in frames]
        return np.asarray(read) if read else np.empty((0, *image.shape), image.dtype)


def _frames(image: Any, path: Path, name: str) -> Iterator[tuple[Any, Any]]:
    size = path.stat().st_size
    for number in range(int(image.nframes)):
        frame = image.get_frame(number) if image.nframes > 1 else image
        header = {str(key).lower(): value for key, value in getattr(frame, "header", {}).items()}
        stated = [int(header[key.lower()]) for key in _DIMENSIONS if key.lower() in header]
        if any(length < 1 for length in stated):
            raise InputError(
                name, expected="positive image sizes", found=f"{stated} in the header of image {number}"
            )
        part = frame if hasattr(frame, "incomplete_data") else getattr(frame, "_frame", frame)
        if getattr(part, "incomplete_data", False) or getattr(part, "incomplete_file", False):
            raise InputError(
                name, expected=f"all pixels of image {number}", found=f"a file cut short ({size} bytes)"
            )
        yield frame.shape, frame.dtype


#: what begins and ends the header of the pixels of a CBF file, and how far into the file each is looked for
_CBF_BEGIN, _CBF_END = (b"--CIF-BINARY-FORMAT-SECTION--", 8192), (b"\x0c\x1a\x04\xd5", 1 << 20)


def _check_marks(path: Path) -> None:
    """Refuse a CBF file whose header has no end: fabio looks for it for ever."""
    if path.suffix.lower() != ".cbf":
        return
    with path.open("rb") as stream:
        start = stream.read(_CBF_END[1])
    begin = start.find(_CBF_BEGIN[0], 0, _CBF_BEGIN[1])
    if begin < 0 or start.find(_CBF_END[0], begin) < 0:
        raise ValueError("a header without a beginning or end of the pixels")
    size = re.search(rb"X-Binary-Size:\s*(\d{1,18})", start[begin:])
    if size and int(size[1]) > path.stat().st_size:
        raise ValueError(f"{int(size[1])} bytes of pixels by the header, in a file of {path.stat().st_size}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import fabio  # a second to import, and most scans need none of its formats

    _check_marks(path)
    logging.getLogger("fabio").setLevel(logging.CRITICAL)  # its words come to the user as an InputError
    image = fabio.open(str(path))
    try:
        yield image
    finally:
        image.close()
