"""Level and place of every projection, from the moments of a sinogram (Helgason-Ludwig consistency conditions).

Line integrals of one sample have, row by row, the same sum at every angle, and a centre of mass that is
``a + b cos(angle) + c sin(angle)`` (F. Natterer, The Mathematics of Computerized Tomography, SIAM 2001, theorem
II.4.2). So, of a sample that is wholly in view from side to side:

* the sums of the rows of one projection are those of all, moved along y and raised by the projection's level;
* what its centre of mass is off that curve is its displacement along x.

A displacement along the curve (steady over few degrees, or once a turn) is no other data than a sample at another
place, and is left. Along y the sums tell it only where rows differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import InputError
from speckleflow.tomo.gaps import longest_run
from speckleflow.tomo.motion import circle_terms

Double = NDArray[np.float64]

#: fewest projections that a curve is fitted to
LEAST_PROJECTIONS = 12
#: farthest displacement along y that is looked for, in px (at most a sixth of the height)
REACH_PX = 20
#: Worst error of a displacement that is worth taking off; how many times it the displacements must be, and their least
#: root mean square: less blurs nothing, and a spline is not free.
WORST_ERROR_PX, TIMES_ERROR, LEAST_PX = 0.25, 2.0, 0.05
#: Sums of rows that vary by more than this part of them, whatever the level: the sample is not wholly in view.
WHOLE = 0.05
#: Row sums are multiples of their mean where that leaves less than this part of what a level leaves.
STRONGER = 0.9
#: Bands of rows whose centres of mass are compared, and rounds of the fit along y.
_BANDS, _ROUNDS = 16, 8
#: rows beside the displaced ones that are left out: the spline at the image's edge
_RIM = 2


@dataclass(frozen=True)
class Moments:
    """Sums of line integrals along x, and of line integrals times the column from the middle, (projection, y) each."""

    mass: Double
    first: Double
    columns: int

    @classmethod
    def of(cls, integrals: ArrayLike) -> Moments:
        """Moments of line integrals (projection, y, x)."""
        values = np.asarray(integrals, np.float32)
        columns = values.shape[2]
        place = np.arange(columns) - (columns - 1) / 2
        return cls(values.sum(2, dtype=np.float64), values.astype(np.float64) @ place, columns)

    @classmethod
    def joined(cls, parts: Sequence[Moments]) -> Moments:
        """Moments of projections that follow each other."""
        mass, first = (np.concatenate([getattr(part, key) for part in parts]) for key in ("mass", "first"))
        return cls(mass, first, parts[0].columns)

    def of_projections(self, part: slice) -> Moments:
        """Moments of some of the projections."""
        return Moments(self.mass[part], self.first[part], self.columns)


@dataclass(frozen=True)
class Movement:
    """What the moments of one contrast say of every projection.

    Attributes
    ----------
    level : (projection,), line integral that every pixel has too much; the mean over the projections is 0.
    x_px, y_px : (projection,), how far the sample lies to the right and downward.
    x_error_px, y_error_px : standard deviation of one of them; inf where the rows do not tell.
    rest : root mean square of what is left of the row sums, over their mean; inf without a sample.
    stronger : whether the row sums are rather multiples of their mean than raised by a level: the sample is stronger
        at some angles than at others, as scattering by fibres is.
    """

    level: Double
    x_px: Double
    y_px: Double
    x_error_px: float
    y_error_px: float
    rest: float
    stronger: bool = False

    @property
    def whole(self) -> bool:
        """Whether the row sums are those of a sample that is wholly in view."""
        return self.rest <= WHOLE

    @property
    def scatter_px(self) -> float:
        """Root mean square of the displacement along x; least in the contrast with the least noise."""
        return _rms(self.x_px) if self.whole else float("inf")


@dataclass(frozen=True)
class Alignment:
    """What is taken off the projections of a scan.

    Attributes
    ----------
    shift_px : (projection, 2), displacement along x and y in px; 0 where it is not taken off.
    levels : contrast -> (projection,), line integral that every pixel has too much.
    contrast : that the displacements were measured in; empty where none is taken off.
    words : what was done, for files and the report.
    """

    shift_px: Double
    levels: Mapping[str, Double] = field(default_factory=dict)
    contrast: str = ""
    words: str = ""

    @property
    def moves(self) -> bool:
        """Whether a displacement is taken off."""
        return bool(self.shift_px.any())

    @property
    def reach_px(self) -> float:
        """Greatest displacement along y."""
        return float(np.abs(self.shift_px[:, 1]).max(initial=0.0))

    def level_off(
        self, contrast: str, values: NDArray[np.float32], projections: slice | NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Values (projection, y, x) of a contrast without the level of each projection."""
        if contrast not in self.levels:
            return values
        level = self.levels[contrast][projections, None, None].astype(np.float32)
        return values + level if contrast == "phase" else values * np.exp(level)


