"""Columns that were not measured: filled as the mirror symmetry of the scan has them, and the axis is right."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomo.ellipses import Ellipse, sinogram

from speckleflow.tomo.axis_search import search_axis
from speckleflow.tomo.stripes import fill_columns
from speckleflow.tomo.wedge import WIDEST, Coarse, fill_by_wedge

AXIS, COLUMNS, ANGLES = 32.0, 65, np.arange(120) * 1.5
#: a band of a detector that was not read
GAP = np.isin(np.arange(COLUMNS), np.arange(34, 42))


@pytest.fixture(scope="module")
def scan():
    """Two discs (row, angle, x) with noise as of 8000 photons, and the same with a straight line over the gap."""
    whole = sinogram([Ellipse(0.03, 6, 4, 14, 14), Ellipse(0.05, -8, -6, 6, 6)], ANGLES, COLUMNS, AXIS)
    noisy = whole + np.random.default_rng(2).normal(0, 0.015, (4, *whole.shape)).astype(np.float32)
    return whole, noisy, np.stack([fill_columns(row, GAP) for row in noisy])


def test_the_axis_is_that_of_the_whole_detector(scan):
    _, noisy, straight = scan
    assert abs(search_axis(noisy, ANGLES).axis_px - AXIS) < 0.03
    assert abs(search_axis(straight, ANGLES).axis_px - AXIS) > 0.3
    missing = np.tile(GAP, (len(noisy), 1))
    assert abs(search_axis(straight, ANGLES, missing).axis_px - AXIS) < 0.06


def test_columns_are_filled_nearer_to_the_truth_than_by_a_line_and_others_stay(scan):
    whole, _, straight = scan
    filled = fill_by_wedge(straight[0], GAP, AXIS)
    assert np.array_equal(filled[:, ~GAP], straight[0][:, ~GAP])

    def error(values):
        return float(np.sqrt(np.mean((values - whole)[:, GAP] ** 2)))

    assert error(filled) < 0.6 * error(straight[0])


def test_a_wide_image_is_filled_in_coarse_columns(scan):
    *_, straight = scan
    fine = np.repeat(straight[:1], 16, axis=2)  # 1040 columns in steps of 3
    missing = np.repeat(GAP, 16)[None]
    narrow = missing & (np.arange(fine.shape[2]) < 570)  # 26 of the 128
    coarse = Coarse.of(fine, narrow)
    assert (coarse.step, coarse.fits, Coarse.of(fine, missing).fits) == (3, True, False)
    assert coarse.fine_px((100 + 0.5) / 3 - 0.5) == pytest.approx(100)
    filled = coarse.into(fine, narrow, AXIS * 16 + 7.5)
    assert np.array_equal(filled[0][:, ~narrow[0]], fine[0][:, ~narrow[0]])
    assert not np.array_equal(filled[0][:, narrow[0]], fine[0][:, narrow[0]])
    assert WIDEST * 3 < 128
