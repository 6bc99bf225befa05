"""Other ways to the rotation axis than mirror symmetry of the whole scan, to be asked beside it.

* ``opposite``: projections half a turn apart, mirrored. Of a scan over 180 degrees only its two ends are opposite, one
  step short: the projection that lies a step before the first is extrapolated from the first two.
* ``fourier``: power outside the double wedge, as the sum of the modulus over the whole width of the detector (Vo,
  Drakopoulos, Atwood and Reinhard, Optics Express 22, 19078 (2014), doi 10.1364/OE.22.019078).
* ``sharpness``: least entropy of the histogram of trial slices (Donath, Beckmann and Schreyer, J. Opt. Soc. Am. A 23,
  1048 (2006), doi 10.1364/JOSAA.23.001048).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from speckleflow.tomo.axis_cost import MirrorCost
from speckleflow.tomo.backends.registry import make_backend
from speckleflow.tomo.geometry import field_of_view
from speckleflow.tomo.offset import stitch_half_turns
from speckleflow.tomo.opposite import HalfTurns
from speckleflow.tomo.stripes import without_static_stripes

Double = NDArray[np.float64]
Float = NDArray[np.float32]

#: Least error that a method is believed to have, in px: two times its median error in benchmarks/axis.md.
LEAST_ERROR = {"mirror": 0.05, "opposite": 0.1, "fourier": 0.3, "sharpness": 0.3}
#: A vote whose rows scatter by more than this, in px, says nothing.
MOST_SCATTER = 2.0
#: Rows that the slower methods look at, those with the strongest structure.
ROWS = 3
#: Columns to which sinograms are binned for the slower methods: their answer is good to a part of a pixel.
MOST_COLUMNS, MOST_ANGLES = 512, 720
#: Harmonics about 0 that the Fourier method leaves out: the seam and slow drift; at most this part of all.
_LOW, _LOW_PART = 20, 0.05
#: Radius of the sample over half the width, in the Fourier method's wedge.
_WEDGE_RADIUS = 0.9


@dataclass(frozen=True)
class Vote:
    """The axis by one method: the median of its rows, and the error that their scatter shows."""

    method: str
    axis_px: float
    error_px: float

    def text(self) -> str:
        return f"{self.method} {self.axis_px:.2f} \u00b1 {self.error_px:.2f}"


def vote_of(method: str, rows_px: Sequence[float]) -> Vote | None:
    """A vote from the axes of single rows; None where they scatter, or most rows have none."""
    rows = np.asarray(rows_px, float)
    known = rows[np.isfinite(rows)]
    if known.size == 0 or known.size < rows.size / 2:
        return None
    middle = float(np.median(known))
    scatter = 1.4826 * float(np.median(np.abs(known - middle))) if known.size > 1 else 0.0
    if scatter > MOST_SCATTER:
        return None
    # the median of n values is known 1.25 times worse than their mean
    return Vote(method, middle, max(LEAST_ERROR[method], 1.25 * scatter / np.sqrt(known.size)))


def opposite_vote(data: Float, passed: Double, sides: HalfTurns, start: float, reach: float) -> Vote | None:
    """Vote of the opposite projections of all rows (row, angle, x), noise taken off (see ``find_axis``)."""
    centre = start
    rows: list[float] = []
    for width in (reach, 2.0):
        parts = [_opposite_cost(sinogram, passed, sides, centre, width) for sinogram in data]
        low, high = centre - width, centre + width
        rows = [part.minimum(low, high) for part in parts]
        centre = MirrorCost.sum(parts).minimum(low, high)
    vote = vote_of("opposite", rows)
    return None if vote is None else Vote(vote.method, centre, vote.error_px)


def _opposite_cost(
    sinogram: Float, passed: Double, sides: HalfTurns, centre: float, reach: float
) -> MirrorCost:
    front = sides.front(sinogram)
    if sides.full:
        back = sides.back(sinogram)
        step = -(-len(front) // 48)
        return MirrorCost.opposite(front[::step], back[::step], centre, reach, passed)
    before, after = 2 * front[:1] - front[1:2], 2 * front[-1:] - front[-2:-1]
    return MirrorCost.sum(
        [
            MirrorCost.opposite(front[-1:], before, centre, reach, passed),
            MirrorCost.opposite(front[:1], after, centre, reach, passed),
        ]
    )


def fourier_vote(data: Float, sides: HalfTurns, around: Sequence[float]) -> Vote | None:
    """Vote of Vo's Fourier method, searched an eighth of the width about the centre and about ``around``."""
    rows = []
    for sinogram in _strongest(data):
        half, factor = _binned(without_static_stripes(sides.front(sinogram)))
        columns = half.shape[1]
        reach = max(4.0, columns / 8)
        centres = [(columns - 1) / 2, *((axis + 0.5) / factor - 0.5 for axis in around)]
        tried = np.unique(np.concatenate([np.arange(c - reach, c + reach + 1).round() for c in centres]))
        tried = tried[(tried >= columns / 16) & (tried <= columns * 15 / 16)]
        cost = _FourierCost(half)
        coarse = float(tried[int(np.argmin([cost(axis) for axis in tried]))])
        fine = coarse + np.arange(-1.25, 1.26, 0.25)
        axis = minimum_of(fine, np.array([cost(axis) for axis in fine]), 2)
        rows.append((axis + 0.5) * factor - 0.5)
    return vote_of("fourier", rows)


