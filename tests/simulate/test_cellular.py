"""Foam, sponge and spheres: thickness by geometry, and their exposures."""

from __future__ import annotations

import math

import pytest
import torch

from speckleflow.simulate import cellular
from speckleflow.simulate.cellular import (
    MARGIN_PX,
    OVERSAMPLING,
    SAMPLES,
    Exposures,
    SpeckleSetup,
    counted,
    expose,
    random_exposures,
    sandpaper_wave,
    thickness,
)
from speckleflow.simulate.materials import material

SETUP = SpeckleSetup()
SIZE = 48
SIDE = SIZE + 2 * MARGIN_PX
PIXEL_M = SETUP.beam.pixel_size_m


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def wave():
    return sandpaper_wave(seeded(), SETUP, SIDE)


def smooth_lens(wave: torch.Tensor, height_m: float) -> tuple[Exposures, torch.Tensor]:
    """A Gaussian hill of POM in the middle (standard deviations 9 and 12 px), and its thickness at the corners."""
    corner = torch.arange(SIDE * OVERSAMPLING + 1, dtype=torch.float64) / OVERSAMPLING - SIDE / 2
    hill = torch.exp(-0.5 * (corner[:, None] / 9) ** 2 - 0.5 * (corner[None, :] / 12) ** 2)
    depth = height_m * hill
    return expose(seeded(1), wave, depth, material("POM"), SETUP), depth


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_have_matter_somewhere_and_nothing_negative(kind):
    depth = thickness(seeded(2), kind, 64, PIXEL_M)
    assert depth.shape == (64 * OVERSAMPLING + 1,) * 2
    assert depth.min() >= 0
    assert depth.max() > PIXEL_M
    assert torch.equal(depth, thickness(seeded(2), kind, 64, PIXEL_M))
    assert not torch.equal(depth, thickness(seeded(3), kind, 64, PIXEL_M))


def test_a_chord_is_that_of_a_circle():
    chord = cellular._chord(5.0, torch.tensor([0.0, 9.0, 25.0, 36.0]))
    assert chord.tolist() == pytest.approx([10.0, 8.0, 0.0, 0.0])


def test_displacement_is_the_slope_of_the_thickness(wave):
    made, _ = smooth_lens(wave, 40e-6)
    # alpha_x = -delta dt/dx, u = alpha d / p; at one standard deviation the slope is exp(-1/2) h / sigma
    delta = material("POM").delta(15.0)
    steepest = delta * 40e-6 * math.exp(-0.5) / (12 * PIXEL_M) * 0.6 / PIXEL_M
    assert float(made.displacement[0].max()) == pytest.approx(steepest, rel=0.01)
    # phase is negative in matter and a convex body of n < 1 spreads the rays: u points outward, to the right of it
    assert made.phase.min() < -3
    assert made.phase.max() < 0
    middle = SIZE // 2
    assert made.displacement[0, middle, middle + 12] > 0.9 * steepest
    assert float(made.phase[middle, middle]) == pytest.approx(
        -SETUP.beam.wavenumber_m * delta * 40e-6, rel=0.01
    )


def test_in_line_image_follows_the_transport_of_intensity(wave):
    made, _ = smooth_lens(wave, 10e-6)
    ux, uy = made.displacement
    divergence = torch.gradient(ux, dim=1)[0] + torch.gradient(uy, dim=0)[0]
    bright = made.inline / made.transmission - 1
    inner = (slice(4, -4), slice(4, -4))
    slope = float((bright * -divergence)[inner].sum() / divergence[inner].square().sum())
    assert slope == pytest.approx(1.0, abs=0.03)  # measured 0.99


def test_speckle_is_the_in_line_image_times_the_displaced_pattern(wave):
    """Eq. (1), with sample and without."""
    still, _ = smooth_lens(wave, 0.0)
    assert torch.allclose(still.speckle, still.reference, atol=1e-5)
    assert torch.allclose(still.inline, torch.ones(SIZE, SIZE), atol=1e-5)
    made, _ = smooth_lens(wave, 40e-6)
    assert 0.25 < float(made.reference.std()) < 0.6
    plain = (made.speckle - made.reference).std()
    from speckleflow.simulate.warp import landing_to_reference, spline_at

    y, x = landing_to_reference(*made.displacement)
    modelled = made.inline * spline_at(made.reference[None], y, x)[0]
    inner = (slice(8, -8), slice(8, -8))
    # the pattern is diffracted by the sample as well: measured 0.12 of the difference that displacement makes
    assert (modelled - made.speckle)[inner].std() < 0.3 * plain


def test_counts_are_poisson():
    frames = torch.full((200, 200), 0.5)
    noisy = counted(seeded(), frames, 1000.0)
    assert float(noisy.mean()) == pytest.approx(0.5, rel=0.002)
    assert float(noisy.var()) == pytest.approx(0.5 / 1000, rel=0.03)


def test_random_exposures_are_a_function_of_the_seed():
    first, again, other = (random_exposures(seeded(s), "sponge", 32, SETUP) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.speckle, other.speckle)
