"""Level and displacement of every projection from moments, against those that the projections were made with."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomo.moving import COLUMNS, HEIGHT, MovingScan

from speckleflow.errors import InputError
from speckleflow.tomo.alignment import Moments, measure_movement

NOISE = 0.01


def noisy(integrals: np.ndarray, noise: float = NOISE) -> np.ndarray:
    return integrals + noise * np.random.default_rng(7).normal(size=integrals.shape)


@pytest.mark.parametrize("span_deg", [180.0, 360.0])
def test_jitter_and_drift_are_measured(span_deg):
    scan = MovingScan.of(span_deg=span_deg)
    found = measure_movement(Moments.of(noisy(scan.integrals())), scan.angles_deg)
    x = found.x_px - scan.off_curve(scan.shift_px[:, 0])
    y = found.y_px - scan.shift_px[:, 1] + scan.shift_px[:, 1].mean()
    level = found.level - scan.level + scan.level.mean()
    # of 0.87 px rms before: measured 0.055, 0.019 px, 1.4e-4 of a drift of 1e-2
    assert np.sqrt(np.mean(x**2)) < 0.1
    assert np.sqrt(np.mean(y**2)) < 0.04
    assert level.std() < 3e-4
    assert found.whole
    # the errors that are stated are those there are
    assert found.x_error_px == pytest.approx(x.std(), rel=0.3)
    assert found.y_error_px == pytest.approx(y.std(), rel=0.5)


def test_a_sample_that_leaves_at_top_and_bottom_is_still_aligned():
    """A support that is held from below is never wholly in view along y."""
    scan = MovingScan.of()
    found = measure_movement(
        Moments.of(noisy(scan.integrals(height=30, first=12), NOISE / 3)), scan.angles_deg
    )
    x = found.x_px - scan.off_curve(scan.shift_px[:, 0])
    y = found.y_px - scan.shift_px[:, 1] + scan.shift_px[:, 1].mean()
    assert found.whole
    assert np.sqrt(np.mean(x**2)) < 0.1
    assert np.sqrt(np.mean(y**2)) < 0.1


def test_rows_that_were_never_measured_are_left_out():
    scan = MovingScan.of()
    moments = Moments.of(noisy(scan.integrals()))
    moments.mass[:, -3:] = moments.first[:, -3:] = np.nan
    found = measure_movement(moments, scan.angles_deg)
    assert np.std(found.y_px - scan.shift_px[:, 1]) < 0.05


def test_a_leaning_axis_keeps_its_sine_along_y():
    scan = MovingScan.of()
    sine = 0.8 * np.sin(np.deg2rad(scan.angles_deg))
    moved = MovingScan(scan.angles_deg, scan.shift_px + np.stack([0 * sine, sine], 1), scan.level)
    found = measure_movement(Moments.of(noisy(moved.integrals())), scan.angles_deg, leaning=True)
    assert np.std(found.y_px - scan.off_curve(scan.shift_px[:, 1])) < 0.04


def test_equal_rows_tell_nothing_of_y():
    scan = MovingScan.of()
    rows = np.repeat(scan.integrals()[:, 30:31], HEIGHT, 1)
    found = measure_movement(Moments.of(noisy(rows)), scan.angles_deg)
    assert found.y_error_px == np.inf
    assert not found.y_px.any()


def test_a_sample_that_leaves_the_view_or_is_not_there():
    scan = MovingScan.of(drift=0.0)
    cut = measure_movement(Moments.of(noisy(scan.integrals())[..., 50:90]), scan.angles_deg)
    assert not cut.whole
    air = measure_movement(Moments.of(noisy(0 * scan.integrals())), scan.angles_deg)
    assert not air.whole
    assert air.scatter_px == np.inf


def test_parts_are_joined():
    images = MovingScan.of().integrals()
    whole, parts = Moments.of(images), [Moments.of(images[:50]), Moments.of(images[50:])]
    joined = Moments.joined(parts)
    assert joined.columns == COLUMNS
    np.testing.assert_allclose(joined.mass, whole.mass)
    np.testing.assert_allclose(joined.of_projections(slice(50, 60)).first, parts[1].first[:10])


def test_too_few_projections():
    scan = MovingScan.of(count=8)
    with pytest.raises(InputError, match="at least 12"):
        measure_movement(Moments.of(scan.integrals()), scan.angles_deg)
