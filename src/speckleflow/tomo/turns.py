"""A continuous rotation cut into the turns that a volume each is made of."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

#: steps of the rotation that the last projection of a whole turn may lie before its end: its own, one that is left
#: out, and part of a next
_SHORT_STEPS = 2.5
#: part of a turn that the angle of its first projection may lack by rounding
_ROUNDING = 1e-6


def turn_ranges(angles_deg: ArrayLike, turn_deg: float) -> list[tuple[int, int]]:
    """[first, stop) of the projections of every whole turn, from the first projection on.

    Parameters
    ----------
    angles_deg : (projection,) angles that go on one way.
    turn_deg : rotation that one volume is made of.

    Returns
    -------
    list of (int, int)
        Empty where the angles span less than a turn. Projections after the last whole turn are in none.
    """
    angles = np.asarray(angles_deg, np.float64)
    if len(angles) < 2:
        return []
    turned = np.abs(angles - angles[0])
    number = np.floor(turned / turn_deg + _ROUNDING).astype(int)
    firsts = np.searchsorted(number, np.arange(number[-1] + 2))
    step = float(np.median(np.diff(turned)))
    if (number[-1] + 1) * turn_deg - turned[-1] > _SHORT_STEPS * step:
        firsts = firsts[:-1]
    return [(int(first), int(stop)) for first, stop in pairwise(firsts)]
