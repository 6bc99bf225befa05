"""Names of the files in a folder as evidence: one complete series of frames, or what else they are."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError

#: A series of this part of equal steps is numbered; of less, its numbers are times or positions.
_EQUAL_STEPS = 0.5
#: kinds of names, and missing numbers, that a message lists
_LISTED = 4


@dataclass(frozen=True)
class Series:
    """The frames that a folder's names number.

    Attributes
    ----------
    numbers : place of each file in the complete series, ascending from 0.
    length : of the complete series.
    first, step : number in the name of the first file, and between one file and the next.
    """

    numbers: NDArray[np.intp]
    length: int
    first: int = 0
    step: int = 1

    @property
    def missing(self) -> list[int]:
        """Places without a file."""
        return np.setdiff1d(np.arange(self.length), self.numbers).tolist()

    def described(self) -> str:
        """The missing ones by the numbers that their names would have."""
        names = [self.first + self.step * place for place in self.missing]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        return ", ".join(map(str, names[:_LISTED])) + more


def natural_key(name: str) -> list[str | int]:
    """Sorting key that counts: image_2 comes before image_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def read_series(names: Sequence[str], where: str) -> Series:
    """The series that file names, in natural order, make.

    Parameters
    ----------
    names : without their folder.
    where : how messages call the folder.

    Raises
    ------
    InputError
        Names of several kinds, a number twice, or two numbers that vary independently.
    """
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in names:
        kinds[re.sub(r"\d+", "#", name)].append(name)
    if len(kinds) > 1:
        listed = [_kind(kind, members) for kind, members in sorted(kinds.items(), key=lambda k: -len(k[1]))]
        more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
        raise InputError(
            where,
            expected="names of one kind, as one series of frames has them",
            found=f"names of {len(kinds)} kinds: {', '.join(listed[:_LISTED])}{more}",
            hint="choose those of the frames by a pattern such as folder/proj_*.tif",
        )
    if len(names) < 3:
        return Series(np.arange(len(names)), len(names))
    table = np.array([[int(n) for n in re.findall(r"\d+", name)] for name in names], dtype=object)
    varying = [column for column in range(table.shape[1]) if len(set(table[:, column])) > 1]
    if not varying:
        return Series(np.arange(len(names)), len(names))
    distinct = [len(set(table[:, column])) for column in varying]
    if len(varying) > 1 and int(np.prod(distinct[-2:])) == len(names):
        raise InputError(
            where,
            expected="one number that counts the frames in the files' names",
            found=f"two that vary, {distinct[-2]} x {distinct[-1]} as in {names[0]}",
            hint="put {position} in the place of one of them in the pattern",
        )
    for column in reversed(varying):
        numbers = [int(n) for n in table[:, column]]
        if twice := [n for n, count in Counter(numbers).items() if count > 1]:
            if len(varying) > 1:
                continue
            same = [name for name, number in zip(names, numbers, strict=True) if number == twice[0]]
            raise InputError(
                where, expected="each number once", found=f"{' and '.join(same[:2])} (copies?)",
                hint="choose one set by a pattern",
            )  # fmt: skip
        steps = np.diff(np.array(numbers, dtype=np.float64))
        if np.any(steps <= 0):
            continue
        step, count = Counter(steps.tolist()).most_common(1)[0]
        places = (np.array(numbers, dtype=np.float64) - numbers[0]) / step
        if count < _EQUAL_STEPS * len(steps) or np.any(places != np.round(places)):
            continue
        index = places.astype(np.intp)
        return Series(index, int(index[-1]) + 1, numbers[0], int(step))
    return Series(np.arange(len(names)), len(names))


def _kind(kind: str, members: list[str]) -> str:
    """'proj_#.tif (120)', or the name itself where there is one of its kind."""
    return members[0] if len(members) == 1 else f"{kind} ({len(members)})"
