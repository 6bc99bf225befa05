"""Noise that a low-pass has correlated: the variance of a window's sum, counted on many realisations."""

from __future__ import annotations

import math

import pytest
import torch

from speckleflow.retrieval.filters import energy, filter_xy, gaussian
from speckleflow.retrieval.noise import noise_gain
from speckleflow.retrieval.normal import local_mean, make_basis


@pytest.mark.parametrize("low_pass", [0.7, 1.2])
def test_the_gain_is_the_variance_of_a_windows_sum_over_that_of_white_noise(low_pass):
    """For each regressor (m, rho, r_x, r_y), of a pattern that is finer along y than along x."""
    generator = torch.Generator().manual_seed(3)
    white = torch.randn(8, 160, 200, generator=generator)
    pattern = 1 + 0.2 * filter_xy(white, gaussian(2.5), gaussian(1.2), "mirror")
    kernel = gaussian(low_pass)
    basis = make_basis(pattern, local_mean(pattern, 64.0), kernel)
    gain = noise_gain(basis, low_pass)
    noise = filter_xy(torch.randn(40, 8, 160, 200, generator=generator), kernel, kernel, "mirror")
    noise /= noise.std()
    for sigma in (1.0, 2.5):
        window = gaussian(sigma)
        found = []
        for regressor in (basis.mean.expand_as(basis.rho), basis.rho, basis.rx, basis.ry):
            summed = filter_xy((regressor * noise).sum(1), window, window, "zero")[:, 12:-12, 12:-12]
            squares = tuple(w * w for w in window)
            uncorrelated = filter_xy((regressor**2).sum(0), squares, squares, "zero")[12:-12, 12:-12]
            found.append(float(summed.square().mean() / uncorrelated.mean()))
        expected = gain(sigma).flatten().tolist()
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, rel=0.08), (sigma, found, expected)


def test_noise_that_stays_white_has_no_gain():
    pattern = 1 + 0.2 * torch.randn(5, 48, 64, generator=torch.Generator().manual_seed(1))
    gain = noise_gain(make_basis(pattern, local_mean(pattern, 64.0), (1.0,)), 0.0)
    for sigma in (0.5, 3.0):
        torch.testing.assert_close(gain(sigma), torch.ones(4, 1, 1))


def test_the_correlation_of_the_mean_is_the_noises_own():
    """sum over d of exp(-d^2 / 4 s^2) exp(-d^2 / 4 sigma^2) over whole-pixel lags up to 4."""
    pattern = 1 + 0.2 * torch.randn(5, 48, 64, generator=torch.Generator().manual_seed(1))
    gain = noise_gain(make_basis(pattern, local_mean(pattern, 64.0), gaussian(0.9)), 0.9)
    line = sum(math.exp(-(d**2) * (1 / 0.9**2 + 1 / 1.7**2) / 4) for d in range(-4, 5))
    assert float(gain(1.7)[0]) == pytest.approx(line**2, rel=1e-5)
    assert energy(gaussian(2.0)) == pytest.approx(1 / (2 * math.sqrt(math.pi) * 2.0), rel=1e-3)
