"""References of several times: the diffuser at each projection, where it moved during the scan.

    sets = find_sets(scan)                     where each set stands in the files, and when it was recorded
    correction.references.stack(number)        the reference (N, y, x) of a raw projection

One set at a time is read, two are held: a scan may have any number of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speckleflow.correction.moved import Motion, pattern_motion, shifted
from speckleflow.errors import InputError
from speckleflow.inspection.agreement import pattern_change
from speckleflow.io.base import FrameSource
from speckleflow.io.roles import AS_FLATS
from speckleflow.io.scan import Scan

Image = NDArray[np.float32]
How = Literal["nearest", "interpolate"]

#: a movement is seen where it is so many times its error, and told from so many pixels on
_SEEN, _TOLD_PX = 5.0, 0.05
#: patterns that correlate less than this are not one that moved
_SAME = 0.3


@dataclass(frozen=True)
class FoundSets:
    """Where the sets of reference frames stand.

    Attributes
    ----------
    at : (set,) number of raw projections recorded before each set, ascending.
    frames : of each file of references, the numbers of its frames in each set.
    """

    at: NDArray[np.intp]
    frames: tuple[tuple[NDArray[np.intp], ...], ...]

    def of(self, number: int) -> list[NDArray[np.intp]]:
        """Frames of one set in each file."""
        return [groups[number] for groups in self.frames]

    def of_file(self, file: int) -> list[NDArray[np.intp]]:
        """Frames of each set in one file."""
        return list(self.frames[file])

    def __str__(self) -> str:
        return f"{len(self.at)} sets, after {', '.join(map(str, self.at.tolist()))} projections"


class ReferenceSets:
    """The corrected reference stack at several times of a scan.

    Parameters
    ----------
    at : (set,) number of raw projections recorded before each set, ascending.
    how : the nearest set in time, or between the two around a projection.
    moved_px : (set - 1, N, 2) movement (y, x) of each pattern from one set to the next.
    read : the corrected stack (N, y, x) of a set.
    """

    def __init__(
        self, at: NDArray, how: How, moved_px: NDArray[np.float64], read: Callable[[int], Image]
    ) -> None:
        self.at, self.how, self.moved_px, self.read = np.asarray(at, np.float64), how, moved_px, read
        self._held: dict[int, Image] = {}
        self._parts: tuple[tuple[int, float], ...] = ()
        self._stack: Image | None = None

    def parts(self, number: int) -> tuple[tuple[int, float], ...]:
        """Sets, and the part of each, that the reference of a raw projection is made of."""
        time = number + 0.5
        after = int(np.searchsorted(self.at, time))
        if after in (0, len(self.at)):
            return ((min(after, len(self.at) - 1), 1.0),)
        part = float((time - self.at[after - 1]) / (self.at[after] - self.at[after - 1]))
        if self.how == "nearest":
            return ((after - (part <= 0.5), 1.0),)
        return ((after - 1, 1 - part), (after, part))

    def stack(self, number: int) -> Image:
        """The reference (N, y, x) of a raw projection; the same array while it is the same."""
        parts = self.parts(number)
        if parts != self._parts or self._stack is None:
            self._stack = None
            self._held = {k: self._held[k] if k in self._held else self.read(k) for k, _ in parts}
            self._parts, self._stack = parts, self._made(parts)
        return self._stack

    def _made(self, parts: tuple[tuple[int, float], ...]) -> Image:
        (first, before), *rest = parts
        if not rest:
            return self._held[first]
        ((second, after),) = rest
        made = np.empty_like(self._held[first])
        for n, (dy, dx) in enumerate(self.moved_px[first]):
            made[n] = np.float32(before) * shifted(self._held[first][n], after * dy, after * dx)
            made[n] += np.float32(after) * shifted(self._held[second][n], -before * dy, -before * dx)
        return made

    def runs(self, numbers: NDArray[np.intp]) -> list[slice]:
        """Ranges of raw projections that have one reference."""
        changes = [k for k in range(1, len(numbers)) if self.parts(numbers[k]) != self.parts(numbers[k - 1])]
        return [slice(first, last) for first, last in pairwise([0, *changes, len(numbers)])]

    def __str__(self) -> str:
        how = "nearest" if self.how == "nearest" else "interpolated between"
        moved = ", ".join(f"{np.hypot(*step.T).mean():.2f}" for step in self.moved_px)
        places = ", ".join(f"{place:g}" for place in self.at)
        return f"{how} of {len(self.at)} sets, after {places} projections; the pattern moved by {moved} px"


def find_sets(scan: Scan) -> FoundSets | None:
    """The sets of reference frames of a scan; None where it has one, or nothing says of several.

    Raises
    ------
    InputError
        ``correct.references`` or ``reference_places`` asks for sets that the files do not have.
    """
    settings = scan.config.correct
    asked = settings.references != "mean" or settings.reference_places != "file"
    if not scan.has_reference:
        return None
    found: list[tuple[NDArray[np.intp], tuple[NDArray[np.intp], ...]]] = []
    for source in scan.reference:
        places, numbers = _places(scan, source)
        if places is None:
            if asked:
                raise InputError(
                    source.name,
                    expected="the times of the reference sets in the file, for correct.references: "
                    f"{settings.references}",
                    found="none",
                    hint="correct.reference_places: the number of projections recorded before each set, such as "
                    f"[0, {scan.total}], or names, where the images' names end in it",
                )
            return None
        at = np.unique(places)
        found.append((at, tuple(numbers[places == place] for place in at)))
    at = found[0][0]
    for source, (other, _) in zip(scan.reference, found, strict=True):
        if not np.array_equal(other, at):
            raise InputError(
                source.name,
                expected=f"reference sets after {_listed(at)} projections as in {scan.reference[0].name}",
                found=f"after {_listed(other)}",
            )
    if at[0] < 0 or at[-1] > scan.total:
        raise InputError(
            scan.reference[0].name,
            expected=f"reference sets after 0 to {scan.total} projections",
            found=f"after {_listed(at)}",
            hint="correct.reference_places counts projections, and no frames of the references",
        )
    if len(at) < 2:
        if settings.references == "mean":
            return None
        raise InputError(
            scan.reference[0].name,
            expected=f"two sets of reference frames or more, for correct.references: {settings.references}",
            found=f"one, after {at[0]} projections",
            hint="correct.references: mean",
        )
    return FoundSets(at, tuple(frames for _, frames in found))


def _listed(at: NDArray[np.intp]) -> str:
    return ", ".join(map(str, at.tolist()))


def _places(scan: Scan, source: FrameSource) -> tuple[NDArray[np.intp] | None, NDArray[np.intp]]:
    """Raw projections recorded before each frame (repeat) of a file of references (None: not known), and its number."""
    stated = scan.config.correct.reference_places
    as_flats = scan.config.files.reference_dataset == AS_FLATS
    # frames (N, y, x) of one file are positions, each recorded once
    once = len(scan.reference) == 1 and scan.n_positions > 1 and len(source.shape) == 3
    count = 1 if once else source.n_flats if as_flats else source.shape[0]
    numbers = np.arange(count)
    if stated == "file":
        return (source.flat_places() if as_flats and not once else None), numbers
    if stated == "names":
        numbers = np.setdiff1d(numbers, source.lost()[0])
        return _named(source, len(numbers)), numbers
    if count % len(stated):
        raise InputError(
            source.name,
            expected=f"as many reference frames in each of {len(stated)} sets (correct.reference_places)",
            found=f"{count} reference frame{'s' * (count != 1)} of each position",
        )
    return np.repeat(np.asarray(stated, np.intp), count // len(stated)), numbers


def _named(source: FrameSource, count: int) -> NDArray[np.intp]:
    """The last number in the name of each image."""
    found = [re.findall(r"\d+", path.stem) for path in source.files]
    if len(found) != count or not all(found):
        raise InputError(
            source.name,
            expected="an image a reference frame whose name ends in the number of projections before it "
            "(correct.reference_places: names)",
            found=f"{len(found)} file(s) of {count} frames" if all(found) else "names without a number",
        )
    return np.array([int(numbers[-1]) for numbers in found], np.intp)


def make_sets(scan: Scan, found: FoundSets, read: Callable[[int], Image]) -> ReferenceSets:
    """The sets of a scan, with the movement of the pattern from one to the next.

    Parameters
    ----------
    found : of :func:`find_sets`.
    read : the corrected stack (N, y, x) of a set.

    Raises
    ------
    InputError
        Interpolation between two patterns that are not one.
    """
    how = scan.config.correct.references
    assert how != "mean"
    before, steps = read(0), []
    for number in range(1, len(found.at)):
        after = read(number)
        motions = [pattern_motion(a, b) for a, b in zip(before, after, strict=True)]
        alike = min(motion.correlation for motion in motions)
        if how == "interpolate" and alike < _SAME:
            raise InputError(
                scan.reference[0].name,
                expected="one pattern in all reference sets, for correct.references: interpolate",
                found=f"patterns after {found.at[number - 1]} and {found.at[number]} projections that correlate by "
                f"{alike:.2f}",
                hint="correct.references: nearest, if the diffuser was put elsewhere between them",
            )
        steps.append([(m.y_px, m.x_px) if _seen(m) else (0.0, 0.0) for m in motions])
        before = after
    return ReferenceSets(found.at, how, np.array(steps), read)


def _seen(motion: Motion) -> bool:
    return motion.correlation >= _SAME and motion.length_px > _SEEN * motion.error_px


def set_changes(frames: NDArray, found: FoundSets, groups: Sequence[NDArray[np.intp]]) -> Iterator[str]:
    """What the sets of reference frames (k, y, x) or (k, N, y, x) of one file differ by, beyond their noise."""
    frames = frames[:, 0] if frames.ndim == 4 else frames
    for (before, first), (after, second) in pairwise(zip(found.at.tolist(), groups, strict=True)):
        a, b = frames[first], frames[second]
        motion = pattern_motion(a.mean(0, dtype=np.float64), b.mean(0, dtype=np.float64))
        words = []
        if _seen(motion) and motion.length_px > _TOLD_PX:
            words.append(f"moved by {motion.length_px:.2f} px")
        # the noise of a single frame is not known
        change = pattern_change(a, b) if min(len(a), len(b)) > 1 else None
        if change is not None:
            words.append(f"differ by {change[0]:.1%} of the light")
        if words:
            yield f"the patterns after {before} and after {after} projections {' and '.join(words)}"
