"""Projections that are 180 degrees apart: each is the other's mirror image about the rotation axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import InputError

Double = NDArray[np.float64]


@dataclass(frozen=True)
class Lookup:
    """Linear interpolation of projections at given angles."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    part: NDArray[np.float32]

    def __call__(self, sinogram: NDArray[np.float32]) -> NDArray[np.float32]:
        part = self.part[:, None]
        return np.asarray((1 - part) * sinogram[self.low] + part * sinogram[self.high])


@dataclass(frozen=True)
class HalfTurns:
    """The projections of one uniform half turn and those opposite to them.

    ``front`` looks up the projections at ``angles_deg``, ``back`` those 180 degrees further. Of a scan over
    180 degrees (not ``full``) only the first has an opposite, one step away at its seam.
    """

    angles_deg: Double
    full: bool
    front: Lookup
    back: Lookup


def half_turns(angles_deg: Double) -> HalfTurns:
    """Look-ups of a scan at uniform angles, from its own ones in any order (folded to one turn).

    Raises
    ------
    InputError
        The angles cover less than 180 degrees.
    """
    turn = np.round(angles_deg, 6) % 360.0
    order = np.argsort(turn, kind="stable")
    gaps = np.diff(turn[order], append=turn[order[0]] + 360.0)
    usual = float(np.median(gaps[gaps > 1e-6])) if (gaps > 1e-6).any() else 360.0
    first = (int(np.argmax(gaps)) + 1) % order.size  # the scan begins after its largest gap
    order = np.roll(order, -first)
    along = (turn[order] - turn[order[0]]) % 360.0
    span = float(along[-1])
    if span < max(180.0 - 3 * usual, 90.0):
        raise InputError(
            "angles",
            expected="180 degrees or more, so that there are projections from opposite sides",
            found=f"{span:.6g} degrees in steps of {usual:.4g}",
        )
    full = span >= 360.0 - 3 * usual
    number = max(2, round(180.0 / usual))
    wanted: Double = np.arange(number, dtype=np.float64) * (180.0 / number)

    def lookup(at: Double) -> Lookup:
        high = np.clip(np.searchsorted(along, at - 1e-6), 0, order.size - 1)
        low = np.maximum(high - 1, 0)
        gap = along[high] - along[low]
        part = np.clip((at - along[low]) / np.where(gap > 0, gap, 1), 0, 1)
        return Lookup(order[low], order[high], part.astype(np.float32))

    return HalfTurns(turn[order[0]] + wanted, full, lookup(wanted), lookup(wanted + 180.0))
