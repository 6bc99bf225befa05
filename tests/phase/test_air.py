"""Levels of the air: which pixels are the margins, which of their values count, and what is taken off."""

from __future__ import annotations

import numpy as np
import pytest

from speckleflow.errors import InputError
from speckleflow.margins import air_mask
from speckleflow.phase import integrate_displacement, remove_drift
from speckleflow.phase.air import air_level, clipped_mean, level_phase

SHAPE, AIR = (30, 44), (5, 3, 2, 4)  # no two margins alike


def margins() -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (x < 5) | (x >= 41) | (y < 2) | (y >= 26)


def test_each_width_belongs_to_its_side():
    np.testing.assert_array_equal(air_mask(SHAPE, AIR), margins())
    assert not air_mask(SHAPE, (0, 0, 0, 0)).any()
    for side, part in enumerate((np.s_[:, :2], np.s_[:, -2:], np.s_[:2], np.s_[-2:])):
        one = np.zeros(SHAPE, bool)
        one[part] = True
        np.testing.assert_array_equal(air_mask(SHAPE, [2 * (side == s) for s in range(4)]), one)


@pytest.mark.parametrize(
    ("air", "words"),
    [
        ((40, 4, 0, 0), r"less than the image of 30 x 44 pixels \(y, x\), found \[40, 4, 0, 0\]"),
        ((0, 0, 10, 20), "less than the image"),
        ((1, -1, 0, 0), "four widths >= 0"),
        ((1, 1, 1), "four widths >= 0"),
    ],
)
def test_margins_that_do_not_fit(air, words):
    with pytest.raises(InputError, match=words):
        air_mask(SHAPE, air)
    assert air_mask(SHAPE, (40, 3, 10, 19)).sum() == 30 * 44 - 1  # a single pixel may be left


def test_outliers_begin_at_three_robust_standard_deviations():
    """Median 0 and median absolute deviation 1: the limit is 3 x 1.4826 = 4.45."""
    bulk = [-1.0] * 11 + [1.0] * 10 + [0.0, 0.0]
    inside, outside = np.array([*bulk, 4.4]), np.array([*bulk, 4.5])
    for sign in (1, -1):
        assert clipped_mean(sign * inside) == pytest.approx(sign * 3.4 / 24)
        assert clipped_mean(sign * outside) == pytest.approx(-sign / 23)
    assert clipped_mean(7 + 0.01 * outside) == pytest.approx(7 - 0.01 / 23)


def plane(level: float, along_x: float, along_y: float) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return level + along_x * x + along_y * y


def test_level_is_the_mean_of_the_air_and_the_ramp_its_plane():
    phase = plane(2.0, 0.03, -0.05) + 100.0 * ~margins()
    phase[10:14, :5] += 40.0  # dust: 20 of 459 pixels
    np.testing.assert_allclose(air_level(phase, margins(), 1), plane(2.0, 0.03, -0.05), atol=1e-9)
    flat = 2.0 + 100.0 * ~margins()
    assert air_level(flat, margins(), 0) == 2.0
    assert air_level(flat, np.zeros(SHAPE, bool), 0) == 0.0


def test_plane_that_leans_on_outliers_at_first():
    """A sample that covers a sixth of the margins: the planes after the first one are without it."""
    rng = np.random.default_rng(6)
    phase = plane(1.0, 0.02, 0.04) + 0.01 * rng.normal(size=SHAPE)
    phase[26:, 10:30] -= 3.0
    level = air_level(phase, margins(), 1)
    # 379 pixels of 0.01: the plane is known to 0.001 at the corners; one plane alone is off by 1.2
    np.testing.assert_allclose(level, plane(1.0, 0.02, 0.04), atol=0.004)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("boundary", ["mirror", "dct"])
