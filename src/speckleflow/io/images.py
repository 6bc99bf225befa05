"""Image files: a TIFF or EDF stack, a folder or glob of images (natural order), or a .npy array."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.base import ALL, Angles, Metadata, frame_range
from speckleflow.io.edf import edf_header, edf_read
from speckleflow.io.hdf5 import check_file

# What it says of damaged files comes to the user as an InputError; its log would only stand beside that.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

TIFF, EDF, NPY = (".tif", ".tiff"), (".edf",), (".npy",)
SUFFIXES = TIFF + EDF + NPY


@dataclass(frozen=True)
class Images:
    """Frames of image files (see :class:`~speckleflow.io.base.FrameSource`); no angles, no metadata."""

    name: str
    files: tuple[Path, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    n_flats: int = field(default=0, init=False)
    n_darks: int = field(default=0, init=False)
    metadata: Metadata = field(default=Metadata(), init=False)

    @classmethod
    def open(cls, path: Path, name: str) -> Images:
        """Read the headers of a file, of the images in a folder, or of those that a glob matches.

        Raises
        ------
        InputError
            Nothing there, not an image, or images of different shapes or types.
        """
        files = find_images(path, name)
        headers = [_header(file, name if len(files) == 1 else str(file)) for file in files]
        (first_shape, first_type), *others = headers
        if len(files) == 1:
            return cls(name, files, first_shape, first_type)
        for file, (shape, dtype) in zip(files[1:], others, strict=True):
            if (shape[1:], dtype) != (first_shape[1:], first_type):
                raise InputError(
                    str(file),
                    expected=f"{first_type} of shape {first_shape[1:]} as in {files[0].name}",
                    found=f"{dtype} of shape {shape[1:]}",
                )
        stacked = next((file for file, (shape, _) in zip(files, headers, strict=True) if shape[0] != 1), None)
        if stacked is not None:
            raise InputError(
                str(stacked), expected="one image, as a file of many", found="a stack of several images"
            )
        return cls(name, files, (len(files), *first_shape[1:]), first_type)

    def read(self, frames: slice = ALL, rows: slice = ALL) -> NDArray:
        if len(self.files) == 1:
            return _read(self.files[0], self.name, frame_range(frames, self.shape[0]), rows)
        chosen = [self.files[i] for i in frame_range(frames, len(self.files))]
        images = np.empty((len(chosen), *self.shape[1:]), self.dtype)[:, rows]
        for target, file in zip(images, chosen, strict=True):
            target[:] = _read(file, str(file), range(1), rows)[0]
        return images

    def angles(self) -> Angles | None:
        return None

    def flats(self) -> NDArray | None:
        return None

    def darks(self) -> NDArray | None:
        return None

    def lost(self) -> tuple[NDArray[np.intp], str]:
        return np.empty(0, np.intp), ""


def find_images(path: Path, name: str) -> tuple[Path, ...]:
    """The image files that a path, folder or glob means, in natural order (2 before 10)."""
    if any(sign in str(path) for sign in "*?["):
        anchor = Path(path.anchor) if path.is_absolute() else Path()
        found = [
            p
            for p in anchor.glob(str(path.relative_to(anchor)))
            if p.is_file() and not p.name.startswith(".")
        ]
        if not found:
            raise InputError(name, expected="at least one image", found="no file of that pattern")
    elif path.is_dir():
        if path.suffix.lower() in SUFFIXES:
            raise InputError(name, expected="an image file", found="a directory")
        found = [
            p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != "."
        ]
        if not found:
            raise InputError(
                name, expected=f"a folder with images ({', '.join(SUFFIXES)})", found="none in it"
            )
    else:
        check_file(path, "an image file", name)
        return (path,)
    return tuple(sorted(found, key=lambda p: natural_key(str(p))))


def natural_key(name: str) -> list[str | int]:
    """Sorting key that counts: image_2 comes before image_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _header(file: Path, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape (frames, y, x) or (frames, N, y, x), and type."""
    check_file(file, "an image file", name)
    try:
        if file.suffix.lower() in NPY:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
            shape, dtype = array.shape, array.dtype
            del array
        elif file.suffix.lower() in EDF:
            images = edf_header(file)
            shape, dtype = images.shape, images.dtype.newbyteorder("=")
        else:
            with tifffile.TiffFile(file) as tiff:
                series = tiff.series[0]
                shape, dtype = series.shape, np.dtype(series.dtype)
                if series.axes.endswith("S"):  # samples of one pixel, last: colours
                    raise InputError(name, expected="a grey image", found=f"{shape[-1]} colours a pixel")
    except (OSError, ValueError, EOFError, IndexError, tifffile.TiffFileError) as error:
        raise _damaged(name, error) from error
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) not in (3, 4) or dtype.kind not in "uifb" or 0 in shape:
        raise InputError(
            name, expected="one image (y, x) or a stack (N, y, x)", found=f"{dtype} of shape {shape}"
        )
    return tuple(int(n) for n in shape), dtype


def _damaged(name: str, error: Exception) -> InputError:
    if "imagecodecs" in str(error):
        return InputError(
            name,
            expected="an image whose compression can be read",
            found=f"{error}",
            hint="pip install imagecodecs, or store it without compression",
        )
    return InputError(name, expected="a complete image file", found=f"damage ({error})")


def _read(file: Path, name: str, frames: range, rows: slice) -> NDArray:
    """Chosen frames of one file, always with a first axis."""
    try:
        if file.suffix.lower() in NPY:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
            array = array[None] if array.ndim == 2 else array
            return np.array(array[frames.start : frames.stop : frames.step, ..., rows, :])
        if file.suffix.lower() in EDF:
            return edf_read(file, frames)[:, rows]
        with tifffile.TiffFile(file) as tiff:
            series = tiff.series[0]
            if len(series.shape) == 3 and len(series.pages) == series.shape[0] and len(frames):
                images = series.asarray(key=frames) if len(frames) > 1 else series.asarray(key=frames[0])
            else:
                images = series.asarray()
                images = images[None] if images.ndim == 2 else images
                images = images[frames.start : frames.stop : frames.step]
    except (OSError, ValueError, EOFError, IndexError, tifffile.TiffFileError) as error:
        raise _damaged(name, error) from error
    return (images[None] if images.ndim == 2 else images)[..., rows, :]
