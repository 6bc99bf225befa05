"""Whether the sample stood still on the axis: its mass and centre of mass in sinograms of the transmission.

The mass of a sample that is wholly in view is the same in every projection, and its centre of mass runs on a
circle: a sine over the angle. What departs from it moved, or is no scan about an axis along the columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from speckleflow.settings import ranges_of

Double = NDArray[np.float64]

#: mass that varies by less over the angles (relative standard deviation) is wholly in view
_WHOLE = 0.05
#: Centres of mass off their circle by more than this, in pixels, and so many times their noise, moved.
_MOVED_PX, _TIMES_NOISE = 0.15, 5.0
#: Largest part of the projections that single ones off the circle are, and rounds of the fit that leaves them out.
_FEW, _ROUNDS = 0.1, 20
#: Largest part of the mean square off the circle that is left where single projections are the reason.
_LEFT = 0.1
#: The mass of rows varies with the angle by so much, and by so many times that of columns, if the axis lies along rows.
_ROW_PART, _TIMES_COLUMNS = 0.1, 4.0


def motion_warning(sinograms: Double, angles_deg: Double) -> str | None:
    """Motion of the sample during the scan, in words; None where there is none, or the sample is not all in view.

    Parameters
    ----------
    sinograms : (row, angle, x), line integrals of the transmission.
    angles_deg : (angle,).
    """
    count = len(angles_deg)
    if count < 12:
        return None
    total = sinograms.sum(0)
    mass = total.sum(1)
    if np.median(mass) <= 0 or np.std(mass) > _WHOLE * np.median(mass):
        return None
    centre = (total @ np.arange(total.shape[1], dtype=np.float64)) / mass
    angle = np.deg2rad(angles_deg)
    terms = circle_terms(angle)
    away = centre - terms @ np.linalg.lstsq(terms, centre, rcond=None)[0]
    order = np.arange(count)
    noise = 1.4826 * float(np.median(np.abs(np.diff(away, 2)))) / np.sqrt(6)
    rms = float(np.sqrt(np.mean(away**2)))
    # a steady drift lies almost along the circle over half a turn, but is left in all projections alike
    drift = _with(terms, order / (count - 1), centre)
    steady = np.sqrt(max(rms**2 - drift.rest, 0.0)) > _TIMES_NOISE * noise / np.sqrt(count)
    if rms < _MOVED_PX or (rms < _TIMES_NOISE * noise and not steady):
        return None
    single, most = _single(terms, centre, noise)
    if single:
        those = "projection" if len(single) == 1 else "projections"
        return (
            f"the sample of {those} {ranges_of(single)} lies up to {most:.1f} px from where that of the others does "
            f"(noise {noise:.2f} px): exchanged, turned, or of another scan? correct.exclude_projections: "
            f"'{ranges_of(single)}' leaves out the {those}"
        )
    # one step, found where it explains most
    steps = {split: _with(terms, order >= split, centre) for split in range(2, count - 2)}
    at = min(steps, key=lambda split: steps[split].rest)
    how, left = "slowly", 0.2 * rms**2 + 2 * noise**2
    for factor, words in ((2.0, "half"), (0.5, "twice")):
        other = _rest(circle_terms(factor * angle), centre)
        if other < min(2 * noise**2, 0.25 * drift.rest, 0.25 * steps[at].rest):
            return (
                f"the angles seem to be {words} of what they are: the sample's centre of mass is off its circle by "
                f"{rms:.2f} px, and by {np.sqrt(other):.2f} px with {factor:g} times these angles; does the scan cover "
                f"{factor * (np.ptp(angles_deg) + np.ptp(angles_deg) / (count - 1)):.0f} degrees?"
            )
    what_to_do = "correct.exclude_projections or files.frames leaves projections out"
    if steps[at].rest < min(left, drift.rest):
        how = f"by {steps[at].size:+.1f} px at projection {at}"
    elif drift.rest < left:
        how = f"steadily, by {drift.size:+.1f} px over the scan"
        what_to_do = "the rotation axis takes up most of it, the rest blurs the edges"
    return (
        f"the sample moved {how}: its centre of mass is off its circle by {rms:.2f} px (noise {noise:.2f} px); "
        f"{what_to_do}"
    )


def circle_terms(angle: Double) -> Double:
    """Terms (angle, 3) of a centre of mass on a circle, for angles in radians."""
    return np.stack([np.ones(len(angle)), np.cos(angle), np.sin(angle)], 1)


def _single(terms: Double, centre: Double, noise: float) -> tuple[list[int], float]:
    """Single projections off the circle of all others, and how far at the most; none where others are off it too."""
    weights, away = np.ones(len(centre)), centre
    for _ in range(_ROUNDS):  # least absolute differences, by weighted least squares
        solution = np.linalg.lstsq(terms * weights[:, None], centre * weights, rcond=None)[0]
        away = np.abs(centre - terms @ solution)
        weights = 1 / np.sqrt(np.maximum(away, max(noise, 1e-6)))
    least = max(_MOVED_PX, _TIMES_NOISE * noise)
    off = away > least
    if not 0 < off.mean() <= _FEW:
        return [], 0.0
    rest = float(np.mean(away[~off] ** 2))
    if rest > min(4 * noise**2, _LEFT * float(np.mean(away**2))):
        return [], 0.0
    return np.flatnonzero(off).tolist(), float(away.max())


class _Wider(NamedTuple):
    """A circle fitted together with one more term: the mean square that is left, and the size of the term."""

    rest: float
    size: float


def _rest(terms: Double, centre: Double) -> float:
    """Mean square that a fit of the terms leaves."""
    return float(np.mean((centre - terms @ np.linalg.lstsq(terms, centre, rcond=None)[0]) ** 2))


def _with(terms: Double, term: NDArray, centre: Double) -> _Wider:
    wider = np.column_stack([terms, term])
    solution = np.linalg.lstsq(wider, centre, rcond=None)[0]
    return _Wider(float(np.mean((centre - wider @ solution) ** 2)), float(solution[3]))


def lying_axis_warning(images: Double) -> str | None:
    """Whether the rotation axis seems to lie along the rows, by a few projections (angle, y, x) of line integrals."""
    if len(images) < 4:
        return None
    rows, columns = (_variation(images.sum(axis)) for axis in (2, 1))
    if rows < max(_ROW_PART, _TIMES_COLUMNS * columns):
        return None
    return (
        f"the mass of each row varies by {rows:.0%} over the angles, that of each column by {columns:.0%}: does the "
        "rotation axis lie along the rows? files.transpose: true turns the frames"
    )


def _variation(mass: Double) -> float:
    """Standard deviation over the angles of sums (angle, line), relative to the mean mass of a line."""
    mean = float(np.abs(mass).mean())
    return float(mass.std(0).mean()) / mean if mean > 0 else 0.0