def test_phase_in_the_air_is_zero(order, boundary):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    ux = -(x - 20.0) * np.exp(-((x - 20.0) ** 2 + (y - 13.0) ** 2) / 32)
    uy = -(y - 13.0) * np.exp(-((x - 20.0) ** 2 + (y - 13.0) ** 2) / 32)
    phase = integrate_displacement(
        ux[None],
        uy[None],
        energy_kev=10.0,
        pixel_size_m=2e-6,
        distance_m=0.5,
        boundary=boundary,
        air=AIR,
        order=order,
    )[0]
    assert abs(np.median(phase[margins()])) < 0.01
    # phase = 16 px x 0.40542 rad/px at the middle
    assert phase[13, 20] == pytest.approx(16 * 0.40542, rel=0.01)


def test_a_phase_is_levelled_by_a_surface_that_fits_the_air():
    """The sample keeps what it is above the surface; the two projections have surfaces of their own."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    sample = -5.0 * ~margins() * np.exp(-((x - 20.0) ** 2 + (y - 13.0) ** 2) / 50)
    bent = plane(0.4, 0.02, -0.03) + 0.001 * x**2 - 0.002 * x * y + 0.003 * y**2
    found = level_phase(np.stack([sample + bent, 2 * sample - 3 * bent]), AIR, 2)
    np.testing.assert_allclose(found, [sample, 2 * sample], atol=1e-6)
    tilted = level_phase((sample + plane(0.4, 0.02, -0.03))[None], AIR, 1)[0]
    np.testing.assert_allclose(tilted, sample, atol=1e-6)
    np.testing.assert_allclose(level_phase((sample + 7)[None], AIR)[0], sample, atol=1e-6)
    assert tilted.dtype == np.float32


def test_without_margins_the_mean_of_a_phase_is_zero_and_no_plane_can_be_fitted():
    phase = plane(3.0, 0.1, 0.2)[None]
    level = level_phase(phase, (0, 0, 0, 0))
    assert level.mean() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(level - phase, np.full(phase.shape, -phase.mean()), atol=1e-6)
    for order, what in ((1, "a ramp"), (2, "a quadratic")):
        with pytest.raises(InputError, match=f"at least one pixel, to fit {what} to, found none"):
            level_phase(phase, (0, 0, 0, 0), order)
    phase[0, 3, 4] = np.nan
    with pytest.raises(InputError, match="phase: expected finite values"):
        level_phase(phase, AIR)


def test_drift_is_taken_in_the_margins_alone():
    rng = np.random.default_rng(7)
    ux, uy = rng.normal(0, 0.01, (2, 2, *SHAPE)).astype(np.float32)
    ux[:, ~margins()] += 5
    uy[:, ~margins()] -= 3
    ux[0] += 0.25
    uy[1] -= 0.125
    without_x, without_y, drift = remove_drift(ux, uy, AIR)
    np.testing.assert_allclose(drift, [[0.25, 0], [0, -0.125]], atol=0.0015)  # 0.01 px / sqrt(459) = 0.0005
    np.testing.assert_allclose(ux - without_x, np.broadcast_to(drift[:, :1, None], ux.shape), atol=1e-6)
    np.testing.assert_allclose(uy - without_y, np.broadcast_to(drift[:, 1:, None], uy.shape), atol=1e-6)


@pytest.mark.parametrize(
    ("ux", "uy", "words"),
    [
        (np.zeros((20, 30)), np.zeros((20, 30)), "one shape"),
        (np.zeros((1, 3, 30)), np.zeros((1, 3, 30)), "at least 4 x 4 pixels, found 3 x 30"),
        (np.zeros((1, 30, 3)), np.zeros((1, 30, 3)), "at least 4 x 4 pixels, found 30 x 3"),
        (np.zeros((1, 9, 9)), np.full((1, 9, 9), np.inf), "finite values, found 81"),
    ],
)
def test_displacements_that_are_none(ux, uy, words):
    with pytest.raises(InputError, match=words):
        remove_drift(ux, uy, (1, 1, 1, 1))
