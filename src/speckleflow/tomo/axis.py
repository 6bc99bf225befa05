"""Rotation axis from the data: a projection seen from behind is its own mirror image about the axis.

Start: correlation of opposite projections. Refinement, over all of the data:

* 360 degrees: mean square difference between each projection and the mirrored one from the other side;
* 180 degrees: the mirrored scan is appended as its other half. The Fourier transform of a sinogram about the
  true axis is empty outside a double wedge |n| > R omega (n: angular harmonic, omega: detector frequency, R:
  radius seen), and a wrong axis leaks power into it (Vo, Drakopoulos, Atwood and Reinhard, Optics Express 22,
  19078 (2014)). Here the power is summed, the likelihood of white noise, where the paper sums the modulus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from speckleflow.errors import InputError
from speckleflow.tomo.axis_cost import STEP_PX, MirrorCost
from speckleflow.tomo.opposite import HalfTurns, half_turns

Double = NDArray[np.float64]

#: Opposite pairs used for the start; more do not move a start of pixel accuracy.
START_PAIRS = 48
#: Smallest overlap of a projection and its mirror image, as a part of the columns.
LEAST_OVERLAP = 0.1
#: Passes with which the detector window follows the axis; a sample inside the image needs one.
WINDOW_PASSES = 5
#: An axis known worse than this blurs or doubles edges visibly (half a pixel is half a step of an edge).
TRUSTED_PX = 0.5
#: Noise alone has its deepest of some tens of tried axes at 2 to 3 standard deviations.
SIGNIFICANT = 6.0


@dataclass(frozen=True)
class AxisResult:
    """Rotation axis and how well the data fix it.

    Attributes
    ----------
    axis_px : detector column, pixel centres at integers.
    uncertainty_px : one standard deviation: from the curvature of the cost and what is left at its minimum,
        widened where the rows scatter by more than that.
    significance : depth of the cost's minimum in standard deviations of noise.
    start_px : the axis from the correlation of opposite projections alone.
    tried_px, costs : axes around the result and their cost, relative to the power of the data; for a picture.
    span_deg : 180 or 360, what the data were used as.
    rows_px : the axis from each row alone.
    """

    axis_px: float
    uncertainty_px: float
    significance: float
    start_px: float
    tried_px: Double
    costs: Double
    span_deg: int
    rows_px: Double

    @property
    def trusted(self) -> bool:
        """Whether the axis can be used without a look: a deep, sharp minimum, near where the start had it."""
        near = abs(self.axis_px - self.start_px) <= 0.25 * np.ptp(self.tried_px)
        deep = self.significance >= SIGNIFICANT
        return bool(near and deep and self.uncertainty_px <= TRUSTED_PX)


def find_axis(
    sinograms: ArrayLike, angles_deg: ArrayLike, search_px: tuple[float, float] | None = None
) -> AxisResult:
    """Rotation axis of line integrals (row, angle, x), from a few rows together.

    Transmission (-ln T) serves best. The sense of rotation does not matter; angles may be in any order.

    Parameters
    ----------
    sinograms : (row, angle, x) or (angle, x), finite.
    angles_deg : (angle,), covering 180 degrees or more.
    search_px : least and greatest axis; default: where a tenth of the image overlaps its mirror image.

    Raises
    ------
    InputError
        Shapes that do not fit, values that are not finite, less than 180 degrees, or nothing but a constant.
    """
    data = np.asarray(sinograms, dtype=np.float32)
    data = data[None] if data.ndim == 2 else data
    angles = np.asarray(angles_deg, dtype=np.float64)
    if data.ndim != 3 or angles.shape != data.shape[1:2]:
        raise InputError(
            "sinograms for the rotation axis", expected=f"shape (row, {angles.size} angles, x)",
            found=f"shape {data.shape}",
        )  # fmt: skip
    if not np.isfinite(data).all():
        bad = np.count_nonzero(~np.isfinite(data))
        raise InputError(
            "sinograms for the rotation axis",
            expected="finite values",
            found=f"{bad} NaN or infinite value(s)",
        )
    if not np.ptp(data, axis=-1).any():
        raise InputError(
            "sinograms for the rotation axis", expected="a sample in the beam", found="a constant"
        )
    sides = half_turns(angles)
    data, passed = without_noise(data)
    least, greatest = search_px if search_px is not None else _reachable(data.shape[2])
    start = _start(data, sides, least, greatest)
    return _refine(data, passed, sides, start, least, greatest)


def without_noise(data: NDArray[np.float32]) -> tuple[NDArray[np.float32], Double]:
    """The data without the frequencies that are noise; the part of the power kept of each.

    There is noise on both sides of the comparison, and noise has no axis. Weighting the cross-spectrum by
    S / (S + N/2) is the maximum-likelihood time delay of Knapp and Carter, IEEE Trans. ASSP 24, 320 (1976)
    (S: power of the sample, N: of the noise). N is read from the upper quarter of the frequencies.
    """
    spectrum = scipy.fft.dct(data, axis=-1, norm="ortho")
    power = np.mean(spectrum.astype(np.float64) ** 2, axis=(0, 1))
    noise = float(np.median(power[-max(1, power.size // 4) :]))
    sample = np.maximum(power - noise, 0)
    kept = sample / np.maximum(sample + noise / 2, np.finfo(np.float64).tiny)
    filtered = scipy.fft.idct(spectrum * np.sqrt(kept).astype(np.float32), axis=-1, norm="ortho")
    return filtered.astype(np.float32), kept


def _reachable(columns: int) -> tuple[float, float]:
    edge = (LEAST_OVERLAP * columns - 1) / 2
    return edge, columns - 1 - edge


def _start(data: NDArray[np.float32], sides: HalfTurns, least: float, greatest: float) -> float:
    """Axis to half a pixel from opposite projections: the most significant correlation over the overlap."""
    columns = data.shape[2]
    length = scipy.fft.next_fast_len(2 * columns - 1, real=True)
    total = np.zeros((6, 2 * columns - 1))
    ones = scipy.fft.rfft(np.ones(columns), length)

    def overlap(a: Double, b: Double | None = None) -> Double:
        """Sum over j of a(j) b(t - j) for every t = 2 c, over the projections."""
        spectrum = scipy.fft.rfft(a, length)
        product = (spectrum * (ones if b is None else scipy.fft.rfft(b, length))).sum(axis=0)
        return np.asarray(scipy.fft.irfft(product, length)[: 2 * columns - 1])

    for sinogram in data:
        here, there = sides.front(sinogram).astype(np.float64), sides.back(sinogram).astype(np.float64)
        if sides.full:
            step = -(-len(here) // START_PAIRS)
            here, there = here[::step], there[::step]
        else:  # only the seam has an opposite
            here, there = here[:1], there[:1]
        offset = here.mean()
        here, there = here - offset, there - offset
        terms = (np.ones_like(here), here, there, here**2, there**2)
        total[:5] += [overlap(t) for t in terms]
        total[5] += overlap(here, there)
    count, p, q, pp, qq, pq = total
    count = np.maximum(count, 1.0)
    variance = np.maximum(pp - p**2 / count, 0) * np.maximum(qq - q**2 / count, 0)
    floor = 1e-9 * variance.max()
    correlation = np.clip((pq - p * q / count) / np.sqrt(np.maximum(variance, floor)), 0, 1 - 1e-9)
    # Log-likelihood ratio of 'correlated' to 'not': a high correlation over a few pixels means little.
    score = -count * np.log(1 - correlation**2)
    axis = np.arange(2 * columns - 1) / 2
    score[(axis < least) | (axis > greatest)] = -1
    return float(axis[int(np.argmax(score))])


def _cost(
    sides: HalfTurns, sinogram: NDArray[np.float32], passed: Double, axis: float, reach: float
) -> MirrorCost:
    front = sides.front(sinogram)
    if sides.full:
        return MirrorCost.opposite(front, sides.back(sinogram), axis, reach, passed)
    return MirrorCost.wedge(front, axis, passed)


def _refine(
    data: NDArray[np.float32], passed: Double, sides: HalfTurns, start: float, least: float, greatest: float
) -> AxisResult:
    columns = data.shape[2]
    reach = max(4.0, 0.02 * columns)
    axis = start

    def minimise(centre: float, reach: float) -> tuple[float, list[MirrorCost], MirrorCost]:
        parts = [_cost(sides, sinogram, passed, centre, reach) for sinogram in data]
        whole = MirrorCost.sum(parts)
        low, high = max(least, centre - reach), min(greatest, centre + reach)
        return whole.minimum(low, high), parts, whole

    # The window on the detector has to be centred on the axis that is sought. Where it cuts the sample off,
    # the minimum follows it only in part: the fixed point is extrapolated from two steps (Steffensen).
    for _ in range(WINDOW_PASSES):
        first = minimise(axis, reach)[0]
        second, parts, whole = minimise(first, 1.0)
        follows = (second - first) / (first - axis) if abs(first - axis) > 1e-4 else 0.0
        axis = float(np.clip(axis + (first - axis) / (1 - np.clip(follows, -0.5, 0.98)), least, greatest))
        if abs(second - first) < 0.002:
            break
    low, high = max(least, axis - reach), min(greatest, axis + reach)
    rows = np.array([part.minimum(low, high) for part in parts])
    # Rows that scatter by more than noise explains widen the error bar (Birge's ratio); empty ones do not.
    spread = np.array([part.deviation(row) for part, row in zip(parts, rows, strict=True)])
    known = np.isfinite(spread) & (spread > 0)
    ratio = np.sqrt(np.mean(((rows[known] - axis) / spread[known]) ** 2)) if known.any() else 1.0
    uncertainty = whole.deviation(axis) * max(1.0, float(ratio))
    tried = axis + np.arange(-reach, reach + STEP_PX / 2, STEP_PX)
    tried = tried[(tried >= least) & (tried <= greatest)]
    return AxisResult(
        axis_px=axis,
        uncertainty_px=uncertainty,
        significance=whole.significance(axis, tried),
        start_px=start,
        tried_px=tried,
        costs=whole.cost(tried) / whole.power,
        span_deg=360 if sides.full else 180,
        rows_px=rows,
    )
