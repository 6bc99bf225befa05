"""Opening a frame source of whatever format; adding a format is one reader and one line here."""

from __future__ import annotations

from pathlib import Path

import h5py
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.base import FrameSource
from speckleflow.io.data_exchange import DARKS, FLATS, DataExchange, Datasets
from speckleflow.io.dxchange import Dxchange
from speckleflow.io.hdf5 import find_dataset, open_hdf5
from speckleflow.io.images import SUFFIXES, Images
from speckleflow.io.nxtomo import NXtomo, is_nxtomo

_HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx5", ".nexus")


def open_source(path: Path, name: str, format: str = "auto", keys: Datasets | None = None) -> FrameSource:
    """A source of raw frames, its header read.

    Parameters
    ----------
    path : a file, a folder of images, or a glob of images.
    name : how messages call it.
    format : 'auto', 'data_exchange', 'nxtomo', 'images' or 'dxchange' (a value of ``files.format``).
    keys : HDF5 paths that replace the format's own.

    Raises
    ------
    InputError
        Nothing there, or not of that format.
    """
    keys = keys or Datasets()
    if format == "auto":
        format = _format(path, name, keys)
    if format == "images":
        return Images.open(path, name)
    if format == "dxchange":
        return Dxchange.open(path, name, keys)
    return NXtomo.open(path, name, keys) if format == "nxtomo" else DataExchange.open(path, name, keys)


def _format(path: Path, name: str, keys: Datasets) -> str:
    suffix = path.suffix.lower()
    if suffix not in _HDF5_SUFFIXES and (suffix in SUFFIXES or path.is_dir() or "*" in path.name):
        return "images"
    with open_hdf5(path, name) as file:
        if "exchange" in file:
            return "data_exchange"
        if is_nxtomo(file):
            return "nxtomo"
        if keys.frames is not None:
            return "data_exchange"
        there = ", ".join(sorted(file)) or "nothing"
        # an entry defined as something else than NXtomo gets NXtomo's own message
        entries = [e for e in file.values() if isinstance(e, h5py.Group) and "definition" in e]
    if entries:
        return "nxtomo"
    raise InputError(
        name,
        expected="Data Exchange (/exchange) or NXtomo",
        found=f"an HDF5 file with {there}",
        hint="name the frames in files.sample_dataset",
    )


def read_calibration(path: Path, name: str, keys: Datasets, kind: str) -> NDArray:
    """All frames (k, y, x) of a separate flat or dark file: those it holds as ``kind``, else its frames.

    Parameters
    ----------
    kind : 'flats' or 'darks'.

    Raises
    ------
    InputError
        See :func:`open_source`.
    """
    own = getattr(keys, kind) or {"flats": FLATS, "darks": DARKS}[kind]
    if path.is_file() and h5py.is_hdf5(path):
        with open_hdf5(path, name) as file:
            separate = find_dataset(file, own) is not None
        if separate:
            return DataExchange.open(path, name, Datasets(frames=own)).read()
    source = open_source(path, name)
    held = getattr(source, kind)()
    return source.read() if held is None else held
