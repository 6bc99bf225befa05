"""Data Exchange files through the dxchange package, where a conda environment has it.

Our own reader gives the same frames without it; this one is for sites whose files only their dxchange reads.
(The package called dxchange on PyPI is something else.) Two of its habits are kept out: a missing dataset
comes back as None there and is an error here, and its angles are not used: it makes up those it cannot find.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.io.base import ALL
from speckleflow.io.data_exchange import DataExchange, Datasets
from speckleflow.io.hdf5 import dataset, open_hdf5


def dxchange_reader() -> ModuleType | None:
    """The module dxchange.reader of the genuine package, or None."""
    try:
        reader = importlib.import_module("dxchange.reader")
    except ImportError:
        return None
    return reader if hasattr(reader, "read_hdf5") else None


@dataclass(frozen=True)
class Dxchange(DataExchange):
    """A Data Exchange file whose frames dxchange reads (see :class:`~speckleflow.io.base.FrameSource`)."""

    @classmethod
    def open(cls, path: Path, name: str, keys: Datasets | None = None) -> Dxchange:
        """Read the header of ``path``; no frame is read.

        Raises
        ------
        InputError
            dxchange is not installed or does not follow the file's axes, or see :meth:`DataExchange.open`.
        """
        if dxchange_reader() is None:
            raise InputError(
                "files.format: dxchange",
                expected="the package dxchange (conda install -c conda-forge dxchange)",
                found="none installed",
            )
        source = super().open(path, name, keys)
        assert isinstance(source, cls)
        with open_hdf5(path, name) as file:
            stored = dataset(file, str(source.keys.frames), name).shape
        if stored != source.shape:
            raise InputError(
                name,
                expected=f"frames stored as {source.shape}",
                found=f"{stored}, an order of axes that dxchange does not follow",
                hint="set files.format: data_exchange",
            )
        return source

    def read(self, frames: slice = ALL, rows: slice = ALL) -> NDArray:
        return self._dxchange(str(self.keys.frames), frames, rows)

    def flats(self) -> NDArray | None:
        return self._dxchange(str(self.keys.flats), ALL, ALL) if self.n_flats else None

    def flat_places(self) -> NDArray[np.intp] | None:
        return None

    def darks(self) -> NDArray | None:
        return self._dxchange(str(self.keys.darks), ALL, ALL) if self.n_darks else None

    def _dxchange(self, key: str, frames: slice, rows: slice) -> NDArray:
        reader = dxchange_reader()
        # its slices are (start, stop, step), one an axis, and must be given in full
        whole: tuple[int | None, int | None, int] = (None, None, 1)
        first = frames.indices(self.shape[0]) if key == self.keys.frames else whole
        limits = [first, *[whole] * (len(self.shape) - 3), rows.indices(self.shape[-2]), whole]
        found = None if reader is None else reader.read_hdf5(str(self.files[0]), key, slc=limits)
        if found is None:
            raise InputError(self.name, expected=f"a dataset {key}", found="none that dxchange can read")
        return np.asarray(found)