def measure_movement(moments: Moments, angles_deg: ArrayLike, *, leaning: bool = False) -> Movement:
    """Level and displacement of every projection of one turn from its moments.

    Parameters
    ----------
    moments : of all rows of the detector; those that are not finite are left out.
    angles_deg : (projection,).
    leaning : whether the axis may be tilted: rows then cut other slices on the other side, and a displacement along y
        that follows a sine of the angle is left.

    Raises
    ------
    InputError
        Fewer than twelve projections, or another number of angles.
    """
    angle = np.deg2rad(np.asarray(angles_deg, np.float64))
    count = len(moments.mass)
    if count < LEAST_PROJECTIONS or angle.shape != (count,):
        raise InputError(
            "projections to be aligned",
            expected=f"at least {LEAST_PROJECTIONS}, with an angle each",
            found=f"{count} and {angle.size} angles",
        )
    rows = longest_run(np.asarray(np.isfinite(moments.mass + moments.first).all(0)))
    mass, first, columns = moments.mass[:, rows], moments.first[:, rows], moments.columns
    none = np.zeros(count)
    if mass.shape[1] == 0 or not np.median(mass.sum(1)) > 0:
        return Movement(none, none, none, np.inf, np.inf, np.inf)
    terms = circle_terms(angle)
    y, y_error = _along_y(mass)
    if leaning:
        y = y - terms @ np.linalg.lstsq(terms, y, rcond=None)[0]
    if y_error > WORST_ERROR_PX:
        y, y_error = none, np.inf
    inner = _inner(mass.shape[1], y)
    mass, first = _moved(mass, y)[:, inner], _moved(first, y)[:, inner]
    level = mass.mean(1) - mass.mean()
    mean = mass.mean(0)
    rest = _rms(mass - mean - level[:, None])
    multiple = _rms(mass - np.outer(mass @ mean / (mean @ mean), mean))
    x, x_error = _along_x(mean, first, terms)
    relative = rest / max(float(mean.mean()), np.finfo(np.float64).tiny)
    return Movement(level / columns, x, y, x_error, y_error, relative, multiple < STRONGER * rest)


def _along_y(mass: Double) -> tuple[Double, float]:
    """Displacement of the row sums (projection, y) along y against their mean, and its standard deviation."""
    count, height = mass.shape
    reach = min(REACH_PX, height // 6)
    if reach < 1:
        return np.zeros(count), np.inf
    y = _whole_pixels(mass, reach)
    for _ in range(_ROUNDS):
        inner = _inner(height, y)
        moved = _moved(mass, y)
        part = moved[:, inner] - moved[:, inner].mean(1, keepdims=True)
        slope = np.gradient(moved.mean(0))[inner]
        slope = slope - slope.mean()
        rest = part - part.mean(0)
        power = float(slope @ slope)
        if power == 0:
            return np.zeros(count), np.inf
        step = np.clip(rest @ slope / power, -1, 1)
        y = np.clip(y - step - np.mean(y - step), -reach, reach)
    # the mean's own noise has slopes too: those of two halves of the projections have only the sample in common
    halves = [np.gradient(moved[k::2].mean(0))[inner] for k in range(2)]
    common = float((halves[0] - halves[0].mean()) @ (halves[1] - halves[1].mean()))
    noise = float(np.mean((rest - np.outer(rest @ slope / power, slope)) ** 2))
    return y, float(np.sqrt(noise / common)) if common > 0 else np.inf


def _whole_pixels(mass: Double, reach: int) -> Double:
    """Displacement (projection,) in whole pixels at which the row sums fit their mean best, whatever their level."""
    y = np.zeros(len(mass))
    inner = slice(reach, mass.shape[1] - reach)
    for _ in range(2):  # the mean of displaced sums is blurred
        mean = np.median(_moved(mass, y), axis=0)[inner]
        costs = []
        for step in range(-reach, reach + 1):
            rest = mass[:, reach + step : mass.shape[1] - reach + step] - mean
            costs.append(rest.var(1))
        y = np.argmin(costs, axis=0) - float(reach)
        y = y - np.round(np.median(y))
    return y


def _along_x(mean: Double, first: Double, terms: Double) -> tuple[Double, float]:
    """Displacement (projection,) of the centre of mass along x from its curve, and its standard deviation.

    Rows count by their mass: those without a sample bring noise alone. Bands of rows in turns make two centres of mass
    with the same displacement and independent noise, by which the error is known.
    """
    weight = np.maximum(mean, 0)

    def off_curve(rows: NDArray[np.intp]) -> tuple[Double, float]:
        total = float(weight[rows] @ mean[rows])
        if total <= 0:
            return np.full(len(first), np.inf), 0.0
        centre = first[:, rows] @ weight[rows] / total
        return centre - terms @ np.linalg.lstsq(terms, centre, rcond=None)[0], total

    height = len(mean)
    all_rows = np.arange(height)
    x, total = off_curve(all_rows)
    bands = all_rows * min(_BANDS, height) // height % 2
    (one, mass_one), (other, mass_other) = (off_curve(np.flatnonzero(bands == k)) for k in range(2))
    if not mass_one or not mass_other:
        return x, np.inf
    return x, _rms(one - other) * np.sqrt(mass_one * mass_other) / total


def _moved(values: Double, y: Double) -> Double:
    """Values (projection, y) at each row plus the displacement of the projection, by cubic splines."""
    if not y.any():
        return values
    place = np.arange(values.shape[1]) + y[:, None]
    numbers = np.broadcast_to(np.arange(len(values))[:, None], place.shape)
    return np.asarray(scipy.ndimage.map_coordinates(values, [numbers, place], order=3, mode="nearest"))


def _inner(height: int, y: Double) -> slice:
    """Rows that every projection saw, whatever its displacement."""
    if not y.any():
        return slice(0, height)
    rim = min(int(np.ceil(np.abs(y).max())) + _RIM, height // 4)
    return slice(rim, height - rim)


def _rms(values: Double) -> float:
    return float(np.sqrt(np.mean(values**2)))
