"""Zeiss Xradia projections (.txrm, and .xrm of one image): an OLE container with one stream an image.

ImageInfo/ holds width, height, type and number of the images, angles in degrees, pixel size in um and distances in mm;
ImageData1/Image1 .. ImageData2/Image101 .. the images; ReferenceData/Image the flat. The instrument takes the dark off
as it records.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError, SpeckleflowError
from speckleflow.io.base import ALL, Angles, Metadata, frame_range
from speckleflow.io.hdf5 import check_file

_SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
#: ImageInfo/DataType
_TYPES: dict[int, np.dtype] = {5: np.dtype("<u2"), 10: np.dtype("<f4")}
#: images in one storage
_PER_STORAGE = 100
#: a cone beam magnified by less over the sample is as good as parallel
_PARALLEL = 1.001


@dataclass(frozen=True)
class Xrm:
    """A .txrm or .xrm file (see :class:`~speckleflow.io.base.FrameSource`); ``open`` reads its header."""

    name: str
    files: tuple[Path, ...]
    shape: tuple[int, int, int]
    dtype: np.dtype
    n_flats: int
    n_darks: int = field(default=0, init=False)
    metadata: Metadata
    angles_deg: NDArray[np.float64] | None = field(repr=False)
    absent: NDArray[np.intp] = field(repr=False)

    @classmethod
    def open(cls, path: Path, name: str) -> Xrm:
        """Read the header of ``path``; no image is read.

        Raises
        ------
        InputError
            No such file, or sizes and types that it cannot hold.
        """
        check_file(path, "a .txrm or .xrm file", name)
        with _opened(path, name) as ole:
            columns, rows, count = (
                _integer(ole, f"ImageInfo/{key}", name) for key in ("ImageWidth", "ImageHeight", "NoOfImages")
            )
            code = _integer(ole, "ImageInfo/DataType", name)
            if code not in _TYPES:
                raise InputError(
                    name,
                    expected="images of 16-bit integers (5) or 32-bit floats (10)",
                    found=f"type {code} in ImageInfo/DataType",
                )
            size = path.stat().st_size
            # every image is a stream, and every stream has an entry of 128 bytes in the directory
            if min(columns, rows, count) < 1 or 128 * count > size or rows * columns > size:
                raise InputError(
                    name,
                    expected=f"images that {size} bytes can hold",
                    found=f"{count} of {rows} x {columns} pixels by its header",
                )
            absent = [n for n in range(count) if not ole.exists(_stream(n))]
            if len(absent) == count:
                raise InputError(name, expected=f"{count} images", found="none in the file")
            angles = _floats(ole, "ImageInfo/Angles")
            flats = int(ole.exists("ReferenceData/Image"))
            return cls(
                name, (path,), (count, rows, columns), _TYPES[code].newbyteorder("="), flats, _metadata(ole),
                None if angles.size < count else angles[:count], np.array(absent, np.intp),
            )  # fmt: skip

    def read(self, frames: slice = ALL, rows: slice = ALL) -> NDArray:
        chosen = frame_range(frames, self.shape[0])
        images = np.zeros((len(chosen), *self.shape[1:]), self.dtype)[:, rows]
        missing = set(self.absent.tolist())
        with _opened(self.files[0], self.name) as ole:
            for image, number in zip(images, chosen, strict=True):
                if number not in missing:  # those that are missing are never used
                    image[:] = self._image(ole, _stream(number), self.dtype)[rows]
        return images

    def angles(self) -> Angles | None:
        return None if self.angles_deg is None else Angles(self.angles_deg, "deg")

    def flats(self) -> NDArray | None:
        if not self.n_flats:
            return None
        with _opened(self.files[0], self.name) as ole:
            kind = "ReferenceData/DataType"
            code = _integer(ole, kind, self.name) if ole.exists(kind) else 10
            if code not in _TYPES:
                raise InputError(self.name, expected="type 5 or 10 of the reference", found=f"{code}")
            return self._image(ole, "ReferenceData/Image", _TYPES[code])[None]

    def flat_places(self) -> NDArray[np.intp] | None:
        return None

    def darks(self) -> NDArray | None:
        return None

    def lost(self) -> tuple[NDArray[np.intp], str]:
        return self.absent, "no such image in the file; was the scan aborted?" if len(self.absent) else ""

    def _image(self, ole: Any, stream: str, dtype: np.dtype) -> NDArray:
        rows, columns = self.shape[1:]
        held, wanted = ole.get_size(stream), rows * columns * dtype.itemsize
        if held != wanted:
            raise InputError(f"{self.name}:{stream}", expected=f"{wanted} bytes", found=f"{held}")
        with ole.openstream(stream) as opened:
            values = np.frombuffer(opened.read(), dtype.newbyteorder("<"))
        return values.reshape(rows, columns).astype(dtype.newbyteorder("="), copy=False)


def is_xrm(path: Path) -> bool:
    """Whether a file is an OLE container named .txrm or .xrm."""
    if path.suffix.lower() not in (".txrm", ".xrm") or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(_SIGNATURE)) == _SIGNATURE


def _stream(number: int) -> str:
    return f"ImageData{number // _PER_STORAGE + 1}/Image{number + 1}"


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Any]:
    import olefile  # not needed by other formats

    try:
        with olefile.OleFileIO(path) as ole:
            yield ole
    except SpeckleflowError:
        raise
    except Exception as error:  # whatever the library raises at a damaged file
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(name, expected="a complete .txrm or .xrm file", found=f"damage ({words})") from error


def _values(ole: Any, key: str, dtype: str) -> NDArray:
    """Numbers of a stream; none where it is not there."""
    if not ole.exists(key):
        return np.empty(0, dtype)
    with ole.openstream(key) as stream:
        held = stream.read()
    return np.frombuffer(held[: len(held) // 4 * 4], dtype)


def _floats(ole: Any, key: str) -> NDArray[np.float64]:
    return _values(ole, key, "<f4").astype(np.float64)


def _integer(ole: Any, key: str, name: str) -> int:
    values = _values(ole, key, "<u4")
    if not values.size:
        raise InputError(name, expected=f"a stream {key}", found="none")
    return int(values[0])


def _positive(ole: Any, key: str) -> float | None:
    """The first number of a stream, where it is one above 0."""
    values = np.abs(_floats(ole, key)[:1])
    return float(values[0]) if values.size and np.isfinite(values[0]) and values[0] > 0 else None


def _metadata(ole: Any) -> Metadata:
    """Pixel size at the sample and distance; the energy that the file states is the voltage of the tube."""
    pixel = _positive(ole, "ImageInfo/PixelSize")
    behind, before = (_positive(ole, f"ImageInfo/{key}") for key in ("DtoRADistance", "StoRADistance"))
    notes = []
    if behind is not None and before is not None and (magnified := 1 + behind / before) > _PARALLEL:
        notes.append(
            f"a cone beam (source {before:g} mm before and detector {behind:g} mm behind the axis, magnified "
            f"{magnified:.3g} times): slices far from the middle row are blurred by a parallel reconstruction"
        )
    return Metadata(
        pixel_size_um=pixel, distance_m=None if behind is None else behind * 1e-3, notes=tuple(notes)
    )
