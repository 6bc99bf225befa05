"""HDF5 files of the ALS beamline 8.3.2: one dataset a frame, in one group, numbers as text attributes of that group.

Names end in NAME_0000_0017.tif (projection 17), NAMEbak_0000_0017.tif (flat taken at projection 17) and
NAMEdrk_0000_0017.tif (dark). The group's attributes are text without units; the format fixes them: senergy in eV,
pxsize in mm, arange in degrees, over nangles projections of which the last is taken at arange.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.base import ALL, Angles, Metadata, frame_range
from speckleflow.io.hdf5 import dataset, follow, open_hdf5, text

_FRAME = re.compile(r".*?(bak|drk)?_(\d+)_(\d+)\.tiff?$")
#: attributes that every such group has
_ATTRIBUTES = ("nangles", "arange")


@dataclass(frozen=True)
class AlsFile:
    """An ALS file (see :class:`~speckleflow.io.base.FrameSource`); ``open`` reads names and one header."""

    name: str
    files: tuple[Path, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    n_flats: int
    n_darks: int
    metadata: Metadata
    frame_keys: tuple[str, ...] = field(repr=False)
    flat_keys: tuple[str, ...] = field(repr=False)
    dark_keys: tuple[str, ...] = field(repr=False)
    numbers: NDArray[np.intp] = field(repr=False)
    stated: tuple[int, float] | None = field(default=None, repr=False)

    @classmethod
    def open(cls, path: Path, name: str) -> AlsFile:
        """Read the names of ``path`` and the header of its first frame.

        Raises
        ------
        InputError
            Not such a file, or frames of more than one tile.
        """
        with open_hdf5(path, name) as file:
            group = _group(file)
            if group is None:
                raise InputError(
                    name, expected="a group of frames with attributes nangles and arange", found="none"
                )
            kinds: dict[str, list[tuple[int, int, str]]] = {"": [], "bak": [], "drk": []}
            for key in group:
                if match := _FRAME.match(key):
                    kinds[match[1] or ""].append((int(match[3]), int(match[2]), f"{group.name}/{key}"))
            frames = sorted(kinds[""])
            if len({tile for _, tile, _ in frames}) > 1 or not frames:
                raise InputError(
                    name, expected="projections of one tile", found=f"{len({t for _, t, _ in frames})} tiles"
                )
            first = dataset(file, frames[0][2], name)
            if (
                first.size != np.prod(first.shape[-2:])
                or first.ndim not in (2, 3)
                or first.dtype.kind not in "uif"
            ):
                raise InputError(
                    f"{name}:{first.name}", expected="an image", found=f"{first.dtype} of shape {first.shape}"
                )
            numbers = np.array([number for number, _, _ in frames], np.intp)
            count, span = _number(group, "nangles"), _number(group, "arange")
            stated = (int(count), span) if count is not None and span is not None and count > 1 else None
            energy, pixel = _number(group, "senergy"), _number(group, "pxsize")
            metadata = Metadata(
                None if not energy else energy * 1e-3, None if not pixel else pixel * 1e3,
            )  # fmt: skip
            ordered = {kind: tuple(key for _, _, key in sorted(found)) for kind, found in kinds.items()}
            return cls(
                name, (path,), (len(frames), *first.shape[-2:]), first.dtype, len(ordered["bak"]),
                len(ordered["drk"]), metadata, ordered[""], ordered["bak"], ordered["drk"], numbers, stated,
            )  # fmt: skip

    def read(self, frames: slice = ALL, rows: slice = ALL) -> NDArray:
        chosen = frame_range(frames, self.shape[0])
        return self._read([self.frame_keys[frame] for frame in chosen], rows)

    def flats(self) -> NDArray | None:
        return self._read(self.flat_keys) if self.flat_keys else None

    def flat_places(self) -> NDArray[np.intp] | None:
        taken = [int(match[3]) for key in self.flat_keys if (match := _FRAME.match(key))]
        return np.searchsorted(self.numbers, np.array(taken, np.intp))

    def darks(self) -> NDArray | None:
        return self._read(self.dark_keys) if self.dark_keys else None

    def angles(self) -> Angles | None:
        if self.stated is None:
            return None
        count, span = self.stated
        return Angles(self.numbers * span / (count - 1), "deg")

    def lost(self) -> tuple[NDArray[np.intp], str]:
        return np.empty(0, np.intp), ""

    def _read(self, keys: tuple[str, ...] | list[str], rows: slice = ALL) -> NDArray:
        images = np.empty((len(keys), *self.shape[1:]), self.dtype)[:, rows]
        with open_hdf5(self.files[0], self.name) as file:
            for image, key in zip(images, keys, strict=True):
                source = dataset(file, key, self.name)
                if source.shape[-2:] != self.shape[1:] or source.size != np.prod(self.shape[1:]):
                    raise InputError(
                        f"{self.name}:{key}", expected=f"shape {self.shape[1:]}", found=f"{source.shape}"
                    )
                image[:] = source[..., rows, :].reshape(image.shape)
        return images


def is_als(file: h5py.File) -> bool:
    """Whether a file has a group of frames as the beamline writes it."""
    return _group(file) is not None


def _group(file: h5py.File) -> h5py.Group | None:
    for key in file:
        found, _ = follow(file, key)
        if isinstance(found, h5py.Group) and all(name in found.attrs for name in _ATTRIBUTES):
            return found
    return None


def _number(group: h5py.Group, key: str) -> float | None:
    try:
        value = float((text(group.attrs.get(key)) or "").strip())
    except ValueError:
        return None
    return value if np.isfinite(value) else None
