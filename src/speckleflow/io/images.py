"""Image files: a stack (TIFF, EDF, .npy and others), or a folder or glob of images in natural order."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError, SpeckleflowError
from speckleflow.io.base import ALL, Angles, Metadata, Orientation, frame_range
from speckleflow.io.detector import SUFFIXES as DETECTOR
from speckleflow.io.detector import detector_images, detector_layout, is_detector_image
from speckleflow.io.hdf5 import check_file
from speckleflow.io.names import Series, natural_key, read_series
from speckleflow.io.npy import load_npy
from speckleflow.io.tiff import read_pages, tiff_layout

TIFF, NPY = (".tif", ".tiff", ".btf", ".tf8"), (".npy",)
SUFFIXES = TIFF + NPY + DETECTOR
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: bytes of the largest frame that is read: more than any detector has
_MOST_BYTES = 2**31
#: what the axes of a stack may be called
_NAMES = {"theta": "angle", "projection": "angle", "frame": "angle"}


@dataclass(frozen=True)
class Header:
    """Shape (frames, y, x) or (a, b, y, x) of one file as stored, type, and how its frames are turned."""

    shape: tuple[int, ...]
    dtype: np.dtype
    orientation: Orientation = field(default_factory=Orientation)


@dataclass(frozen=True)
class Images:
    """Frames of image files (see :class:`~speckleflow.io.base.FrameSource`); no angles, no flats or darks.

    Attributes
    ----------
    order : frames of the file in the order (frame, position), where a single file holds both; None: one after the
        other.
    series : place of each file of a folder in the complete series.
    """

    name: str
    files: tuple[Path, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    n_flats: int = field(default=0, init=False)
    n_darks: int = field(default=0, init=False)
    metadata: Metadata = field(default=Metadata())
    order: NDArray[np.intp] | None = field(default=None, repr=False)
    series: Series | None = field(default=None, repr=False)

    @classmethod
    def open(
        cls, path: Path, name: str, axes: Sequence[str] | None = None, positions: int | None = None
    ) -> Images:
        """Read the headers of a file, of the images in a folder, or of those that a glob matches.

        Parameters
        ----------
        axes : names of the axes of a stack, such as (position, angle, y, x); None: as stored.
        positions : number of diffuser positions, where the stack has three axes and ``axes`` names four.

        Raises
        ------
        InputError
            Nothing there, not an image, images of different shapes or types, or names that are no series.
        """
        files = find_images(path, name)
        headers = [_header(file, name if len(files) == 1 else str(file), axes is not None) for file in files]
        first = headers[0]
        metadata = Metadata(orientation=first.orientation)
        if len(files) == 1:
            shape, order = _arranged(first.shape, axes, positions, name)
            if axes is not None and order is None and len(shape) == 3:
                order = np.arange(shape[0])
            return cls(name, files, shape, first.dtype, metadata=metadata, order=order)
        for file, header in zip(files, headers, strict=True):
            if (header.shape[1:], header.dtype) != (first.shape[1:], first.dtype):
                raise InputError(
                    str(file),
                    expected=f"{first.dtype} of shape {first.shape[1:]} as in {files[0].name}",
                    found=f"{header.dtype} of shape {header.shape[1:]}",
                )
            if header.orientation != first.orientation:
                raise InputError(
                    str(file),
                    expected=f"the orientation of {files[0].name}",
                    found="another one (TIFF tag 274)",
                )
            if header.shape[0] != 1:
                raise InputError(
                    str(file), expected="one image, as a file of many", found="a stack of several images"
                )
        series = read_series([file.name for file in files], name)
        return cls(
            name, files, (series.length, *first.shape[1:]), first.dtype, metadata=metadata, series=series
        )

    def read(self, frames: slice = ALL, rows: slice = ALL) -> NDArray:
        chosen = frame_range(frames, self.shape[0])
        if len(self.files) == 1:
            if self.order is None:
                return _read(self.files[0], self.name, chosen, rows)
            index = self.order[chosen.start : chosen.stop : chosen.step]
            read = _read(self.files[0], self.name, index.ravel(), rows)
            return read.reshape(*index.shape, *read.shape[-2:])
        assert self.series is not None
        place = dict(zip(self.series.numbers.tolist(), self.files, strict=True))
        images = np.zeros((len(chosen), *self.shape[1:]), self.dtype)[:, rows]
        for target, frame in zip(images, chosen, strict=True):
            if (file := place.get(frame)) is not None:  # those that are missing are never used
                target[:] = _read(file, str(file), range(1), rows)[0]
        return images

    def angles(self) -> Angles | None:
        return None

    def flats(self) -> NDArray | None:
        return None

    def flat_places(self) -> NDArray[np.intp] | None:
        return None

    def darks(self) -> NDArray | None:
        return None

    def lost(self) -> tuple[NDArray[np.intp], str]:
        if self.series is None or not self.series.missing:
            return np.empty(0, np.intp), ""
        return np.asarray(self.series.missing, np.intp), f"no file of number {self.series.described()}"


def _arranged(
    shape: tuple[int, ...], axes: Sequence[str] | None, positions: int | None, name: str
) -> tuple[tuple[int, ...], NDArray[np.intp] | None]:
    """Shape (frames[, N], y, x) of a stack, and the stored number of each frame where they are in another order."""
    if axes is None:
        return shape, None
    lead, size = shape[:-2], shape[-2:]
    names = [_NAMES.get(axis, axis) for axis in axes]
    if len(names) == 4 and len(lead) == 1 and positions and lead[0] % positions == 0:
        lead = tuple(positions if axis == "position" else lead[0] // positions for axis in names[:2])
    if names[-2:] != ["y", "x"] or len(names) - 2 != len(lead):
        raise InputError(
            name,
            expected=f"files.axes of {len(shape)} names that end in y, x",
            found=f"{', '.join(axes)} for shape {shape}",
            hint="name the positions in files.positions, if they follow each other in a stack"
            if len(names) == 4 and len(lead) == 1
            else "",
        )
    if len(lead) == 1:
        return shape, None
    if sorted(names[:2]) != ["angle", "position"]:
        raise InputError(name, expected="files.axes of angle, position, y, x", found=", ".join(axes))
    order = np.arange(lead[0] * lead[1]).reshape(lead)
    order = order.T if names[0] == "position" else order
    return (*order.shape, *size), order


def find_images(path: Path, name: str) -> tuple[Path, ...]:
    """The image files that a path, folder or glob means, in natural order (2 before 10)."""
    if path.is_dir():
        if path.suffix.lower() in SUFFIXES:
            raise InputError(name, expected="an image file", found="a directory")
        found = [p for p in path.iterdir() if is_image(p) and p.is_file() and p.name[0] != "."]
        if not found:
            others = sorted({p.suffix for p in path.iterdir() if p.suffix and p.is_file()})
            folders = sorted((p.name for p in path.iterdir() if p.is_dir()), key=natural_key)
            there = [*others, *([f"{len(folders)} folder(s), {folders[0]} the first"] if folders else [])]
            raise InputError(
                name,
                expected=f"a folder with images ({', '.join(SUFFIXES)})",
                found=f"none in it, but {', '.join(there)}" if there else "none in it",
                hint=f"a pattern such as {name}/*/image.tif takes one of each folder" if folders else "",
            )
    elif is_pattern(path):
        pattern = _pattern(path)
        found = [
            p
            for p in map(Path, glob.glob(pattern))  # noqa: PTH207  (parts of it are literal)
            if p.is_file() and not p.name.startswith(".")
        ]
        if not found:
            raise InputError(name, expected="at least one image", found="no file of that pattern")
    else:
        check_file(path, "an image file", name)
        return (path,)
    return tuple(sorted(found, key=lambda p: natural_key(str(p))))


def is_pattern(path: Path) -> bool:
    """Whether a path is a pattern of several files, and not the name of one that is there."""
    return any(sign in str(path) for sign in "*?[") and not path.exists()


def _pattern(path: Path) -> str:
    """The pattern as glob reads it: folders that are there keep their names, whatever signs they hold."""
    made = Path(path.anchor) if path.is_absolute() else Path()
    text = glob.escape(str(made))
    for part in path.relative_to(path.anchor).parts:
        made /= part
        literal = made.exists() and any(sign in part for sign in "*?[")
        text = str(Path(text) / (glob.escape(part) if literal else part))
    return text


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name, or a TIFF file by its first bytes."""
    if path.suffix.lower() in TIFF + NPY or is_detector_image(path):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) in _TIFF_SIGNATURES


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Whatever a format's library raises at a damaged file, as an error of that file."""
    try:
        yield
    except SpeckleflowError:
        raise
    except Exception as error:
        raise _damaged(name, error) from error


