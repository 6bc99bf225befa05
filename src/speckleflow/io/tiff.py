"""TIFF files page by page: every page is a frame, or the file is refused.

A file's metadata (OME, ImageJ) may speak of another number of images than there are pages, and software that
appends makes every page a series of its own; so frames are counted by pages, and compared with the metadata.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.base import Orientation

# What it says of damaged files comes to the user as an InputError; its log would only stand beside that.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

#: tag 274: where the first row and column of the stored image lie
_ORIENTATION = {
    1: Orientation(), 2: Orientation(flip_x=True), 3: Orientation(flip_y=True, flip_x=True),
    4: Orientation(flip_y=True), 5: Orientation(transpose=True), 6: Orientation(transpose=True, flip_x=True),
    7: Orientation(transpose=True, flip_y=True, flip_x=True), 8: Orientation(transpose=True, flip_y=True),
}  # fmt: skip
_COLOURS = (2, 5, 6, 8)  #: photometric interpretations of several samples: RGB, CMYK, YCbCr, CIELab
#: Most bytes of a page beside its bytes in the file: deflate packs equal values by 1032 at best.
_MOST_PACKED = 1100


@dataclass(frozen=True)
class TiffLayout:
    """Where the frames of a file lie.

    Attributes
    ----------
    shape : (frames, y, x), or (a, b, y, x) where the metadata name two axes beside those of the image.
    offsets : first byte of each frame, where each lies in one piece, uncompressed; else None.
    white_level : the value of black, of images in which the least value is white; else None.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    orientation: Orientation
    white_level: int | None
    offsets: tuple[int, ...] | None = field(repr=False)
    stored: np.dtype = field(repr=False)


