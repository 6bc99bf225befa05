"""Pixels without a measurement are bridged along their row, or over the projections, and touch no other pixel."""

from __future__ import annotations

import numpy as np
import pytest

from speckleflow.tomo.gaps import fill_gaps, longest_run


def test_lines_and_planes_are_restored():
    """A field linear in projection and column is bridged exactly; borders take the nearest value."""
    p, y, x = np.meshgrid(np.arange(5.0), np.arange(4.0), np.arange(9.0), indexing="ij")
    truth = (2 * p + 3 * y**2 + 0.5 * x).astype(np.float32)
    lost = np.zeros(truth.shape, bool)
    lost[1, 0, 3:6] = True  # inside a row
    lost[2, 1, :2] = True  # at the border
    lost[1:3, 2] = True  # a row in two projections
    lost[0, 3] = True  # and in the first
    damaged = np.where(lost, np.float32(np.nan), truth)
    filled = fill_gaps(damaged, lost)
    expected = truth.copy()
    expected[2, 1, :2] = truth[2, 1, 2]
    expected[0, 3] = truth[1, 3]
    np.testing.assert_allclose(filled, expected, rtol=1e-6)
    np.testing.assert_array_equal(filled[~lost], truth[~lost])


def test_a_row_that_no_projection_measured_stays_nan():
    truth = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    lost = np.zeros(truth.shape, bool)
    lost[:, 1] = True
    filled = fill_gaps(np.where(lost, np.float32(np.nan), truth), lost)
    assert np.isnan(filled[:, 1]).all()
    np.testing.assert_array_equal(filled[:, ::2], truth[:, ::2])


def test_nan_that_is_not_flagged_is_left_for_others_to_refuse():
    values = np.ones((2, 2, 4), np.float32)
    values[0, 0, 1] = np.nan
    lost = np.zeros(values.shape, bool)
    lost[1, 1, 2] = True
    assert np.isnan(fill_gaps(values, lost)[0, 0, 1])


@pytest.mark.parametrize(
    ("good", "run"),
    [("0110111", (4, 7)), ("1110", (0, 3)), ("000", (0, 0)), ("1", (0, 1)), ("1101100", (0, 2))],
)
def test_the_longest_run(good, run):
    assert longest_run(np.array([c == "1" for c in good])) == slice(*run)
