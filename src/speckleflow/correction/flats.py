"""Flats of several times: the beam at each projection, between those recorded before and after it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError
from speckleflow.inspection.agreement import pattern_change
from speckleflow.io.repeats import FrameMean
from speckleflow.io.scan import Scan

Image = NDArray[np.float32]

#: Groups of flats that are kept: a beam that changes faster is not followed by flats.
_MOST_GROUPS = 8
#: Correlation of the pattern of two groups from which the beam between them is not known. A sine that moves by an
#: eighth of its period has it, and the interpolated flat is wrong by 8 % of its amplitude then; by a quarter of the
#: period, by 29 %.
_SAME_BEAM = 0.7
#: Change of such a beam, as a part of the light, that is refused and not only told.
_ANOTHER_BEAM = 0.1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FlatGroups:
    """The beam without sample at several times of a scan, over the dark.

    Attributes
    ----------
    beams : (group, 1 or N, y, x) counts over the dark; 0 where there is no beam.
    at : (group,) number of raw projections recorded before each group, ascending.
    """

    beams: Image
    at: NDArray[np.float64]

    def gain(self, number: int) -> Image:
        """1 / beam (1 or N, y, x) at the middle of a raw projection: linear in time, constant outside the groups."""
        time = number + 0.5
        after = int(np.clip(np.searchsorted(self.at, time), 1, len(self.at) - 1))
        first, last = self.at[after - 1], self.at[after]
        part = np.float32(np.clip((time - first) / (last - first), 0, 1))
        beam = (1 - part) * self.beams[after - 1] + part * self.beams[after]
        return np.divide(np.float32(1), beam, out=np.zeros_like(beam), where=beam > 0)

    def __str__(self) -> str:
        places = ", ".join(f"{place:g}" for place in self.at)
        return f"interpolated between {len(self.at)} groups, after {places} projections"


def read_flat_groups(scan: Scan) -> tuple[NDArray[np.float64], Image] | None:
    """Projections before each group of the sample's flats, and their means; None where one mean serves all.

    The means are counts (group, 1 or N, y, x), NaN where a frame did not measure.

    Raises
    ------
    InputError
        Flats without times are to be interpolated.
    """
    if scan.config.correct.flats == "mean" or scan.total < 2:
        return None
    level, found, parts = scan.config.correct.saturation_level, None, []
    for places, read in scan.flat_stacks():
        if places is None and scan.config.correct.flats == "interpolate":
            raise InputError(
                scan.sample[0].name,
                expected="the times of the flats in the file, for correct.flats: interpolate",
                found="none",
                hint="correct.flats: before_and_after, if they are of both ends of the scan",
            )
        if places is None and scan.config.correct.flats == "auto":
            return None
        frames = read()
        places = _places(places, len(frames), scan)
        groups = _most(np.unique(places))
        if len(groups) < 2 or (found is not None and not np.array_equal(groups, found)):
            return None  # one group, or positions whose flats were recorded at different times
        found = groups
        for words in _moved_beam(frames, places, groups):
            _log.warning("%s: %s", scan.name, words)
        parts.append([FrameMean.from_frames(frames[places == group], saturation=level) for group in groups])
    if found is None:
        return None
    means = [FrameMean.stack(list(group)).mean for group in zip(*parts, strict=True)]
    return found.astype(np.float64), np.stack(means)


def beam_problem(frames: NDArray, where: str, places: NDArray[np.intp] | None = None) -> InputError | None:
    """The error of flats (k, y, x) that show two beams; None: one beam.

    Parameters
    ----------
    frames : in the order of the file.
    where : name of their file.
    places : projections recorded before each flat; None: not known, and the first half is compared with the second.
    """
    if frames.ndim != 3:
        return None
    half = len(frames) // 2
    sets = [("two halves", frames[:half], frames[len(frames) - half :])] if half > 1 else []
    if places is not None:
        sets = [
            (
                f"those after projection {before} and after {after}",
                frames[places == before],
                frames[places == after],
            )
            for before, after in pairwise(np.unique(places).tolist())
        ]
    by_time = "before_and_after" if places is None else "interpolate"
    for what, first, second in sets:
        change = pattern_change(first, second)
        if change is None or change[1] >= _SAME_BEAM or change[0] < _ANOTHER_BEAM:
            continue
        return InputError(
            where,
            expected="flats of one beam",
            found=f"{what}, whose pattern differs by {change[0]:.0%} of the light and correlates by {change[1]:.2f} "
            "only",
            hint=f"name the frames that fit the projections in files.flat; correct.flats: {by_time} puts each "
            "projection between them, mean averages them, all the same",
        )
    return None


def _moved_beam(frames: NDArray, places: NDArray[np.intp], groups: NDArray[np.intp]) -> Iterator[str]:
    """What interpolation between groups of flats (k, y, x) or (k, N, y, x) cannot mend: a pattern that moved far.

    The mean of the groups is no better: its error is larger at every projection but the middle one.
    """
    if frames.ndim == 4:
        frames = frames[:, 0]
    for before, after in pairwise(groups):
        change = pattern_change(frames[places == before], frames[places == after])
        if change is not None and change[1] < _SAME_BEAM:
            yield (
                f"the pattern of the flats after projection {before} and after {after} differs by {change[0]:.0%} of "
                f"the light and correlates by {change[1]:.2f} only: the beam moved by more than its pattern's size, "
                "and both the interpolated flat and their mean are wrong by about as much between them; if one set "
                "fits the projections, name it alone in files.flat"
            )


def _places(places: NDArray[np.intp] | None, count: int, scan: Scan) -> NDArray[np.intp]:
    if places is None or scan.config.correct.flats == "before_and_after":
        return np.where(np.arange(count) < count // 2, 0, scan.total)
    return places


def _most(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """All groups, or as many as are kept, spread over the scan."""
    if len(places) <= _MOST_GROUPS:
        return places
    return places[np.linspace(0, len(places) - 1, _MOST_GROUPS).round().astype(int)]


def flat_groups(scan: Scan, dark: FrameMean | None, scale: float) -> FlatGroups | None:
    """The flats of a scan by their time; None where one mean serves all projections.

    Parameters
    ----------
    dark : mean dark of the sample frames.
    scale : exposure of the sample frames over that of the flats.
    """
    groups = read_flat_groups(scan)
    if groups is None:
        return None
    at, means = groups
    level = np.float32(0) if dark is None else dark.mean
    # a pixel that a group did not measure is bad by the mean of all flats
    beams = np.where(np.isfinite(means), np.float32(scale) * (means - level), np.float32(0))
    return FlatGroups(np.maximum(beams, 0).astype(np.float32), at)
