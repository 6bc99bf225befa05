"""Signs, floors and units between the retrieved contrasts and the volumes."""

from __future__ import annotations

import numpy as np
import pytest

from speckleflow.errors import ConfigError, InputError
from speckleflow.tomo.sinogram import SMALLEST_RATIO, line_integrals, log_floor


def test_dead_rays_are_floored_counted_and_never_nan():
    rng = np.random.default_rng(3)
    t = 0.5 + 0.01 * rng.normal(size=(20, 200))
    assert log_floor(t) == pytest.approx(0.01, rel=0.03)  # measured 1.2 %; 3600 differences
    t[3, 7], t[4, 8], t[5, 9] = 0.0, -0.2, 1e-4
    done = line_integrals("transmission", t)
    assert np.isfinite(done.values).all()
    assert done.floored == 3
    np.testing.assert_allclose(done.values[[3, 4, 5], [7, 8, 9]], -np.log(done.floor))
    np.testing.assert_allclose(done.values[0], -np.log(t[0]), rtol=1e-5)
    assert log_floor(np.ones((4, 9))) == SMALLEST_RATIO
    assert line_integrals("darkfield", np.full((2, 5), 1.1)).values.max() < 0  # noise above 1 is kept


def test_phase_changes_its_sign_and_nothing_else():
    phi = np.array([[0.0, -3.0, 2.0]], np.float32)
    done = line_integrals("phase", phi)
    np.testing.assert_array_equal(done.values, -phi)
    assert done.floored == 0


def test_bad_values_are_refused():
    with pytest.raises(InputError, match="transmission: expected finite values, found 2 NaN"):
        line_integrals("transmission", [[1.0, np.nan, np.inf]])
    with pytest.raises(InputError, match="positive floor"):
        line_integrals("darkfield", [[1.0]], floor=0.0)
    with pytest.raises(ConfigError, match="'dark'"):
        line_integrals("dark", [[1.0]])


def test_floor_is_the_noise_whatever_the_structure():
    """Second differences of straight flanks are 0, and a step touches two of them."""
    x = np.arange(400.0)
    flanks = 0.2 + 0.001 * np.abs(x - 180) + 0.3 * (x > 300)
    assert log_floor(flanks) == SMALLEST_RATIO == pytest.approx(1.52590e-5, rel=1e-5)
    noise = 0.004 * np.random.default_rng(2).normal(size=(5, 7, 400))
    assert log_floor(flanks + noise) == pytest.approx(0.004, rel=0.03)
    assert log_floor([[0.5, 0.7]]) == SMALLEST_RATIO


def test_floor_of_the_caller():
    done = line_integrals("transmission", [[0.5, 0.2, 0.1, 0.05]], floor=0.1)
    np.testing.assert_allclose(done.values, [[0.693147, 1.609438, 2.302585, 2.302585]], rtol=1e-6)
    assert (done.floor, done.floored, done.values.dtype) == (0.1, 1, np.float32)
    with pytest.raises(ConfigError, match="phase, transmission, darkfield, found 'ux'"):
        line_integrals("ux", [[0.5]])
