"""Fresnel propagation against closed solutions, and its sampling check."""

import math

import pytest
import torch

from speckleflow.errors import ConfigError
from speckleflow.simulate.wave import intensity, propagate, transmission_function


def test_gaussian_beam_spreads_as_the_textbook_says():
    # exp(-r^2 / w^2): width w sqrt(1 + (lambda d / pi w^2)^2), intensity on the axis down by its square
    samples, width, fresnel_number = 256, 10.0, 1 / 200.0
    x = torch.arange(samples, dtype=torch.float64) - samples // 2
    r2 = x[:, None] ** 2 + x[None, :] ** 2
    seen = intensity(propagate(torch.exp(-r2 / width**2).to(torch.complex128), fresnel_number))
    spread = 1 + (1 / fresnel_number / (math.pi * width**2)) ** 2
    expected = torch.exp(-2 * r2 / (width**2 * spread)) / spread
    assert float((seen - expected).abs().max()) < 1e-6


def test_a_grating_images_itself_at_the_talbot_distance():
    # z = 2 period^2 / lambda, so s^2 / (lambda z) = 1 / (2 period^2) in samples of s
    period, samples = 16, 1024
    x = torch.arange(samples)
    grating = ((x // (period // 2)) % 2).to(torch.complex128)[None, :].expand(samples, samples)
    again = propagate(grating, 1 / (2 * period**2))
    assert float((again - grating).abs().max()) < 1e-9
    shifted = propagate(grating, 1 / period**2)  # half the distance: moved by half a period
    assert float((shifted.abs() - grating.roll(period // 2, 1).abs()).abs().max()) < 1e-9


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_matter_thicker_outside_focuses(sign):
    """A concave lens (phase most negative outside) gathers light on the axis; a convex one spreads it."""
    samples, fresnel_number = 256, 0.05
    x = torch.arange(samples, dtype=torch.float64) - samples // 2
    r2 = x[:, None] ** 2 + x[None, :] ** 2
    thickness = torch.exp(-r2 / 800.0)
    phase = (2.0 if sign > 0 else -2.0) * thickness  # phi <= 0 in matter up to a constant
    seen = intensity(propagate(transmission_function(phase, torch.zeros_like(phase)), fresnel_number))
    on_axis = float(seen[samples // 2, samples // 2])
    # transport of intensity: I = 1 - (lambda d / 2 pi) laplacian(phi), here laplacian = -4 * 2 / 800
    assert (on_axis - 1) * sign > 0.03


def test_an_undersampled_transfer_function_is_refused():
    with pytest.raises(
        ConfigError, match="expected at least lambda d / s\\^2 = 200 samples a side, found 128"
    ):
        propagate(torch.ones(128, 128, dtype=torch.complex64), 1 / 200)


@pytest.mark.parametrize("fresnel_number", [0.02, 0.05, 0.1])
def test_a_smooth_lens_moves_light_as_rays_do(fresnel_number):
    """Rays of phase phi land at x + phi' / (2 pi N) (N the Fresnel number of a sample) and thin out by the map's
    determinant. What waves add is of the order of the next term of their expansion, (1 / (2 pi N sigma^2))^2.
    """
    samples, sigma, largest = 256, 14.0, 1.6
    x = torch.arange(samples, dtype=torch.float64) - samples // 2
    bell = torch.exp(-(x[:, None] ** 2 + x**2) / (2 * sigma**2))
    height = largest * sigma * math.exp(0.5)
    seen = intensity(
        propagate(
            transmission_function(-2 * math.pi * fresnel_number * height * bell, 0 * bell), fresnel_number
        )
    )
    line, g = seen[samples // 2], bell[samples // 2]
    u = height * x / sigma**2 * g
    along = 1 + height / sigma**2 * (1 - x**2 / sigma**2) * g
    across = 1 + height / sigma**2 * g
    inner = x.abs() < 4 * sigma
    where = x + u
    expected = 1 / (along * across)
    # the rays' intensity at the samples: interpolated between where they land
    at = torch.searchsorted(where, x[inner]).clamp(1, samples - 1)
    part = (x[inner] - where[at - 1]) / (where[at] - where[at - 1])
    rays = torch.lerp(expected[at - 1], expected[at], part)
    assert float(rays.min()) < 0.75  # a strong lens
    assert float((line[inner] / rays - 1).abs().max()) < 0.01
