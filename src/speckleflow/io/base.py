"""What every reader gives: a stack of raw frames with its angles, flats, darks and metadata.

A source keeps no file open: each call opens, reads and closes, so that handles cannot leak into worker
processes and a file on a network share is never held.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError

ALL = slice(None)


@dataclass(frozen=True)
class Orientation:
    """How stored frames become upright ones: rows and columns exchanged first, then mirrored."""

    transpose: bool = False
    flip_y: bool = False  #: the last row becomes the first
    flip_x: bool = False  #: the last column becomes the first

    def __bool__(self) -> bool:
        return self.transpose or self.flip_y or self.flip_x

    def then(self, other: Orientation) -> Orientation:
        """This one followed by another."""
        flip_y, flip_x = (self.flip_x, self.flip_y) if other.transpose else (self.flip_y, self.flip_x)
        return Orientation(self.transpose != other.transpose, flip_y != other.flip_y, flip_x != other.flip_x)

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        """Size of upright frames."""
        return (columns, rows) if self.transpose else (rows, columns)

    def apply(self, frames: NDArray) -> NDArray:
        """Upright frames (..., y, x)."""
        if self.transpose:
            frames = np.swapaxes(frames, -1, -2)
        if self.flip_y:
            frames = frames[..., ::-1, :]
        return frames[..., ::-1] if self.flip_x else frames


@dataclass(frozen=True)
class Metadata:
    """What a file says about its geometry, in the units of the configuration; None where it says nothing."""

    energy_kev: float | None = None
    pixel_size_um: float | None = None  #: effective pixel size along x
    distance_m: float | None = None  #: sample to detector
    pixel_size_y_um: float | None = None  #: along y, where the file states it
    half_acquisition: bool | None = None  #: whether the rotation axis lies near an edge of the frames
    orientation: Orientation | None = None  #: how stored frames are turned to be seen along the beam
    notes: tuple[str, ...] = ()  #: what the reader left out or took for granted, one sentence each


@dataclass(frozen=True)
class Angles:
    """Rotation angles as recorded; ``unit`` is 'deg', 'rad', or None where the file names none."""

    values: NDArray[np.float64]
    unit: str | None


class FrameSource(Protocol):
    """Raw frames of one acquisition (usually one diffuser position).

    Attributes
    ----------
    name : how messages name the source.
    files : the files it reads.
    shape : (frames, y, x), or (frames, N, y, x) where one dataset holds all diffuser positions.
    dtype : of the raw frames.
    n_flats, n_darks : flat and dark frames that the source holds itself.
    metadata : geometry as the file states it.
    """

    @property
    def name(self) -> str: ...
    @property
    def files(self) -> tuple[Path, ...]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def n_flats(self) -> int: ...
    @property
    def n_darks(self) -> int: ...
    @property
    def metadata(self) -> Metadata: ...

    def read(self, frames: slice = ALL, rows: slice = ALL) -> NDArray:
        """Raw frames (f, y, x) or (f, N, y, x), in the file's dtype.

        Raises
        ------
        InputError
            The file cannot be read (gone, truncated, a missing compression filter).
        """
        ...

    def angles(self) -> Angles | None:
        """Angle of every frame that ``read`` gives; None where the file has none."""
        ...

    def flats(self) -> NDArray | None:
        """Flat frames (k, y, x) or (k, N, y, x); None where the file has none."""
        ...

    def flat_places(self) -> NDArray[np.intp] | None:
        """How many frames of ``read`` were recorded before each flat; None where the file does not say."""
        ...

    def darks(self) -> NDArray | None:
        """Dark frames (k, y, x) or (k, N, y, x); None where the file has none."""
        ...

    def lost(self) -> tuple[NDArray[np.intp], str]:
        """Numbers of frames that the file announces and does not hold, and why; found without reading frames."""
        ...


#: More problems of one kind than this are told as one: what is wrong is said once, and how often.
_ALIKE = 2


class InputProblems(InputError):
    """Everything that is wrong with a scan, one sentence a line; many of one kind in one sentence."""

    def __init__(self, problems: Iterable[InputError]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(first.where, expected=first.expected, found=first.found, hint=first.hint)
        kinds: dict[str, list[InputError]] = {}
        for problem in self.problems:
            kinds.setdefault(re.sub(r"\d+", "", problem.expected), []).append(problem)
        self._parts = tuple(part for kind in kinds.values() for part in _told(kind))
        self.args = ("\n".join(f"{what}; {hint}" if hint else what for what, hint in self._parts),)

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        return self._parts


def _told(kind: list[InputError]) -> list[tuple[str, str]]:
    """Sentences and hints for problems that differ only in where they are."""
    told = [part for problem in kind for part in problem.parts]
    if len(kind) <= _ALIKE:
        return told
    (first, hint), last = told[0], kind[-1].where
    to = "" if last == kind[0].where else f", to {last}"
    return [(f"{first} (and {len(kind) - 1} more like this{to})", hint)]


_UNITS: dict[str, dict[str, float]] = {
    "keV": {"ev": 1e-3, "kev": 1.0, "mev": 1e3, "gev": 1e6, "j": 1 / 1.602176634e-16, "joule": 1 / 1.602176634e-16},
    "m": {
        "m": 1.0, "meter": 1.0, "metre": 1.0, "cm": 1e-2, "centimeter": 1e-2, "centimetre": 1e-2, "mm": 1e-3,
        "millimeter": 1e-3, "millimetre": 1e-3, "um": 1e-6, "micron": 1e-6, "micrometer": 1e-6, "micrometre": 1e-6,
        "nm": 1e-9, "nanometer": 1e-9, "nanometre": 1e-9,
    },
    "s": {"s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "millisecond": 1e-3, "us": 1e-6, "microsecond": 1e-6},
    "deg": {
        "deg": 1.0, "degree": 1.0, "°": 1.0, "rad": 180 / math.pi, "radian": 180 / math.pi,
        "mrad": 0.18 / math.pi, "milliradian": 0.18 / math.pi, "mdeg": 1e-3, "millidegree": 1e-3, "arcmin": 1 / 60,
        "arcminute": 1 / 60, "arcsec": 1 / 3600, "arcsecond": 1 / 3600,
    },
}  # fmt: skip


def unit_factor(unit: str, target: str) -> float | None:
    """Factor from ``unit`` to ``target`` ('keV', 'm', 's' or 'deg'); None where it is not one of its kind."""
    word = unit.strip().lower().removesuffix(".").replace("µ", "u").replace("μ", "u")
    known = _UNITS[target]
    return known.get(word, known.get(word.removesuffix("s")))


def frame_range(chosen: slice, length: int) -> range:
    """The indices that ``chosen`` means on an axis of ``length``.

    Raises
    ------
    InputError
        The slice reaches beyond the axis or runs backwards: numpy would quietly give less than was asked for.
    """
    start, stop, step = chosen.start or 0, length if chosen.stop is None else chosen.stop, chosen.step or 1
    if not (0 <= start <= stop <= length and step > 0):
        raise InputError("frame range", expected=f"a range within 0:{length}", found=f"{start}:{stop}:{step}")
    return range(start, stop, step)