def tiff_layout(path: Path, name: str, by_pages: bool = False) -> TiffLayout:
    """The layout of a TIFF file; its pages are looked at, no image is read.

    Parameters
    ----------
    by_pages : whether what the metadata (OME, ImageJ) say of number and order of images is left aside.

    Raises
    ------
    InputError
        Colours, pages of several sizes, fewer pages than the metadata promise, or a file cut short.
    """
    stat = path.stat()
    return _layout(path, name, by_pages, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _layout(path: Path, name: str, by_pages: bool, size: int, _modified: int) -> TiffLayout:
    with tifffile.TiffFile(path) as tiff:
        pages = _pages(tiff)
        if not pages:
            raise InputError(name, expected="a TIFF image", found="none in the file")
        first: Any = pages[0].aspage()
        if any(page.keyframe.samplesperpixel > 1 or page.keyframe.photometric in _COLOURS for page in pages):
            raise InputError(
                name,
                expected="grey images",
                found=f"{first.samplesperpixel} samples a pixel (colours)",
                hint="store the grey levels, or each channel, as images of their own",
            )
        kinds = Counter((page.shape, str(page.dtype)) for page in pages)
        if len(kinds) > 1:
            listed = ", ".join(
                f"{n} of {' x '.join(map(str, shape))} ({kind})" for (shape, kind), n in kinds.items()
            )
            raise InputError(
                name,
                expected="pages of one size",
                found=f"{len(kinds)} kinds: {listed}",
                hint="store the frames without previews, or as a folder of files",
            )
        frame = tuple(int(n) for n in first.shape)
        if len(frame) != 2:
            raise InputError(name, expected="pages (y, x)", found=f"pages of shape {frame}")
        offsets, count = _contiguous(tiff, pages)
        lead = (count,) if by_pages else _axes(tiff, count, name, size)
        if offsets is None and len(pages) == 1 and count > 1:
            raise InputError(name, expected=f"{count} pages", found="1")
        _check_complete(pages, first, count, offsets, name, size)
        white = (1 << first.bitspersample) - 1 if first.photometric == 0 and first.dtype.kind == "u" else None
        return TiffLayout(
            (*lead, *frame),
            np.dtype(first.dtype).newbyteorder("="),
            _orientation(pages, name),
            white,
            offsets,
            np.dtype(first.dtype).newbyteorder(tiff.byteorder),
        )


def read_pages(path: Path, name: str, layout: TiffLayout, frames: range | NDArray[np.intp]) -> NDArray:
    """Frames (f, y, x) of a file by their number among its pages, as stored (not turned)."""
    size = layout.shape[-2:]
    images = np.empty((len(frames), *size), layout.dtype)
    if layout.offsets is not None:
        length = int(np.prod(size)) * layout.stored.itemsize
        stored = images if layout.stored == layout.dtype else np.empty(images.shape, layout.stored)
        with path.open("rb", buffering=0) as stream:
            for first, last in _runs([layout.offsets[frame] for frame in frames], length):
                stream.seek(layout.offsets[frames[first]])
                _read_into(stored[first:last], stream, name, f"frames {frames[first]} to {frames[last - 1]}")
        if stored is not images:
            images[:] = stored
    elif len(frames):
        with tifffile.TiffFile(path) as tiff:
            pages = _pages(tiff)
            for image, frame in zip(images, frames, strict=True):
                image[:] = pages[frame].asarray()
    return images if layout.white_level is None else layout.dtype.type(layout.white_level) - images


def _runs(offsets: list[int], length: int) -> list[tuple[int, int]]:
    """Ranges [first, last) of frames of ``length`` bytes that follow each other in a file."""
    begins = [k for k in range(len(offsets)) if k == 0 or offsets[k] != offsets[k - 1] + length]
    return list(itertools.pairwise([*begins, len(offsets)]))


def _read_into(images: NDArray, stream: FileIO, name: str, what: str) -> None:
    """Fill images from a stream; a read of the system may give less than was asked for.

    Raises
    ------
    InputError
        The file ends before.
    """
    wanted = images.reshape(-1).view(np.uint8)
    done = 0
    while done < len(wanted):
        count = stream.readinto(wanted[done:].data)
        if not count:
            raise InputError(name, expected=f"{len(wanted)} bytes of {what}", found=f"{done}")
        done += count


def _pages(tiff: tifffile.TiffFile) -> list[Any]:
    """Pages without reduced copies of others."""
    pages: list[Any] = list(tiff.pages)
    return [page for page in pages if not page.keyframe.is_reduced]


def _contiguous(tiff: tifffile.TiffFile, pages: list) -> tuple[tuple[int, ...] | None, int]:
    """First byte of each frame, if they lie in one piece uncompressed; and the number of frames."""
    first = pages[0].keyframe
    plain = first.is_memmappable and first.fillorder == 1 and first.predictor == 1
    if len(pages) == 1:
        # ImageJ and others write one page and let the images of a large stack follow each other behind it
        series = tiff.series[0] if tiff.series else None
        count = int(np.prod(series.shape)) // int(np.prod(first.shape)) if series is not None else 1
        if (
            count > 1
            and plain
            and tiff.pages[0].dataoffsets
            and series is not None
            and series.dataoffset is not None
        ):
            return tuple(int(series.dataoffset) + k * first.nbytes for k in range(count)), count
        return ((int(pages[0].dataoffsets[0]),) if plain and pages[0].dataoffsets else None), max(count, 1)
    offsets = []
    for page in pages:
        starts, lengths = page.dataoffsets, page.databytecounts
        ends = [start + length for start, length in zip(starts, lengths, strict=True)]
        if not plain or not starts or list(starts[1:]) != ends[:-1] or sum(lengths) != first.nbytes:
            return None, len(pages)
        offsets.append(int(starts[0]))
    return tuple(offsets), len(pages)


def _axes(tiff: tifffile.TiffFile, count: int, name: str, size: int) -> tuple[int, ...]:
    """Lengths of the axes beside those of the image: one, or two where the metadata name two."""
    if not (tiff.is_ome or tiff.is_imagej or tiff.is_shaped):
        return (count,)
    series = tiff.series
    stated = sum(int(np.prod(part.shape[:-2], dtype=np.int64)) for part in series if part.axes.endswith("YX"))
    missing = sum(page is None for part in series for page in part.pages)
    if stated - missing != count or missing:
        if not tiff.is_ome and len(series) > 1 and stated < count:
            return (count,)
        raise InputError(
            name,
            expected=f"{stated} images, as its metadata promise",
            found=f"{count} ({size} bytes)",
            hint="was the acquisition aborted? files.axes: [angle, y, x] takes the pages that are there",
        )
    lead = tuple(int(n) for n in series[0].shape[:-2] if n > 1)
    return lead if len(series) == 1 and len(lead) == 2 else (count,)


def _check_complete(
    pages: list, first: tifffile.TiffPage, count: int, offsets: tuple[int, ...] | None, name: str, size: int
) -> None:
    """Refuse a file shorter than its pages say, and pages that no file of this size can hold."""
    if offsets is not None:
        end = max(offsets) + first.nbytes
    else:
        strips = [
            strip for page in pages for strip in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
        end = max((start + length for start, length in strips), default=0)
        if count * first.nbytes > _MOST_PACKED * size:
            raise InputError(
                name,
                expected="images that the file can hold",
                found=f"{count} of {first.nbytes} bytes in {size}",
            )
    if end > size:
        raise InputError(
            name,
            expected=f"at least {end} bytes, as its pages say",
            found=f"{size}: the file was cut short",
            hint="copy it again; correct.exclude_projections leaves a projection out",
        )


def _orientation(pages: list, name: str) -> Orientation:
    found = {int(page.keyframe.tags.valueof(274, 1)) for page in pages}
    if len(found) > 1 or not found <= set(_ORIENTATION):
        raise InputError(name, expected="one orientation (tag 274) of 1 to 8", found=f"{sorted(found)}")
    return _ORIENTATION[found.pop()]
