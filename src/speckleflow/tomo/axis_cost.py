"""How well a scan is its own mirror image about an axis, as a function of the axis.

Each cost is a constant plus one cross-correlation, C(c) = C0 + 2 Re sum_k X(k) exp(-2 i omega_k c), so that
it is known at every axis, between pixels too, from one pass over the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

Double = NDArray[np.float64]

#: Angular harmonics left free beside the wedge: the window on the detector widens it by about this much.
WEDGE_MARGIN = 2
#: Spacing of the axes at which the minimum is looked for; Newton's method finds its place.
STEP_PX = 0.25
#: Width of the window's cosine edge in pixels: smooth to sub-pixel shifts, little of a sample's edge is lost.
EDGE_PX = 4.0


@dataclass(frozen=True)
class MirrorCost:
    """C(c) = power + 2 Re sum over k of cross(k) exp(-2 i omega(k) c), a sum of ``terms`` squares."""

    omega: Double
    cross: NDArray[np.complex128]
    power: float
    terms: float

    @classmethod
    def opposite(
        cls,
        front: NDArray[np.float32],
        back: NDArray[np.float32],
        axis: float,
        reach: float,
        passed: Double,
    ) -> MirrorCost:
        """Sum over angle and s of window(s) [back(s) - front(2 c - s)]^2, for axes within ``reach`` of one.

        ``front`` and ``back`` are (angle, x), 180 degrees apart; the window does not move with c. ``passed``
        (columns,) is the part of the power left in the data, by frequency from 0 to pi.
        """
        columns = front.shape[1]
        length, omega = _frequencies(columns)
        radius = _radius(columns, axis)
        # The mirrored side has to reach beyond the window by as much as any axis that is tried moves it.
        window = _window(columns, axis, max(radius - EDGE_PX - 2 * reach, radius / 2))
        mirrored = front * _window(columns, axis, radius)
        cross = scipy.fft.rfft(window, length) * scipy.fft.rfft(mirrored**2, length)
        cross -= 2 * scipy.fft.rfft(back * window, length) * scipy.fft.rfft(mirrored, length)
        total = cross.sum(axis=0).conj() / length
        total[0] *= 0.5
        if length % 2 == 0:
            total[-1] *= 0.5
        terms = len(back) * window.sum() * np.mean(passed)
        return cls(omega, total, float(np.sum(window * back**2)), float(terms))

    @classmethod
    def wedge(cls, half_turn: NDArray[np.float32], axis: float, passed: Double) -> MirrorCost:
        """Power outside the double wedge of the half turn (angle, x) followed by its mirror image about c."""
        columns = half_turn.shape[1]
        length, omega = _frequencies(columns)
        radius = _radius(columns, axis)
        here = scipy.fft.rfft(half_turn * _window(columns, axis, radius), length)
        empty = np.zeros_like(here)
        one = scipy.fft.fft(np.concatenate([here, empty]), axis=0)
        other = scipy.fft.fft(np.concatenate([empty, here.conj()]), axis=0)
        harmonic = np.abs(scipy.fft.fftfreq(len(one), 1 / len(one)))[:, None]
        outside = harmonic > radius * omega + WEDGE_MARGIN
        outside[:, 0] = False  # the mean does not know the axis
        one, other = one * outside, other * outside
        cross = (one.conj() * other).sum(axis=0)
        power = np.sum(np.abs(one) ** 2 + np.abs(other) ** 2)
        counted = outside.sum(axis=0) @ np.interp(omega, np.pi * np.arange(columns) / columns, passed)
        # Padding makes neighbouring frequencies depend on each other: fewer squares than are counted.
        return cls(omega, cross, float(power), float(counted * columns / length))

    @classmethod
    def sum(cls, parts: list[MirrorCost]) -> MirrorCost:
        cross = np.sum([p.cross for p in parts], axis=0)
        return cls(parts[0].omega, cross, sum(p.power for p in parts), sum(p.terms for p in parts))

    def cost(self, axis: ArrayLike) -> Double:
        turn = np.exp(-2j * np.outer(np.atleast_1d(axis), self.omega))
        return np.asarray(self.power + 2 * (turn @ self.cross).real)

    def slopes(self, axis: float) -> tuple[float, float]:
        """First and second derivative of the cost."""
        turned = self.cross * np.exp(-2j * self.omega * axis)
        first = 2 * (-2j * self.omega * turned).sum().real
        second = 2 * (-4 * self.omega**2 * turned).sum().real
        return float(first), float(second)

    def minimum(self, low: float, high: float) -> float:
        tried = np.arange(low, high + STEP_PX / 2, STEP_PX)
        best = float(tried[int(np.argmin(self.cost(tried)))])
        axis = best
        for _ in range(20):
            first, second = self.slopes(axis)
            if second <= 0:
                return best
            step = float(np.clip(-first / second, -STEP_PX, STEP_PX))
            axis = float(np.clip(axis + step, best - STEP_PX, best + STEP_PX))
            if abs(step) < 1e-5:
                break
        return axis

    def significance(self, axis: float, tried: Double) -> float:
        """Depth of the minimum under the mean of ``tried``, in standard deviations of noise."""
        least = max(float(self.cost(axis)[0]), 1e-12 * self.power)
        depth = float(self.cost(tried).mean()) - least
        return depth / (least * np.sqrt(2 / self.terms)) if self.terms > 0 else 0.0

    def deviation(self, axis: float) -> float:
        """Standard deviation in px: where the cost rises by the mean square that is left at the minimum."""
        _, second = self.slopes(axis)
        if second <= 0 or self.terms <= 0:
            return float("inf")
        left = max(float(self.cost(axis)[0]), 0.0) / self.terms
        return float(np.sqrt(left / (second / 2)))


def _frequencies(columns: int) -> tuple[int, Double]:
    length = int(scipy.fft.next_fast_len(2 * columns, real=True))
    return length, 2 * np.pi * np.arange(length // 2 + 1) / length


def _radius(columns: int, axis: float) -> float:
    """Distance from the axis up to which both sides see the sample."""
    return min(axis, columns - 1 - axis) + 0.5


def _window(columns: int, axis: float, radius: float) -> Double:
    """1 about the axis, falling to 0 at the radius by a cosine, so that a cut-off sample does not ring."""
    depth = radius - np.abs(np.arange(columns) - axis)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(depth / EDGE_PX, 0, 1)))
