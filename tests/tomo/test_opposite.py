"""Which projections lie opposite each other, and what is looked up between two."""

from __future__ import annotations

import numpy as np
import pytest

from speckleflow.errors import InputError
from speckleflow.tomo.opposite import half_turns

FULL = {
    "even": np.arange(120) * 3.0,
    "without opposites": np.arange(121) * 360 / 121,
    "clockwise from 137": 137 - np.arange(91) * 360 / 91,
    "shuffled": np.random.default_rng(3).permutation(np.arange(75) * 4.8 + 33),
    "uneven": np.cumsum(np.tile([1.0, 2.0, 3.0, 2.0, 2.0], 36)),
}


@pytest.mark.parametrize("name", FULL)
def test_angles_are_interpolated_linearly(name):
    """Values that are the angle itself, counted from the first projection: every look-up gives its own angle."""
    angles = FULL[name]
    sides = half_turns(angles)
    along = np.round(angles - sides.angles_deg[0], 5) % 360
    sinogram = np.stack([along, np.cos(np.deg2rad(along))], 1).astype(np.float32)
    assert sides.full
    wanted = sides.angles_deg - sides.angles_deg[0]
    np.testing.assert_allclose(np.diff(wanted), 180 / len(wanted), atol=1e-9)
    assert abs(len(wanted) - 180 / np.median(np.diff(np.sort(angles % 360)))) < 0.51
    last = along.max()  # beyond the last projection the last is taken
    np.testing.assert_allclose(sides.front(sinogram)[:, 0], wanted, atol=1e-4)
    np.testing.assert_allclose(sides.back(sinogram)[:, 0], np.minimum(wanted + 180, last), atol=1e-4)
    # between two angles of 5 degrees the chord of a cosine is off by 1e-3 at most
    np.testing.assert_allclose(sides.front(sinogram)[:, 1], np.cos(np.deg2rad(wanted)), atol=1.2e-3)


@pytest.mark.parametrize("start", [0.0, 100.0, 250.0])
@pytest.mark.parametrize("sense", [1, -1])
def test_a_half_turn_begins_after_its_gap(start, sense):
    angles = start + sense * np.arange(90) * 2.0
    sides = half_turns(angles)
    first = (start if sense > 0 else start - 178) % 360
    assert not sides.full
    np.testing.assert_allclose(sides.angles_deg, first + np.arange(90) * 2.0)
    rows = np.arange(90, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(sides.front(rows)[:, 0], np.arange(90)[::sense])
    # of the opposite side only the seam is there: the last projection, 2 degrees before its opposite
    assert sides.back(rows)[0, 0] == (89 if sense > 0 else 0)


def test_how_much_of_a_turn_is_needed():
    for count, full in ((358, True), (357, False)):
        assert half_turns(np.arange(count, dtype=float)).full is full
    half_turns(np.arange(178.0))
    with pytest.raises(InputError, match=r"180 degrees or more.*found 176 degrees in steps of 1"):
        half_turns(np.arange(177.0))
    with pytest.raises(InputError, match="found 0 degrees"):
        half_turns(np.zeros(5))
