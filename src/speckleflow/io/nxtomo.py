"""NXtomo (NeXus) files: found by definition == "NXtomo", or by a detector that carries an image_key.

image_key 0: projection, 1: flat, 2: dark, 3: invalid (dropped). image_key_control says the same, with negative
numbers for alignment views, which are dropped too. Flats and darks may lie before, after and between the
projections, so frames are always chosen by their key, never by a range from first to last. Entry and detector
have many names in the wild (entry1/tomo_entry, entry/imaging, entry0000): they are discovered. The NXdata group
links to the frames of the detector: links to one object are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.base import ALL, Angles, Metadata, Orientation, frame_range, unit_factor
from speckleflow.io.data_exchange import Datasets
from speckleflow.io.hdf5 import (
    check_virtual,
    dataset,
    find_dataset,
    follow,
    identity,
    open_hdf5,
    quantity,
    read_numbers,
    text,
    unwritten,
)

PROJECTION, FLAT, DARK, INVALID = 0, 1, 2, 3
#: groups deeper than this hold no detector in any layout we know (entry/instrument/detector is 3)
_DEPTH = 5
#: largest tilt of a detector's half turn that is no tilt, in degrees
_HALF_TURN_DEG = 0.5


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
            check_virtual(frames, name)
            image_key, alignment = _image_key(file, detector, name)
            if len(image_key) != len(frames):
                raise InputError(
                    f"{name}:{detector}/image_key",
                    expected=f"{len(frames)} values, one for each frame",
                    found=f"{len(image_key)}",
                )
            counts = {key: int((image_key == key).sum()) for key in (PROJECTION, FLAT, DARK)}
            return cls(
                name, (path,), (counts[PROJECTION], *frames.shape[1:]), frames.dtype,
                counts[FLAT], counts[DARK], _metadata(file, entry, detector, name, alignment), frames_key,
                keys.angles or _angles_key(file, entry, detector), image_key,
            )  # fmt: skip

    def read(self, frames: slice = ALL, rows: slice = ALL) -> NDArray:
        return self._frames(PROJECTION, frames, rows)

    def flats(self) -> NDArray | None:
        return self._frames(FLAT) if self.n_flats else None

    def flat_places(self) -> NDArray[np.intp] | None:
        before = np.cumsum(self.image_key == PROJECTION)
        return before[self.image_key == FLAT]

    def darks(self) -> NDArray | None:
        return self._frames(DARK) if self.n_darks else None

    def angles(self) -> Angles | None:
        if self.angles_key is None:
            return None
        with open_hdf5(self.files[0], self.name) as file:
            source = dataset(file, self.angles_key, self.name)
            values = read_numbers(source, self.name)
            unit = text(source.attrs.get("units"))
        if len(values) == len(self.image_key):
            values = values[self.image_key == PROJECTION]
        return Angles(values, unit)

    def lost(self) -> tuple[NDArray[np.intp], str]:
        with open_hdf5(self.files[0], self.name) as file:
            numbers, why = unwritten(dataset(file, self.frames_key, self.name))
        return np.flatnonzero(np.isin(np.flatnonzero(self.image_key == PROJECTION), numbers)), why

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
    return any(text(found) == "NXtomo" for _, found in _definitions(file)) or bool(_detectors(file)[0])


def _definitions(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    for path, group in _groups(file, 2):
        if (found := find_dataset(group, "definition")) is not None:
            yield path, found


def _discover(file: h5py.File, name: str, frames_key: str | None) -> tuple[str, str]:
    """Paths of the entry and of the detector group that holds image_key."""
    stated = dict(_definitions(file))
    entries = [entry for entry, found in stated.items() if text(found) == "NXtomo"]
    if stated and not entries:
        found_text = ", ".join(f"'{text(found)}' in {entry}" for entry, found in stated.items())
        raise InputError(name, expected="an entry whose definition is 'NXtomo'", found=found_text)
    known, broken = _detectors(file)
    within = [e for e in entries if not any(e != other and e.startswith(f"{other}/") for other in entries)]
    detectors = [d for d in known if not entries or any(d.startswith(f"{e}/") for e in within)]
    if frames_key is not None:  # the scan names the frames: the keys beside them, or those of as many frames
        length = len(dataset(file, frames_key, name))
        beside = "/" + frames_key.rpartition("/")[0].strip("/")
        detectors = [d for d in detectors if d == beside] or [
            d for d in detectors if len(_image_key(file, d, name)[0]) == length
        ]
    if not detectors and broken:
        detector, why = next(iter(broken.items()))
        raise InputError(f"{name}:{detector}/data", expected="frames", found=why)
    if len(detectors) != 1:
        found_text = " and ".join(detectors) or "none"
        raise InputError(
            name,
            expected="one detector group with data and image_key",
            found=found_text,
            hint=f"name the frames in files.sample_dataset, for example {detectors[0]}/data"
            if detectors
            else "",
        )
    detector = detectors[0]
    entry = next(
        (e for e in entries if detector.startswith(f"{e}/")), "/" + detector.strip("/").split("/")[0]
    )
    return entry, detector


def _detectors(file: h5py.File) -> tuple[list[str], dict[str, str]]:
    """Groups with an image_key and frames, each frames' dataset once; and those whose frames cannot be opened.

    Of several groups that link to the same frames, one of class NXdetector or below an instrument is the detector.
    """
    found: dict[tuple[str, int], list[str]] = {}
    broken: dict[str, str] = {}
    for path, group in _groups(file, _DEPTH):
        keys = next(
            (k for k in ("image_key_control", "image_key") if find_dataset(group, k) is not None), None
        )
        if keys is None:
            continue
        frames, why = follow(group, "data")
        if isinstance(frames, h5py.Dataset):
            found.setdefault(identity(frames), []).append(path)
        elif why:
            broken[path] = why

    def rank(path: str) -> tuple[bool, bool, int]:
        return text(file[path].attrs.get("NX_class")) != "NXdetector", "/instrument" not in path, len(path)

    return [min(paths, key=rank) for paths in found.values()], dict(
        sorted(broken.items(), key=lambda b: rank(b[0]))
    )


def _groups(file: h5py.File, depth: int) -> Iterator[tuple[str, h5py.Group]]:
    """Path and group, each group of the file once however many links lead to it; other files are not entered."""
    seen: set[tuple[str, int]] = set()

    def walk(path: str, group: h5py.Group, left: int) -> Iterator[tuple[str, h5py.Group]]:
        if identity(group) in seen:
            return
        seen.add(identity(group))
        yield path or "/", group
        if not left:
            return
        links = [(key, group.get(key, getlink=True)) for key in group]
        # hard links first: they are the group's own name
        for key, link in sorted(links, key=lambda item: not isinstance(item[1], h5py.HardLink)):
            if isinstance(link, h5py.ExternalLink):
                continue
            child, _ = follow(group, key)
            if isinstance(child, h5py.Group) and child.file.filename == file.filename:
                yield from walk(f"{path}/{key}", child, left - 1)

    yield from walk("", file, depth)


def _image_key(file: h5py.File, detector: str, name: str) -> tuple[NDArray[np.integer], int]:
    """Key of every frame, with those of alignment views INVALID; and how many alignment views there are."""
    plain, control = (find_dataset(file, f"{detector}/{key}") for key in ("image_key", "image_key_control"))
    chosen = plain if plain is not None else control
    if chosen is None:
        chosen = dataset(file, f"{detector}/image_key", name)
    if chosen.dtype.kind not in "fiu":
        raise InputError(
            f"{name}:{chosen.name}", expected="numbers 0 to 3", found=f"values of type {chosen.dtype}"
        )
    keys = np.asarray(chosen[()]).ravel()
    if chosen.dtype.kind == "f" and not np.isin(keys, np.arange(-1, 4)).all():
        raise InputError(f"{name}:{chosen.name}", expected="numbers 0 to 3", found="others")
    keys = keys.astype(np.int64)
    alignment = keys < 0
    if control is not None and control.size == keys.size and control.dtype.kind in "fiu":
        alignment |= np.asarray(control[()]).ravel() < 0
    keys[alignment] = INVALID
    return keys, int(alignment.sum())


def _angles_key(file: h5py.File, entry: str, detector: str) -> str | None:
    """sample/rotation_angle, or the first axis of an NXdata group of the detector's name.

    A scan that records both demanded and measured values lists the demand (NAME_set) as the axis; the
    measured value NAME beside it is the truth, and the only one where the demand's file was not kept.
    """
    candidates = [f"{entry}/sample/rotation_angle", f"{entry}/data/rotation_angle"]
    plot = f"{entry}/{detector.rpartition('/')[2]}"
    group, _ = follow(file, plot)
    axes = group.attrs.get("axes") if isinstance(group, h5py.Group) else None
    if axes is not None and np.size(axes) and (axis := text(np.ravel(axes)[:1])):
        candidates += [f"{plot}/{axis.removesuffix('_set')}", f"{plot}/{axis}"]
    return next((key for key in candidates if find_dataset(file, key) is not None), None)


def _metadata(file: h5py.File, entry: str, detector: str, name: str, alignment: int) -> Metadata:
    """Geometry as the file states it; of the sample's and the detector's numbers those in the sample plane."""
    instrument = detector.rpartition("/")[0]

    def micrometres(axis: str) -> float | None:
        metres = quantity(file, (f"{entry}/sample/{axis}_pixel_size", f"{detector}/{axis}_pixel_size"), "m")
        return None if metres is None else metres * 1e6

    notes = [f"{alignment} alignment views (image_key_control below 0) are left out"] if alignment else []
    return Metadata(
        energy_kev=quantity(
            file, (f"{instrument}/beam/incident_energy", f"{entry}/beam/incident_energy"), "keV"
        )
        or quantity(
            file, (f"{instrument}/monochromator/energy", f"{instrument}/source/energy"), "keV", most=1e3
        ),
        pixel_size_um=micrometres("x"),
        # the sample's is that of a parallel beam: the real distance over the magnification
        distance_m=quantity(file, (f"{entry}/sample/propagation_distance", f"{detector}/distance"), "m"),
        pixel_size_y_um=micrometres("y"),
        half_acquisition=_half(file, detector),
        orientation=_orientation(file, detector, name),
        notes=tuple(notes),
    )


def _half(file: h5py.File, detector: str) -> bool | None:
    """Whether the field of view is half the sample's, where the file says so."""
    stated = text(find_dataset(file, f"{detector}/field_of_view")) or ""
    if _flag(file, f"{detector}/half_acquisition") or stated.lower() == "half":
        return True
    return False if stated else None


