"""NXtomo (NeXus) files: found by definition == "NXtomo", or by a detector that carries an image_key.

image_key 0: projection, 1: flat, 2: dark, 3: invalid (dropped). Flats and darks may lie before, after and
between the projections, so frames are always chosen by their key, never by a range from first to last.
Entry and detector have many names in the wild (entry1/tomo_entry, entry/imaging, entry0000): they are
discovered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.base import ALL, Angles, Metadata, frame_range
from speckleflow.io.data_exchange import Datasets
from speckleflow.io.hdf5 import dataset, find_dataset, open_hdf5, quantity, text

PROJECTION, FLAT, DARK = 0, 1, 2
#: groups deeper than this hold no detector in any layout we know (entry/instrument/detector is 3)
_DEPTH = 5


@dataclass(frozen=True)
class NXtomo:
    """An NXtomo file (see :class:`~speckleflow.io.base.FrameSource`); ``open`` reads header and image_key."""

    name: str
    files: tuple[Path, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    n_flats: int
    n_darks: int
    metadata: Metadata
    frames_key: str
    angles_key: str | None
    image_key: NDArray[np.integer] = field(repr=False)

    @classmethod
    def open(cls, path: Path, name: str, keys: Datasets | None = None) -> NXtomo:
        """Read the header of ``path``; no frame is read.

        Raises
        ------
        InputError
            Not a readable HDF5 file, not NXtomo, more than one detector, or keys and frames differ in number.
        """
        keys = keys or Datasets()
        with open_hdf5(path, name) as file:
            entry, detector = _discover(file, name, keys.frames)
            frames_key = keys.frames or f"{detector}/data"
            frames = dataset(file, frames_key, name)
            if frames.ndim != 3 or frames.dtype.kind not in "uif":
                raise InputError(
                    f"{name}:{frames_key}",
                    expected="numbers of shape (frame, y, x)",
                    found=f"{frames.dtype} of shape {frames.shape}",
                )
            image_key = np.asarray(dataset(file, f"{detector}/image_key", name)[()]).ravel()
            if len(image_key) != len(frames):
                raise InputError(
                    f"{name}:{detector}/image_key",
                    expected=f"{len(frames)} values, one for each frame",
                    found=f"{len(image_key)}",
                )
            counts = {key: int((image_key == key).sum()) for key in (PROJECTION, FLAT, DARK)}
            return cls(
                name, (path,), (counts[PROJECTION], *frames.shape[1:]), frames.dtype,
                counts[FLAT], counts[DARK], _metadata(file, entry, detector), frames_key,
                keys.angles or _angles_key(file, entry, detector), image_key,
            )  # fmt: skip

    def read(self, frames: slice = ALL, rows: slice = ALL) -> NDArray:
        return self._frames(PROJECTION, frames, rows)

    def flats(self) -> NDArray | None:
        return self._frames(FLAT) if self.n_flats else None

    def darks(self) -> NDArray | None:
        return self._frames(DARK) if self.n_darks else None

    def angles(self) -> Angles | None:
        if self.angles_key is None:
            return None
        with open_hdf5(self.files[0], self.name) as file:
            source = dataset(file, self.angles_key, self.name)
            values = np.asarray(source[()], np.float64).ravel()
            unit = text(source.attrs.get("units"))
        if len(values) == len(self.image_key):
            values = values[self.image_key == PROJECTION]
        return Angles(values, unit)

    def _frames(self, key: int, frames: slice = ALL, rows: slice = ALL) -> NDArray:
        index = np.flatnonzero(self.image_key == key)
        index = index[np.asarray(frame_range(frames, len(index)), dtype=np.intp)]
        # contiguous runs: one hyperslab each, where a list of indices would be read point by point
        runs = np.split(index, np.flatnonzero(np.diff(index) != 1) + 1) if len(index) else []
        with open_hdf5(self.files[0], self.name) as file:
            source = dataset(file, self.frames_key, self.name)
            parts = [source[run[0] : run[-1] + 1, rows] for run in runs]
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), self.dtype)[:, rows]


def is_nxtomo(file: h5py.File) -> bool:
    """Whether an entry is defined as NXtomo, or a detector carries an image_key."""
    return any(text(found) == "NXtomo" for _, found in _definitions(file)) or bool(_detectors(file))


def _definitions(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    for group in _groups(file, 2):
        if (found := find_dataset(group, "definition")) is not None:
            yield str(group.name), found


def _discover(file: h5py.File, name: str, frames_key: str | None) -> tuple[str, str]:
    """Paths of the entry and of the detector group that holds image_key."""
    stated = dict(_definitions(file))
    entries = [entry for entry, found in stated.items() if text(found) == "NXtomo"]
    if stated and not entries:
        found_text = ", ".join(f"'{text(found)}' in {entry}" for entry, found in stated.items())
        raise InputError(name, expected="an entry whose definition is 'NXtomo'", found=found_text)
    detectors = [d for d in _detectors(file) if not entries or any(d.startswith(f"{e}/") for e in entries)]
    if (
        frames_key is not None
    ):  # the scan table names the frames: the keys beside them, or those of as many frames
        length = len(dataset(file, frames_key, name))
        beside = frames_key.rpartition("/")[0]
        detectors = [d for d in detectors if d == beside] or [
            d for d in detectors if len(file[d]["image_key"]) == length
        ]
    if len(detectors) != 1:
        found_text = " and ".join(detectors) or "none"
        raise InputError(
            name,
            expected="one detector group with data and image_key",
            found=found_text,
            hint="name the frames in files.sample_dataset" if detectors else "",
        )
    detector = detectors[0]
    entry = next(
        (e for e in entries if detector.startswith(f"{e}/")), "/" + detector.strip("/").split("/")[0]
    )
    return entry, detector


def _detectors(file: h5py.File) -> list[str]:
    """Groups with an image_key and frames that can be opened (links of other detectors may be broken)."""
    return [
        str(group.name)
        for group in _groups(file, _DEPTH)
        if find_dataset(group, "image_key") is not None and find_dataset(group, "data") is not None
    ]


def _groups(group: h5py.Group, depth: int) -> Iterator[h5py.Group]:
    """A group and those below it, hard links only: soft ones would give the same detector twice."""
    yield group
    if depth:
        for key in group:
            if isinstance(group.get(key, getlink=True), h5py.HardLink):
                child = group.get(key)
                if isinstance(child, h5py.Group):
                    yield from _groups(child, depth - 1)


def _angles_key(file: h5py.File, entry: str, detector: str) -> str | None:
    """sample/rotation_angle, or the first axis of an NXdata group of the detector's name.

    A scan that records both demanded and measured values lists the demand (NAME_set) as the axis; the
    measured value NAME beside it is the truth, and the only one where the demand's file was not kept.
    """
    candidates = [f"{entry}/sample/rotation_angle", f"{entry}/data/rotation_angle"]
    plot = f"{entry}/{detector.rpartition('/')[2]}"
    group = file.get(plot)
    axes = group.attrs.get("axes") if isinstance(group, h5py.Group) else None
    if axes is not None and np.size(axes) and (axis := text(np.ravel(axes)[:1])):
        candidates += [f"{plot}/{axis.removesuffix('_set')}", f"{plot}/{axis}"]
    return next((key for key in candidates if find_dataset(file, key) is not None), None)


def _metadata(file: h5py.File, entry: str, detector: str) -> Metadata:
    instrument = detector.rpartition("/")[0]
    pixel_m = quantity(file, (f"{detector}/x_pixel_size",), "m")
    return Metadata(
        quantity(file, (f"{instrument}/beam/incident_energy", f"{entry}/beam/incident_energy"), "keV")
        or quantity(file, (f"{instrument}/monochromator/energy", f"{instrument}/source/energy"), "keV"),
        None if pixel_m is None else pixel_m * 1e6,
        quantity(file, (f"{detector}/distance",), "m"),
    )
