"""Data Exchange (APS) files, and any HDF5 file whose datasets the configuration names.

/exchange/data (theta:y:x, or as its attribute ``axes`` says; 4-D: theta:position:y:x), /exchange/data_white,
/exchange/data_dark, /exchange/theta in degrees. Where theta is absent, tomoscan's record of the rotation
(/process/acquisition/rotation: rotation_start, rotation_step) is used; absent too: no angles, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.base import ALL, Angles, Metadata
from speckleflow.io.hdf5 import (
    check_size,
    check_virtual,
    dataset,
    find_dataset,
    open_hdf5,
    quantity,
    read_numbers,
    read_ordered,
    text,
    unwritten,
)

FRAMES, FLATS, DARKS, ANGLES = (
    "/exchange/data",
    "/exchange/data_white",
    "/exchange/data_dark",
    "/exchange/theta",
)
#: other names of the axes of angles and diffuser positions
_AXES = {
    "angle": "theta", "projection": "theta", "frame": "theta", "image": "theta", "step": "position",
    "positions": "position", "diffuser": "position", "n": "position", "z": "y",
}  # fmt: skip
_ROTATION = "/process/acquisition/rotation"
_INSTRUMENT = "/measurement/instrument"
_ENERGY = (f"{_INSTRUMENT}/monochromator/energy", f"{_INSTRUMENT}/source/energy")
_EFFECTIVE_PIXEL = (f"{_INSTRUMENT}/detection_system/objective/resolution",)
_DETECTOR_PIXEL = tuple(
    f"{_INSTRUMENT}/detector/{key}"
    for key in ("actual_pixel_size_x", "pixel_size_x", "x_pixel_size", "pixel_size")
)
_MAGNIFICATION = f"{_INSTRUMENT}/detection_system/objective/magnification"
_DISTANCE = (
    f"{_INSTRUMENT}/detector/distance",
    f"{_INSTRUMENT}/detector_motor_stack/setup/z",
    f"{_INSTRUMENT}/camera_motor_stack/setup/camera_distance",
)


@dataclass(frozen=True)
class Datasets:
    """HDF5 paths that replace the format's own, and the stored axes of the frames; None: the format's own."""

    frames: str | None = None
    flats: str | None = None
    darks: str | None = None
    angles: str | None = None
    axes: tuple[str, ...] | None = None

    def with_axes(self, axes: tuple[str, ...]) -> Datasets:
        """The same with stored axes."""
        return replace(self, axes=axes)


@dataclass(frozen=True)
class DataExchange:
    """A Data Exchange file (see :class:`~speckleflow.io.base.FrameSource`); ``open`` reads its header."""

    name: str
    files: tuple[Path, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    n_flats: int
    n_darks: int
    metadata: Metadata
    keys: Datasets = field(repr=False)

    @classmethod
    def open(cls, path: Path, name: str, keys: Datasets | None = None) -> DataExchange:
        """Read the header of ``path``; no frame is read.

        Raises
        ------
        InputError
            Not a readable HDF5 file, or it has no frames of three or four axes.
        """
        keys = keys or Datasets()
        keys = Datasets(
            keys.frames or FRAMES,
            keys.flats or FLATS,
            keys.darks or DARKS,
            keys.angles or ANGLES,
            keys.axes,
        )
        with open_hdf5(path, name) as file:
            frames = dataset(file, str(keys.frames), name)
            if frames.ndim not in (3, 4) or frames.dtype.kind not in "uif" or 0 in frames.shape:
                raise InputError(
                    f"{name}:{keys.frames}",
                    expected="numbers of shape (theta, y, x) or (theta, position, y, x)",
                    found=f"{frames.dtype} of shape {frames.shape}",
                )
            check_virtual(frames, name)
            order = _axis_order(frames, name, keys.axes)
            return cls(
                name, (path,), tuple(frames.shape[axis] for axis in order), frames.dtype,
                _count(file, str(keys.flats)), _count(file, str(keys.darks)), _metadata(file), keys,
            )  # fmt: skip

    def read(self, frames: slice = ALL, rows: slice = ALL) -> NDArray:
        with open_hdf5(self.files[0], self.name) as file:
            source = dataset(file, str(self.keys.frames), self.name)
            middle = (ALL,) * (source.ndim - 3)
            return read_ordered(source, self._order(source), (frames, *middle, rows, ALL))

    def angles(self) -> Angles | None:
        with open_hdf5(self.files[0], self.name) as file:
            theta = find_dataset(file, str(self.keys.angles))
            if theta is not None and theta.size:
                return Angles(read_numbers(theta, self.name), text(theta.attrs.get("units")))
            start, step = (find_dataset(file, f"{_ROTATION}/rotation_{key}") for key in ("start", "step"))
            if start is None or step is None:
                return None
            if not start.size or not step.size:
                return None
            first, increment = (
                float(read_numbers(item, self.name, "the start and step of the rotation")[0])
                for item in (start, step)
            )
            return Angles(first + increment * np.arange(self.shape[0], dtype=np.float64), "deg")

    def flats(self) -> NDArray | None:
        return self._optional(str(self.keys.flats))

    def flat_places(self) -> NDArray[np.intp] | None:
        return None

    def darks(self) -> NDArray | None:
        return self._optional(str(self.keys.darks))

    def lost(self) -> tuple[NDArray[np.intp], str]:
        with open_hdf5(self.files[0], self.name) as file:
            source = dataset(file, str(self.keys.frames), self.name)
            return unwritten(source, self._order(source)[0])

    def _optional(self, key: str) -> NDArray | None:
        with open_hdf5(self.files[0], self.name) as file:
            source = find_dataset(file, key)
            if source is None or not source.size:
                return None
            check_size(source, self.name)
            if source.ndim == 2:  # one averaged image
                return np.asarray(source[()])[None]
            return read_ordered(source, self._order(source), (ALL,) * source.ndim)

    def _order(self, source: h5py.Dataset) -> tuple[int, ...]:
        return _axis_order(source, self.name, self.keys.axes)


def _axis_order(source: h5py.Dataset, name: str, axes: tuple[str, ...] | None = None) -> tuple[int, ...]:
    """Stored axis of (frames[, N], y, x): by ``axes``, the attribute ``axes``, or the stored order without both."""
    stated = text(source.attrs.get("axes"))
    if axes is not None and len(axes) == source.ndim:
        stated = ":".join(axes)
    if stated is None:
        return tuple(range(source.ndim))
    # theta_white and theta_dark number the flats and darks: the same axis for this purpose
    named = [
        _AXES.get(part, part) for part in (axis.split("_")[0].strip().lower() for axis in stated.split(":"))
    ]
    usual = ["theta", "y", "x"] if source.ndim == 3 else ["theta", "position", "y", "x"]
    if len(named) != source.ndim or sorted(named) != sorted(usual):
        other = next((axis for axis in named if axis not in usual), None)
        raise InputError(
            f"{name}:{source.name}",
            expected=f"axes such as {':'.join(usual)} for shape {source.shape}",
            found=f"'{stated}'",
            hint=f"an axis {other} is no diffuser position; set files.axes if it is one, or choose one part of it"
            if other is not None and len(named) == source.ndim == 4
            else "set files.axes",
        )
    return tuple(named.index(axis) for axis in usual)


def _count(file: h5py.File, key: str) -> int:
    source = find_dataset(file, key)
    if source is None or not source.size:
        return 0
    if source.ndim not in (2, 3, 4):
        raise InputError(
            f"{Path(file.filename).name}:{key}", expected="frames (k, y, x)", found=f"shape {source.shape}"
        )
    return 1 if source.ndim == 2 else int(source.shape[_axis_order(source, key)[0]])


def _metadata(file: h5py.File) -> Metadata:
    pixel_m = quantity(file, _EFFECTIVE_PIXEL, "m")
    if pixel_m is None and (pixel_m := quantity(file, _DETECTOR_PIXEL, "m")) is not None:
        lens = find_dataset(file, _MAGNIFICATION)
        magnification = float(np.ravel(lens[()])[0]) if lens is not None and lens.dtype.kind in "fiu" else 1.0
        pixel_m /= magnification if np.isfinite(magnification) and magnification > 0 else 1.0
    return Metadata(
        quantity(file, _ENERGY, "keV"),
        None if pixel_m is None else pixel_m * 1e6,
        quantity(file, _DISTANCE, "m"),
    )