def _orientation(file: h5py.File, detector: str, name: str) -> Orientation:
    """How the frames become upright: the inverse of the mirrors that the detector's transformations state.

    A half turn of the detector about an axis in its plane mirrors the image across that axis.
    """
    group, _ = follow(file, f"{detector}/transformations")
    turns: dict[str, int] = {}
    if isinstance(group, h5py.Group):
        for key in group:
            found = find_dataset(group, key)
            if found is None or text(found.attrs.get("transformation_type")) != "rotation":
                continue
            axis = _axis(found.attrs.get("vector"))
            factor = unit_factor(text(found.attrs.get("units")) or "deg", "deg") or 1.0
            angle = (
                float(np.ravel(found[()])[0]) * factor % 360
                if found.size and found.dtype.kind in "fiu"
                else 0.0
            )
            if min(angle, 360 - angle) < _HALF_TURN_DEG:
                continue
            if axis is None or abs(angle - 180) > _HALF_TURN_DEG or np.ptp(found[()]) > 0:
                raise InputError(
                    f"{name}:{found.name}",
                    expected="a detector turned by 0 or 180 degrees about its own axes",
                    found=f"{angle:g} degrees",
                    hint="turn the frames with files.transpose, files.flip_x and files.flip_y",
                )
            turns[axis] = turns.get(axis, 0) + 1
    if turns:
        about = {axis: turns.get(axis, 0) % 2 for axis in "xyz"}
        return Orientation(flip_y=bool(about["x"] ^ about["z"]), flip_x=bool(about["y"] ^ about["z"]))
    return Orientation(
        flip_y=_flag(file, f"{detector}/y_flipped"), flip_x=_flag(file, f"{detector}/x_flipped")
    )


def _axis(vector: object) -> str | None:
    values = np.abs(np.ravel(np.asarray(vector, np.float64))) if vector is not None else np.zeros(0)
    if values.size != 3 or np.count_nonzero(values > 1e-6) != 1:
        return None
    return "xyz"[int(values.argmax())]


def _flag(file: h5py.File, key: str) -> bool:
    found = find_dataset(file, key)
    return (
        found is not None and found.size == 1 and found.dtype.kind in "biu" and bool(np.ravel(found[()])[0])
    )
