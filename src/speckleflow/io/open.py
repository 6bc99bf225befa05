"""Opening a frame source of whatever format; adding a format is one reader and one line here.

A package of its own adds a reader by an entry point of the group ``speckleflow.readers``: its name is the value of
``files.format``, its object a :class:`Reader`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.als import AlsFile, is_als
from speckleflow.io.base import FrameSource, Orientation
from speckleflow.io.data_exchange import DARKS, FLATS, DataExchange, Datasets
from speckleflow.io.dxchange import Dxchange
from speckleflow.io.hdf5 import find_dataset, open_hdf5
from speckleflow.io.images import Images, is_image, is_pattern
from speckleflow.io.nxtomo import NXtomo, is_nxtomo
from speckleflow.io.patterns import parse_positions
from speckleflow.io.view import FrameView
from speckleflow.io.xrm import Xrm, is_xrm

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx", ".nx5", ".nexus")
_GROUP = "speckleflow.readers"


@dataclass(frozen=True)
class ReadOptions:
    """How the files of a scan are read.

    Attributes
    ----------
    format : name of a reader, or 'auto'.
    keys : HDF5 paths that replace the format's own.
    axes : names of the stored axes, such as (position, angle, y, x); None: as the file says.
    positions : number of diffuser positions, where they follow each other in a stack of three axes.
    orientation : how frames are turned, after what the file itself says.
    frames : frames that are used, such as '0-117'; None: all of them.
    """

    format: str = "auto"
    keys: Datasets = field(default_factory=Datasets)
    axes: tuple[str, ...] | None = None
    positions: int | None = None
    orientation: Orientation = field(default_factory=Orientation)
    frames: str | None = None


@dataclass(frozen=True)
class Reader:
    """A format: what files it takes without being named, and how it opens one.

    Attributes
    ----------
    open : source of (path, name for messages, options); reads headers only.
    matches : whether an HDF5 file, open, is of this format; None: taken only by name.
    takes : whether a path that is no HDF5 file is of this format; None: taken only by name.
    """

    open: Callable[[Path, str, ReadOptions], FrameSource]
    matches: Callable[[h5py.File], bool] | None = None
    takes: Callable[[Path], bool] | None = None


def _keys(options: ReadOptions) -> Datasets:
    return options.keys if options.axes is None else options.keys.with_axes(options.axes)


#: in the order in which an HDF5 file is tried
READERS: dict[str, Reader] = {
    "data_exchange": Reader(
        lambda path, name, options: DataExchange.open(path, name, _keys(options)),
        lambda file: "exchange" in file,
    ),
    "nxtomo": Reader(lambda path, name, options: NXtomo.open(path, name, options.keys), is_nxtomo),
    "als": Reader(lambda path, name, options: AlsFile.open(path, name), is_als),
    "images": Reader(lambda path, name, options: Images.open(path, name, options.axes, options.positions)),
    "xrm": Reader(lambda path, name, options: Xrm.open(path, name), takes=is_xrm),
    "dxchange": Reader(lambda path, name, options: Dxchange.open(path, name, _keys(options))),
}


@cache
def readers() -> dict[str, Reader]:
    """Every reader by its name: those here, and those of other packages."""
    others = {point.name: point.load() for point in entry_points(group=_GROUP)}
    return {**READERS, **others}


def open_source(
    path: Path,
    name: str,
    format: str = "auto",
    keys: Datasets | None = None,
    options: ReadOptions | None = None,
) -> FrameSource:
    """A source of raw frames, upright, its header read.

    Parameters
    ----------
    path : a file, a folder of images, or a glob of images.
    name : how messages call it.
    format : 'auto' or the name of a reader (a value of ``files.format``).
    keys : HDF5 paths that replace the format's own.
    options : all of how it is read, in place of ``format`` and ``keys``.

    Raises
    ------
    InputError
        Nothing there, or not of that format.
    """
    options = options or ReadOptions(format, keys or Datasets())
    chosen = _format(path, name, options.keys) if options.format == "auto" else options.format
    if chosen not in readers():
        raise InputError(
            f"files.format: {chosen}",
            expected=f"auto or one of {', '.join(readers())}",
            found="no such reader",
        )
    source = readers()[chosen].open(path, name, options)
    orientation = (source.metadata.orientation or Orientation()).then(options.orientation)
    frames = None if options.frames is None else _frames(options.frames, source)
    return FrameView(source, orientation, frames) if orientation or frames is not None else source


def _frames(text: str, source: FrameSource) -> NDArray[np.intp]:
    frames = np.asarray(parse_positions(text, "files.frames"), np.intp)
    if frames.max() >= source.shape[0]:
        raise InputError(
            source.name,
            expected=f"frames from 0 to {source.shape[0] - 1} in files.frames",
            found=f"{frames.max()}",
        )
    return frames


def _format(path: Path, name: str, keys: Datasets) -> str:
    if taken := next((key for key, r in readers().items() if r.takes is not None and r.takes(path)), None):
        return taken
    named = path.suffix.lower() in HDF5_SUFFIXES
    if not named and not _is_hdf5(path) and (path.is_dir() or is_pattern(path) or is_image(path)):
        return "images"
    with open_hdf5(path, name) as file:
        if fit := next(
            (key for key, r in readers().items() if r.matches is not None and r.matches(file)), None
        ):
            return fit
        if keys.frames is not None:
            return "data_exchange"
        there = ", ".join(sorted(file)) or "nothing"
        # an entry defined as something else than NXtomo gets NXtomo's own message
        entries = [e for e in file.values() if isinstance(e, h5py.Group) and "definition" in e]
    if entries:
        return "nxtomo"
    raise InputError(
        name,
        expected="Data Exchange (/exchange), NXtomo or ALS 8.3.2",
        found=f"an HDF5 file with {there}",
        hint="name the frames in files.sample_dataset",
    )


def _is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5 by its first bytes, whatever its name is."""
    try:
        return path.is_file() and bool(h5py.is_hdf5(path))
    except OSError:  # not to be read: said where it is opened
        return False


def read_calibration(path: Path, name: str, options: ReadOptions | Datasets, kind: str) -> NDArray:
    """All frames (k, y, x) of a separate flat or dark file: those it holds as ``kind``, else its frames.

    Parameters
    ----------
    options : how the sample's files are read; the format is decided by the file itself.
    kind : 'flats' or 'darks'.

    Raises
    ------
    InputError
        See :func:`open_source`.
    """
    if isinstance(options, Datasets):
        options = ReadOptions(keys=options)
    stated = getattr(options.keys, kind)
    own = stated or {"flats": FLATS, "darks": DARKS}[kind]
    plain = ReadOptions(orientation=options.orientation)
    if _is_hdf5(path):
        with open_hdf5(path, name) as file:
            separate = find_dataset(file, own) is not None
        if separate:
            alone = ReadOptions("data_exchange", Datasets(frames=own), orientation=options.orientation)
            return open_source(path, name, options=alone).read()
    source = open_source(path, name, options=plain)
    held = getattr(source, kind)()
    return source.read() if held is None else held