def _header(file: Path, name: str, by_pages: bool = False) -> Header:
    """The header of one file; ``by_pages``: of a TIFF file without its metadata."""
    check_file(file, "an image file", name)
    orientation = Orientation()
    shape: tuple[int, ...]
    with _reading(name):
        if file.suffix.lower() in NPY:
            array = load_npy(file, name, mapped=True)
            shape, dtype = array.shape, array.dtype
            del array
        elif is_detector_image(file):
            shape, dtype = detector_layout(file, name)
        else:
            layout = tiff_layout(file, name, by_pages)
            shape, dtype, orientation = layout.shape, layout.dtype, layout.orientation
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) not in (3, 4) or dtype.kind not in "uifb" or 0 in shape:
        raise InputError(
            name, expected="one image (y, x) or a stack (N, y, x)", found=f"{dtype} of shape {shape}"
        )
    shape = tuple(int(n) for n in shape)
    if shape[-1] * shape[-2] * dtype.itemsize > _MOST_BYTES:
        raise InputError(name, expected="frames of at most 2 GB", found=f"{dtype} of shape {shape}")
    return Header(shape, dtype, orientation)


def _damaged(name: str, error: Exception) -> InputError:
    words = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, KeyError) and "byteorder" in words.lower():
        return InputError(
            name,
            expected="the byte order in the header (ByteOrder)",
            found="none",
            hint="in a copy, write 'ByteOrder = LowByteFirst ;' (or HighByteFirst) over as many blanks of the header",
        )
    if isinstance(error, KeyError):
        words = f"{words}: absent or not known"
    if "imagecodecs" in words:
        return InputError(
            name,
            expected="an image whose compression can be read",
            found=words,
            hint="pip install imagecodecs, or store it without compression",
        )
    return InputError(name, expected="a complete image file", found=f"damage ({words})")


def _read(file: Path, name: str, frames: range | NDArray[np.intp], rows: slice) -> NDArray:
    """Chosen frames of one file, by their stored number; those of a stack with four axes as (f, N, y, x)."""
    with _reading(name):
        if file.suffix.lower() in NPY:
            array = load_npy(file, name, mapped=True)
            array = array[None] if array.ndim == 2 else array
            if isinstance(frames, range):
                return np.array(array[frames.start : frames.stop : frames.step, ..., rows, :])
            return np.array(array.reshape(-1, *array.shape[-2:])[frames][:, rows])
        if is_detector_image(file):
            return detector_images(file, name, frames)[:, rows]
        layout = tiff_layout(file, name, not isinstance(frames, range))
        if len(layout.shape) == 4 and isinstance(frames, range):
            pages = np.arange(int(np.prod(layout.shape[:2]))).reshape(layout.shape[:2])
            pages = pages[frames.start : frames.stop : frames.step]
            read = read_pages(file, name, layout, pages.ravel())
            return read.reshape(*pages.shape, *read.shape[-2:])[..., rows, :]
        return read_pages(file, name, layout, frames)[:, rows]
