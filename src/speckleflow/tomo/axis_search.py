"""The rotation axis as several methods have it: they vote, and what disagrees is a warning with the numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from speckleflow.tomo.axis import AxisResult, find_axis, without_noise
from speckleflow.tomo.opposite import HalfTurns, half_turns
from speckleflow.tomo.stripes import MOST, without_dead_columns
from speckleflow.tomo.votes import LEAST_ERROR, Vote, fourier_vote, opposite_vote, sharpness_vote
from speckleflow.tomo.wedge import Coarse, settled_axis

Double = NDArray[np.float64]
Float = NDArray[np.float32]

#: Axes that differ by less are the same: a quarter of a pixel blurs an edge by less than a pixel does.
SAME_PX = 0.25
#: Axes that differ by more than this, and by more than so many times their error, disagree.
DISAGREE_PX, TIMES_ERROR = 0.5, 3.0
#: A sample leaves the view where the outer columns hold more than this part of its greatest line integral, ...
_CUT = 0.1
#: ... in more than this part of the projections.
_OFTEN = 0.02
#: Axis of a full turn nearer to an edge than this part of the width: half of the sample is outside the view.
EDGE_PART = 0.25
#: So many neighbouring columns without a measurement are filled better than by a straight line.
WIDE_PX = 2
#: Rows that are filled in turns with the search.
FILLED_ROWS = 4


@dataclass(frozen=True)
class AxisSearch:
    """The axis that the votes led to.

    Attributes
    ----------
    axis_px : detector column, pixel centres at integers.
    uncertainty_px : error of the vote that it is taken from.
    method : whose vote that is.
    votes : of every method that has an answer.
    cut_off : whether the sample leaves the view.
    mirror : the search by mirror symmetry, with the axis of single rows and the cost for a picture.
    """

    axis_px: float
    uncertainty_px: float
    method: str
    votes: tuple[Vote, ...]
    cut_off: bool
    mirror: AxisResult = field(repr=False)

    @property
    def disagreeing(self) -> tuple[Vote, ...]:
        """Votes for another axis."""
        return tuple(vote for vote in self.votes if disagrees(vote, self.axis_px, self.uncertainty_px))

    @property
    def supported(self) -> bool:
        """Whether two methods or more have this axis."""
        return len(self.votes) - len(self.disagreeing) >= 2

    @property
    def trusted(self) -> bool:
        """Whether the axis can be used without a look."""
        alone = self.mirror.trusted if self.method == "mirror" else True
        return alone and self.supported and not self.disagreeing

    def warnings(self, offset_axis: bool = False, columns: int | None = None) -> list[str]:
        """What the user has to know; ``columns`` and ``offset_axis`` for an axis near the edge of a full turn."""
        words = []
        numbers = ", ".join(vote.text() for vote in self.votes)
        if self.disagreeing:
            words.append(
                f"the methods disagree on the rotation axis ({numbers} px); {self.axis_px:.2f} px by "
                f"{self.method} is used: look at the trial slices of `speckleflow axis`, set tomography.axis_px if "
                "need be"
            )
        elif not self.trusted:
            words.append(
                f"the rotation axis is uncertain ({numbers} px; {self.axis_px:.2f} px is used): look at the trial "
                "slices of `speckleflow axis`, set tomography.axis_px if need be"
            )
        if columns is not None and self.mirror.span_deg == 360 and not offset_axis:
            edge = min(self.axis_px, columns - 1 - self.axis_px)
            if edge < EDGE_PART * columns:
                words.append(
                    f"the rotation axis lies {edge:.0f} px from the edge of {columns} columns, and the scan is a full "
                    "turn: is it one whose two halves are to be joined? tomography.offset_axis: true joins them"
                )
        return words

    def to_json(self) -> str:
        """The votes for an attribute of a result file."""
        return json.dumps(
            [{"method": v.method, "axis_px": v.axis_px, "error_px": v.error_px} for v in self.votes]
        )


def votes_of(text: str) -> tuple[Vote, ...]:
    """The votes in an attribute that :meth:`AxisSearch.to_json` made."""
    return tuple(Vote(v["method"], float(v["axis_px"]), float(v["error_px"])) for v in json.loads(text))


def disagrees(vote: Vote, axis_px: float, error_px: float) -> bool:
    """Whether a vote is for another axis than this one."""
    away = abs(vote.axis_px - axis_px)
    return away > max(DISAGREE_PX, TIMES_ERROR * float(np.hypot(vote.error_px, error_px)))


def search_axis(
    sinograms: ArrayLike, angles_deg: ArrayLike, missing: NDArray[np.bool_] | None = None
) -> AxisSearch:
    """Rotation axis of line integrals (row, angle, x) of any contrast, by every method.

    Dead columns are filled first, and missing ones of a half turn as :mod:`speckleflow.tomo.wedge` fills them. Mirror
    symmetry of the whole scan is the most precise and leads; where the sample leaves the view, its refinement is biased
    and the opposite projections lead. The lead loses to two methods that agree with each other and not with it, if no
    other agrees with it.

    Parameters
    ----------
    sinograms : (row, angle, x), finite.
    angles_deg : (angle,), covering 180 degrees or more.
    missing : (row, x), columns that were not measured at any angle, whatever was filled in; None: all were.

    Raises
    ------
    InputError
        As :func:`speckleflow.tomo.axis.find_axis`.
    """
    data = np.asarray(sinograms, dtype=np.float32)
    data = data[None] if data.ndim == 2 else data
    angles = np.asarray(angles_deg, dtype=np.float64)
    usable = data.ndim == 3 and bool(np.isfinite(data).all())
    data = without_dead_columns(data) if usable else data
    mirror = find_axis(data, angles)
    sides = half_turns(angles)
    if missing is not None and not sides.full and _matter(missing):
        data, angles, mirror = _filled(data, angles, missing, sides, mirror)
        sides = half_turns(angles)
    clean, passed = without_noise(data)
    near_start = max(4.0, abs(mirror.axis_px - mirror.start_px) + 2)
    votes = [Vote("mirror", mirror.axis_px, max(LEAST_ERROR["mirror"], mirror.uncertainty_px))]
    votes += _given(opposite_vote(clean, passed, sides, mirror.axis_px, near_start))
    if not (
        sides.full and _near_edge(mirror.axis_px, data.shape[2])
    ):  # a wedge needs both sides of the sample
        votes += _given(fourier_vote(clean, sides, [v.axis_px for v in votes]))
    votes += _given(sharpness_vote(clean, angles, sides.full, _apart([v.axis_px for v in votes])))
    cut_off = leaves_the_view(clean)
    best = choose(votes, cut_off)
    return AxisSearch(best.axis_px, best.error_px, best.method, tuple(votes), cut_off, mirror)


def _matter(missing: NDArray[np.bool_]) -> bool:
    """Whether enough neighbouring columns (row, x) are missing for a straight line over them to move the axis."""
    wide = scipy.ndimage.binary_opening(missing, np.ones((1, WIDE_PX), bool))
    return bool(0 < wide.mean() < MOST)


def _filled(
    data: Float, angles_deg: Double, missing: NDArray[np.bool_], sides: HalfTurns, mirror: AxisResult
) -> tuple[Float, Double, AxisResult]:
    """Half turns (row, angle, x) whose missing columns (row, x) are filled about their axis, its angles and mirror."""
    halves = np.stack([sides.front(sinogram) for sinogram in data])
    coarse = Coarse.of(halves, missing)
    if not coarse.fits:
        return data, angles_deg, mirror
    some = slice(None, None, -(-len(data) // FILLED_ROWS))

    def search(axis_px: float) -> float:
        return coarse.fine_px(find_axis(coarse.filled(axis_px, some), coarse.angles_deg).axis_px)

    axis = settled_axis(search, mirror.axis_px)
    if not 0 < axis < data.shape[2] - 1:
        return data, angles_deg, mirror
    filled = coarse.into(halves, missing, axis)
    return filled, sides.angles_deg, find_axis(filled, sides.angles_deg)


def choose(votes: list[Vote], cut_off: bool) -> Vote:
    """The vote that is used, of the first (the mirror's) and others."""
    named = {vote.method: vote for vote in votes}
    lead, opposite = votes[0], named.get("opposite")
    if cut_off and opposite is not None and opposite.error_px < SAME_PX:
        # within its error it says nothing that the more precise one does not
        lead = opposite if abs(opposite.axis_px - lead.axis_px) > opposite.error_px else lead
    others = [vote for vote in votes if vote is not lead]
    against = [vote for vote in others if disagrees(vote, lead.axis_px, lead.error_px)]
    if len(against) < len(others) or len(against) < 2:
        return lead
    for vote in sorted(against, key=lambda v: v.error_px):
        if any(w is not vote and not disagrees(w, vote.axis_px, vote.error_px) for w in against):
            return vote
    return lead


def leaves_the_view(sinograms: Float) -> bool:
    """Whether the outer columns of sinograms (row, angle, x) see the sample in some of the projections."""
    greatest = float(np.percentile(sinograms, 99))
    together = np.median(sinograms, axis=0)  # a stripe of one row is no sample
    outer = np.maximum(np.abs(together[:, :2].mean(-1)), np.abs(together[:, -2:].mean(-1)))
    return bool(greatest > 0 and (outer > _CUT * greatest).mean() > _OFTEN)


def _near_edge(axis: float, columns: int) -> bool:
    return min(axis, columns - 1 - axis) < EDGE_PART * columns


def _given(vote: Vote | None) -> list[Vote]:
    return [] if vote is None else [vote]


def _apart(axes: list[float]) -> list[float]:
    """Axes of which none is within two pixels of an earlier one."""
    kept: list[float] = []
    for axis in axes:
        if all(abs(axis - other) > 2 for other in kept):
            kept.append(axis)
    return kept