class _FourierCost:
    """Mean modulus outside the double wedge of a half turn followed by its mirror image, moved to an axis.

    What the mirror image leaves empty is filled with the half turn in opposite order, as in the paper.
    """

    def __init__(self, half: Float) -> None:
        count, self.columns = half.shape
        smooth = scipy.ndimage.gaussian_filter(half, 1.0)
        self.mirrored = smooth[:, ::-1]
        self.coefficients = scipy.ndimage.spline_filter1d(self.mirrored, 3, axis=1).astype(np.float32)
        self.filling = smooth[::-1]
        self.here = scipy.fft.rfft(smooth, axis=1)
        harmonic = np.abs(np.fft.fftfreq(2 * count, 1 / (2 * count)))[:, None]
        omega = 2 * np.pi * scipy.fft.rfftfreq(self.columns)
        self.outside = harmonic > _WEDGE_RADIUS * self.columns / 2 * omega
        self.outside &= harmonic > min(_LOW, _LOW_PART * 2 * count)
        self.outside[:, :2] = False

    def __call__(self, axis: float) -> float:
        shift = 2 * axis - (self.columns - 1)
        if shift == round(shift):
            moved = np.roll(self.mirrored, round(shift), axis=1)
        else:
            moved = scipy.ndimage.shift(self.coefficients, (0, shift), order=3, prefilter=False)
        place = np.arange(self.columns) - shift
        gap = (place < 0) | (place > self.columns - 1)
        moved[:, gap] = self.filling[:, gap]
        spectrum = scipy.fft.fft(np.concatenate([self.here, scipy.fft.rfft(moved, axis=1)]), axis=0)
        return float(np.abs(spectrum[self.outside]).mean())


def sharpness_vote(
    data: Float, angles_deg: Double, full: bool, around: Sequence[float], reach: float = 3.0
) -> Vote | None:
    """Vote of trial slices (smoothest filter), within ``reach`` pixels (of the binned image) of every axis given."""
    rows = []
    for sinogram in _strongest(data)[:2]:
        binned, factor = _binned_columns(without_static_stripes(sinogram))
        columns = binned.shape[1]
        centres = [(axis + 0.5) / factor - 0.5 for axis in around]
        grid = np.concatenate([np.round(2 * c) / 2 + np.arange(-reach, reach + 0.25, 0.5) for c in centres])
        tried = np.unique(grid[(grid >= 1) & (grid <= columns - 2)])
        score = _Entropy(binned, angles_deg, full, centres[0])
        values = np.array([score(axis) for axis in tried])
        best = int(np.argmin(values))
        near = np.abs(tried - tried[best]) < 0.75
        if near.sum() < 3:  # at an end of what was tried: no minimum
            rows.append(np.nan)
            continue
        axis = minimum_of(tried[near], values[near], 1)
        rows.append((axis + 0.5) * factor - 0.5)
    return vote_of("sharpness", rows)


class _Entropy:
    """Entropy of the histogram of the slice about an axis, over the values of the slice about a first one."""

    def __init__(self, sinogram: Float, angles_deg: Double, full: bool, axis: float) -> None:
        self.sinogram, self.angles_deg, self.full = sinogram[None], angles_deg, full
        values = self.slice(axis)
        self.range = (float(values.min()), float(values.max()) + 1e-30)

    def slice(self, axis: float) -> Float:
        data, angles, place = self.sinogram, self.angles_deg, axis
        if self.full:
            stitched = stitch_half_turns(data, angles, axis)
            data, angles, place = stitched.sinograms, stitched.angles_deg, stitched.axis_px
        columns = data.shape[2]
        image = make_backend("fourier", angles, columns, place, "parzen", threads=1)(data)[0]
        return np.asarray(image[field_of_view(columns, place)])

    def __call__(self, axis: float) -> float:
        values = np.clip(self.slice(axis), *self.range)
        count = np.histogram(values, 128, self.range)[0]
        share = count[count > 0] / values.size
        return float(-(share * np.log(share)).sum())


def minimum_of(places: Double, values: Double, beside: int) -> float:
    """Place of the minimum by a parabola through the least value and ``beside`` more on either side."""
    least = int(np.clip(np.argmin(values), beside, len(values) - 1 - beside))
    some = slice(least - beside, least + beside + 1)
    bend, slope, _ = np.polyfit(places[some] - places[least], values[some], 2)
    step = float(places[least + 1] - places[least])
    return float(places[least] + (np.clip(-slope / (2 * bend), -step, step) if bend > 0 else 0.0))


def _strongest(data: Float) -> list[Float]:
    """The rows of most variance along x."""
    strength = data.var(axis=2).mean(axis=1)
    return [data[row] for row in np.sort(np.argsort(strength)[::-1][:ROWS])]


def _binned_columns(sinogram: Float) -> tuple[Float, int]:
    factor = -(-sinogram.shape[1] // MOST_COLUMNS)
    columns = sinogram.shape[1] // factor * factor
    binned = sinogram[:, :columns].reshape(len(sinogram), -1, factor).mean(axis=2)
    return np.ascontiguousarray(binned, np.float32), factor


def _binned(half: Float) -> tuple[Float, int]:
    """A half turn with fewer columns and, by means of neighbours, fewer angles."""
    binned, factor = _binned_columns(half)
    together = -(-len(binned) // MOST_ANGLES)
    if len(binned) % together == 0:  # else the seam would be another step than the rest
        binned = binned.reshape(-1, together, binned.shape[1]).mean(axis=1)
    return binned, factor
