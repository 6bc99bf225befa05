"""What a writer of volumes is given and what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.io.base import ALL

#: Largest part of a volume in bytes that a writer holds at a time; a row of a very large volume may be more.
PART_BYTES = 1 << 27
#: Largest edges (z, y, x) of what a chunked format writes as one file: 32 MiB of float32.
SHARD = (32, 512, 512)


@dataclass(frozen=True)
class VolumeSource:
    """The volumes of one scan, read in parts.

    Attributes
    ----------
    scan : name of the scan.
    path : of the HDF5 file that holds them.
    file : the same, open.
    names : of the volumes, in the order of their channels.
    voxel_size_um : edge of a voxel; coordinate 0 is the centre of the first voxel.
    time : number of the turn, of volumes (t, z, y, x) of a sample that changes; None: (z, y, x).
    """

    scan: str
    path: Path
    file: h5py.File
    names: tuple[str, ...]
    voxel_size_um: float
    time: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) of every volume."""
        z, y, x = self.file[self.names[0]].shape[-3:]
        return int(z), int(y), int(x)

    def unit(self, name: str) -> str:
        """Unit of the values of a volume, '1' where they have none."""
        return str(self.file[name].attrs["units"])

    def title(self, name: str) -> str:
        """Meaning of a volume."""
        return str(self.file[name].attrs["description"])

    def read(self, name: str, z: slice = ALL, y: slice = ALL) -> NDArray[np.float32]:
        """Part of a volume."""
        index = (z, y) if self.time is None else (self.time, z, y)
        return np.asarray(self.file[name][index], np.float32)

    def parts(self, name: str) -> Iterator[NDArray[np.float32]]:
        """A volume from its first slice to its last, as many slices at a time as ``PART_BYTES`` hold."""
        depth, rows, columns = self.shape
        step = max(1, PART_BYTES // (4 * rows * columns))
        for start in range(0, depth, step):
            yield self.read(name, slice(start, start + step))

    def slices(self, name: str) -> Iterator[NDArray[np.float32]]:
        """A volume slice by slice."""
        for part in self.parts(name):
            yield from part

    def finite_range(self, name: str) -> tuple[float, float]:
        """Least and largest finite value of a volume; (0, 1) where there is none."""
        low, high = np.inf, -np.inf
        for part in self.parts(name):
            finite = np.isfinite(part)
            low = min(low, float(part.min(where=finite, initial=np.inf)))
            high = max(high, float(part.max(where=finite, initial=-np.inf)))
        return (low, high) if low <= high else (0.0, 1.0)


class VolumeWriter(Protocol):
    """A format that volumes are written in.

    A writer streams: it reads parts of about ``PART_BYTES`` and holds no whole volume. It knows nothing of private
    names: its folder is renamed when it returns, and removed when it raises.

    Attributes
    ----------
    package : distribution that must be installed; '' where none.
    """

    package: ClassVar[str]

    def write(self, source: VolumeSource, folder: Path) -> dict[str, Any]:
        """Write all volumes below an existing, empty folder; returns what the record of the export says of them."""
        ...
