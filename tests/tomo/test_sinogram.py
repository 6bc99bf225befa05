"""Signs, noise and units between the retrieved contrasts and the volumes."""

from __future__ import annotations

import numpy as np
import pytest

from speckleflow.errors import ConfigError, InputError
from speckleflow.tomo.sinogram import SMALLEST_RATIO, line_integrals, ratio_noise


def test_dead_rays_are_counted_and_finite():
    rng = np.random.default_rng(3)
    t = 0.5 + 0.01 * rng.normal(size=(20, 200))
    noise = ratio_noise(t)
    assert noise.deviation(np.float32([0.5]))[0] == pytest.approx(0.01, rel=0.05)  # measured 3.3 %
    t[3, 7], t[4, 8], t[5, 9] = 0.0, -0.2, 1e-4
    done = line_integrals("transmission", t, (1e-4, 0.0))
    assert done.below_noise == 3
    # (v + sqrt(v^2 + 2 s^2)) / 2 with s = 0.01; below 0 it falls as s^2 / (2 |v|)
    by_hand = [0.01 / np.sqrt(2), (np.sqrt(0.0402) - 0.2) / 2, (1e-4 + np.sqrt(1e-8 + 2e-4)) / 2]
    np.testing.assert_allclose(done.values[[3, 4, 5], [7, 8, 9]], -np.log(by_hand), rtol=1e-4)
    np.testing.assert_allclose(done.values[0], -np.log(t[0] + 1e-4 / 2 / t[0]), atol=1e-6)
    assert line_integrals("darkfield", np.full((2, 5), 1.1)).values.max() < 0  # noise above 1 is kept


def test_phase_changes_its_sign_and_nothing_else():
    phi = np.array([[0.0, -3.0, 2.0]], np.float32)
    done = line_integrals("phase", phi)
    np.testing.assert_array_equal(done.values, -phi)
    assert done.below_noise == 0


def test_bad_values_are_refused():
    with pytest.raises(InputError, match="transmission: expected finite values, found 2 NaN"):
        line_integrals("transmission", [[1.0, np.nan, np.inf]])
    for noise in ((0.0, 0.0), (-1.0, 1.0), (1.0, -1.0), (np.nan, 0.0)):
        with pytest.raises(InputError, match="positive variance"):
            line_integrals("darkfield", [[1.0]], noise)
    with pytest.raises(ConfigError, match="'dark'"):
        line_integrals("dark", [[1.0]])


def test_noise_is_measured_whatever_the_structure():
    """Second differences of straight flanks are 0, and a step touches two of them."""
    x = np.arange(400.0)
    flanks = 0.2 + 0.001 * np.abs(x - 180) + 0.3 * (x > 300)
    assert ratio_noise(flanks) == pytest.approx((SMALLEST_RATIO**2, 0.0))
    assert pytest.approx(1.52590e-5, rel=1e-5) == SMALLEST_RATIO
    noisy = flanks + 0.004 * np.random.default_rng(2).normal(size=(5, 7, 400))
    measured = ratio_noise(noisy).deviation(np.float32([0.2, 0.7]))
    np.testing.assert_allclose(measured, 0.004, rtol=0.12)  # measured 0.2 and 4 %: the slope is not exactly 0
    assert ratio_noise([[0.5, 0.7]]) == (SMALLEST_RATIO**2, 0.0)


@pytest.mark.parametrize("read_noise", [0.0, 10.0])
def test_the_noise_of_counted_photons_grows_with_the_ratio(read_noise):
    """Variance of counts / 2000: 1 / 2000 for each unit of T, and that of the read noise."""
    rng = np.random.default_rng(4)
    t = np.broadcast_to(np.linspace(0.01, 1, 300), (20, 30, 300))
    measured = ratio_noise((rng.poisson(2000 * t) + read_noise * rng.normal(size=t.shape)) / 2000)
    assert measured.slope == pytest.approx(1 / 2000, rel=0.04)  # measured 0.3 and 1.4 %
    assert measured.constant == pytest.approx(
        (read_noise / 2000) ** 2, rel=0.15, abs=1e-6
    )  # 5 % with read noise


@pytest.mark.parametrize("transmission", [0.005, 0.01, 0.05])
def test_few_photons_do_not_bias_the_mean_attenuation(transmission):
    """1000 photons in the air: at T = 0.005 the mean of -ln of counts over 1000 is undefined (some counts are 0)."""
    rng = np.random.default_rng(5)
    path = np.sqrt(np.clip(1 - np.linspace(-1.3, 1.3, 200) ** 2, 0, None))
    truth = -np.log(transmission) * path
    counts = rng.poisson(1000 * np.exp(-truth), size=(40, 50, 200)) / 1000
    middle = line_integrals("transmission", counts).values[..., 90:110].mean()
    expected = truth[90:110].mean()
    limit = {0.005: 0.02, 0.01: 0.005, 0.05: 0.001}  # measured 0.9, 0.1 and 0.02 %
    assert middle == pytest.approx(expected, rel=limit[transmission])


def test_noise_of_the_caller():
    done = line_integrals("transmission", [[0.5, 0.2, 0.1, 0.05]], (1e-8, 1e-3))
    variance = 1e-8 + 1e-3 * np.array([0.5, 0.2, 0.1, 0.05])
    np.testing.assert_allclose(done.values[0], [0.692149, 1.606947, 2.297622, 2.985877], rtol=2e-6)
    np.testing.assert_allclose(
        done.values[0], -np.log([0.5, 0.2, 0.1, 0.05]), atol=1.2 * variance[-1] / 0.005
    )
    assert (done.below_noise, done.values.dtype) == (0, np.float32)
    with pytest.raises(ConfigError, match="phase, transmission, darkfield, found 'ux'"):
        line_integrals("ux", [[0.5]])
