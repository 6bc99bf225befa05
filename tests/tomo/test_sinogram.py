"""Signs, floors and units between the retrieved contrasts and the volumes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomo.ellipses import Ellipse, sinogram

from speckleflow.errors import ConfigError, InputError
from speckleflow.tomo.backends import make_backend
from speckleflow.tomo.sinogram import SMALLEST_RATIO, line_integrals, log_floor
from speckleflow.tomo.units import QUANTITIES, scale

PIXEL_M, ENERGY_KEV = 1.3e-6, 20.0


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_disc_of_known_matter_comes_back_in_its_unit(quantity):
    """n = 1 - delta + i beta in a disc, forward by physics.md, back by the chain: the numbers we put in."""
    wavelength = 1.23984198e-6 / (ENERGY_KEV * 1e3)
    delta, beta, extinction = 5.8e-7, 3.1e-10, 250.0
    mu = 4 * np.pi * beta / wavelength
    angles, columns, axis = np.arange(180.0), 64, 30.7
    length_m = sinogram([Ellipse(1.0, 4, -3, 18, 18)], angles, columns, axis) * PIXEL_M
    retrieved = {
        "phase": -2 * np.pi / wavelength * delta * length_m,
        "transmission": np.exp(-mu * length_m),
        "darkfield": np.exp(-extinction * length_m),
    }
    q = QUANTITIES[quantity]
    values = line_integrals(q.contrast, retrieved[q.contrast]).values
    slice_ = make_backend("fourier", angles, columns, axis)(values[None])[0]
    found = slice_[24:34, 31:41].mean() * scale(quantity, PIXEL_M, ENERGY_KEV)
    truth = {"delta": delta, "beta": beta, "mu": mu, "darkfield": extinction}[quantity]
    assert found == pytest.approx(truth, rel=0.01)
    assert truth > 0


def test_dead_rays_are_floored_counted_and_never_nan():
    rng = np.random.default_rng(3)
    t = 0.5 + 0.01 * rng.normal(size=(20, 200))
    assert log_floor(t) == pytest.approx(0.01, rel=0.1)
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
    with pytest.raises(ConfigError, match="energy"):
        scale("delta", PIXEL_M)
    with pytest.raises(ConfigError, match="delta, mu, darkfield, beta"):
        scale("rho", PIXEL_M)
