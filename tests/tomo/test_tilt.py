"""A rotation axis that leans: measured from the axes of rows, and taken off by turning the projections."""

from __future__ import annotations

import numpy as np
import pytest

from speckleflow.tomo.axis import find_axis
from speckleflow.tomo.tilt import axis_tilt, rows_needed, straighten

HEIGHT, COLUMNS, AXIS = 40, 60, 28.3
ANGLES = np.arange(0.0, 180.0, 3.0)
#: x, y, z, radius, value of spheres, from the axis at the middle row
SPHERES = [(9.0, 4, -6, 9, 0.06), (-12, -5, 5, 6, 0.1), (3, -10, 11, 5, 0.14), (-6, 12, -12, 4, 0.12)]


def projections(tilt_deg: float, shape: tuple[int, int] = (HEIGHT, COLUMNS)) -> np.ndarray:
    """Line integrals (angle, y, x) of spheres about an axis that leans by a tilt, mean over 3 x 3 rays a pixel."""
    t, angle = np.deg2rad(tilt_deg), np.deg2rad(ANGLES)[:, None, None]
    total = np.zeros((len(ANGLES), *shape))
    for dy in (-1 / 3, 0, 1 / 3):
        for dx in (-1 / 3, 0, 1 / 3):
            s = np.arange(shape[1])[None, :] + dx - AXIS
            v = np.arange(shape[0])[:, None] + dy - (shape[0] - 1) / 2
            along, across = s * np.sin(t) + v * np.cos(t), s * np.cos(t) - v * np.sin(t)
            for x, y, z, radius, value in SPHERES:
                place = x * np.cos(angle) + y * np.sin(angle)
                rest = radius**2 - (across - place) ** 2 - (along - z) ** 2
                total += 2 * value / 9 * np.sqrt(np.clip(rest, 0, None))
    return total.astype(np.float32)


@pytest.mark.parametrize("tilt_deg", [2.0, -1.3])
def test_turned_projections_are_those_of_an_upright_axis(tilt_deg):
    leaning, upright = projections(tilt_deg), projections(0.0)
    turned = straighten(leaning, 0, (4, 33), HEIGHT, AXIS, tilt_deg)
    error = np.sqrt(np.mean((turned - upright[:, 4:33]) ** 2)) / upright.std()
    assert error < 0.05  # measured 0.029 and 0.022: edges of spheres between pixels
    assert np.sqrt(np.mean((leaning - upright) ** 2)) / upright.std() > 3 * error


@pytest.mark.parametrize("tilt_deg", [2.0, -8.0, 0.0])
def test_a_slab_reads_what_it_needs(tilt_deg):
    leaning = projections(tilt_deg)
    whole = straighten(leaning, 0, (0, HEIGHT), HEIGHT, AXIS, tilt_deg)
    for rows in ((0, 5), (17, 22), (36, HEIGHT)):
        first, stop = rows_needed(rows, (HEIGHT, COLUMNS), AXIS, tilt_deg)
        part = straighten(leaning[:, first:stop], first, rows, HEIGHT, AXIS, tilt_deg)
        np.testing.assert_allclose(part, whole[:, rows[0] : rows[1]], atol=2e-4)  # measured 5e-5
        assert stop - first < HEIGHT or tilt_deg == -8.0
    assert rows_needed((7, 9), (HEIGHT, COLUMNS), AXIS, 0.0) == (7, 9)


@pytest.mark.parametrize("tilt_deg", [2.0, 0.0])
def test_a_displacement_is_taken_off_in_the_same_step(tilt_deg):
    shift = np.random.default_rng(3).uniform(-2.5, 2.5, (len(ANGLES), 2))
    y, x = np.mgrid[:HEIGHT, :COLUMNS].astype(np.float64)
    smooth = np.exp(-((x - 25) ** 2) / 90 - (y - 18) ** 2 / 60)[None].astype(np.float32)
    moved = np.exp(-((x - 25 - shift[:, :1, None]) ** 2) / 90 - (y - 18 - shift[:, 1:, None]) ** 2 / 60)
    first, stop = rows_needed((10, 20), (HEIGHT, COLUMNS), AXIS, tilt_deg, 2.5)
    part = straighten(moved[:, first:stop].astype(np.float32), first, (10, 20), HEIGHT, AXIS, tilt_deg, shift)
    wanted = straighten(smooth, 0, (0, HEIGHT), HEIGHT, AXIS, tilt_deg)[:, 10:20]
    inner = (..., slice(3, -3))  # beyond the image's edge its border is repeated
    np.testing.assert_allclose(part[inner], np.broadcast_to(wanted, part.shape)[inner], atol=1e-3)


def test_a_row_that_was_never_measured_takes_its_neighbours_alone():
    images = projections(0.0)
    images[:, 20] = np.nan
    turned = straighten(images, 0, (0, HEIGHT), HEIGHT, AXIS, 0.5)
    gone = np.isnan(turned).any((0, 2))
    assert gone[20]
    assert 1 < gone.sum() <= 4
    assert np.isfinite(turned[:, ~gone]).all()


@pytest.mark.parametrize("tilt_deg", [2.0, -1.3])
def test_the_tilt_is_measured(tilt_deg):
    rows = np.arange(6, 34, 2)
    data = projections(tilt_deg)[:, rows].swapaxes(0, 1)
    data = data + 0.01 * np.random.default_rng(1).normal(size=data.shape)
    tilt = axis_tilt(rows, find_axis(data, ANGLES).rows_px, HEIGHT, COLUMNS)
    assert tilt is not None
    assert tilt.matters
    # away from the axis a row holds other slices of the sample: measured 1.73 and -1.17
    assert 0.8 < tilt.deg / tilt_deg < 1
    assert abs(tilt.axis_px - AXIS) < 0.05  # measured 0.02
    turned = straighten(projections(tilt_deg), 0, (0, HEIGHT), HEIGHT, AXIS, tilt.deg)[:, rows]
    rest = axis_tilt(rows, find_axis(turned.swapaxes(0, 1), ANGLES).rows_px, HEIGHT, COLUMNS)
    assert rest is not None
    assert abs(tilt.deg + rest.deg - tilt_deg) < 0.1  # measured 0.04


def test_tilt_of_known_rows():
    rows = np.linspace(2, 60, 16).astype(int)
    noise = 0.05 * np.random.default_rng(1).standard_normal(16)
    tilt = axis_tilt(rows, 40 + 0.05 * (rows - 31.5) + noise, 64, 80)
    assert tilt is not None
    assert tilt.deg == pytest.approx(np.rad2deg(np.arctan(0.05)), abs=0.06)
    assert tilt.axis_px == pytest.approx(40, abs=0.04)
    assert tilt.rim_px == pytest.approx(0.05 * 40, rel=0.03)
    assert tilt.matters
    upright = axis_tilt(rows, 40 + noise, 64, 80)
    assert upright is not None
    assert not upright.matters
    assert axis_tilt(rows[:4], np.full(4, 40.0), 64, 80) is None
