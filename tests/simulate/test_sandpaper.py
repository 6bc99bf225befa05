"""Stacked sandpapers in a divergent beam, and pairs deformed patch by patch."""

from __future__ import annotations

import math

import pytest
import torch

from speckleflow.errors import ConfigError
from speckleflow.simulate.draw import Draw
from speckleflow.simulate.optics import bin_mean, gaussian_blur_periodic, shift_spectrum
from speckleflow.simulate.sandpaper import (
    MARGIN_PX,
    OVERSAMPLING,
    DeformationRanges,
    DivergentBeam,
    SandpaperRanges,
    autocorrelation_fwhm,
    deformed_pair,
    draw_speckle,
    patchwise,
)

BEAM = DivergentBeam()
STILL = DeformationRanges(displacement_px=0.0, constant=0.0, transmission_min=1.0, photons=(1e9, 1e9))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def speckle():
    return draw_speckle(seeded(), BEAM, 96, SandpaperRanges())


def test_the_parallel_beam_is_that_of_the_fresnel_scaling_theorem():
    # source at 1 m, detector at 3 m: magnification 3; z_eff = 2 m / 3, pixel 12 um / 3
    assert BEAM.parallel.pixel_size_m == pytest.approx(4e-6)
    assert BEAM.parallel.distance_m == pytest.approx(2 / 3)
    # a focal spot of 10 um is 20 um wide on the detector (M - 1 = 2); point spread 1/2.355 px
    assert BEAM.blur_px == pytest.approx(math.hypot(20 / 12, 1) / 2.3548, rel=1e-4)


def test_fwhm_of_smoothed_noise_is_that_of_its_autocorrelation():
    sigma = 2.5  # noise smoothed by a Gaussian has a Gaussian autocorrelation, sqrt 2 as wide
    noise = torch.randn(512, 512, generator=seeded())
    image = gaussian_blur_periodic(noise, sigma)
    assert autocorrelation_fwhm(image) == pytest.approx(math.sqrt(2) * sigma * 2.3548, rel=0.03)


def test_patterns_have_the_speckle_size_and_visibility_that_were_asked_for(speckle):
    wanted = SandpaperRanges(fwhm_px=(3.0, 4.0), visibility=0.3)
    drawn = draw_speckle(seeded(3), BEAM, 96, wanted)
    seen = bin_mean(gaussian_blur_periodic(drawn.image, BEAM.blur_px * OVERSAMPLING), OVERSAMPLING)
    assert 3.0 <= autocorrelation_fwhm(seen) <= 4.0
    assert float(seen.std() / seen.mean()) >= 0.3
    with pytest.raises(ConfigError, match=r"at least 0\.95, found none in 40 sandpapers"):
        draw_speckle(seeded(), BEAM, 64, SandpaperRanges(visibility=0.95))


def test_patchwise_fields_are_linear_between_nodes():
    nodes = torch.randn(7, 7, generator=seeded())
    field = patchwise(Draw(seeded(1)), 40, 8.0, nodes)
    assert field.abs().max() <= nodes.abs().max()
    bends = field.diff(n=2, dim=1).abs().amax(0) > 1e-5
    assert 4 <= int(bends.sum()) <= 10  # 5 nodes within 40 samples, each bending one or two triples


def test_a_constant_displacement_moves_the_pattern_by_it_to_the_right_and_down(speckle):
    size = 48
    moved = DeformationRanges(constant=1.0, constant_px=0.9, transmission_min=1.0, photons=(1e9, 1e9))
    seen = set()
    for seed in range(12):
        pair = deformed_pair(seeded(seed), speckle.image, BEAM, size, moved)
        ux, uy = (float(u[0, 0]) for u in pair.displacement)
        assert pair.displacement.std((1, 2)).max() < 1e-6
        seen.add((ux != 0, uy != 0))
        spectrum = torch.fft.rfft2(pair.reference)
        # sample(x) = reference(x - u); the image is not periodic, so its inside is compared
        shifted = shift_spectrum(spectrum, (size, size), uy, ux)
        inner = (slice(10, -10), slice(10, -10))
        error = (shifted - pair.sample)[inner].square().mean().sqrt()
        # measured 0.004 to 0.018 (the cut border rings); a wrong sign or swapped axes give 0.1 and more
        assert error < 0.03, (seed, ux, uy)
    assert len(seen) == 4, "none, along x, along y, both"


def test_light_is_conserved_and_transmission_is_within_its_limits(speckle):
    bent = DeformationRanges(patch_px=(8,), constant=0.0, transmission_min=0.5, photons=(1e9, 1e9))
    pair = deformed_pair(seeded(2), speckle.image, BEAM, 96, bent)
    assert pair.displacement.abs().max() <= 1.0
    assert 0.5 <= pair.transmission.min() < 0.65
    assert 0.85 < pair.transmission.max() <= 1.0
    flat = torch.ones_like(speckle.image)
    pair = deformed_pair(
        seeded(2),
        flat,
        BEAM,
        96,
        DeformationRanges(patch_px=(32,), constant=0.0, transmission_min=1.0, photons=(1e9, 1e9)),
    )
    ux, uy = pair.displacement
    divergence = torch.gradient(ux, dim=1)[0] + torch.gradient(uy, dim=0)[0]
    # where rays come together (div u < 0) there is more light: I = 1 / det(1 + grad u) to first order
    slope = float((pair.sample - 1).flatten() @ -divergence.flatten() / divergence.square().sum())
    assert slope == pytest.approx(1.0, abs=0.06)  # measured 0.98


def test_noise_is_that_of_the_photons(speckle):
    noisy = DeformationRanges(displacement_px=0.0, constant=0.0, transmission_min=1.0, photons=(400.0, 400.0))
    pair = deformed_pair(seeded(4), speckle.image, BEAM, 96, noisy)
    clean = deformed_pair(seeded(4), speckle.image, BEAM, 96, STILL)
    variance = ((pair.reference - clean.reference).square() / clean.reference).mean()
    assert float(variance) == pytest.approx(1 / 400, rel=0.06)  # 9216 pixels: 1.5 % standard deviation
    assert not torch.equal(pair.reference - clean.reference, pair.sample - clean.sample)
    assert clean.sample.shape == (96, 96)
    assert MARGIN_PX >= 8


def test_pairs_are_a_function_of_the_seed(speckle):
    pairs = [deformed_pair(seeded(s), speckle.image, BEAM, 48, DeformationRanges()) for s in (5, 5, 6)]
    assert all(torch.equal(a, b) for a, b in zip(pairs[0], pairs[1], strict=True))
    assert not torch.equal(pairs[0].reference, pairs[2].reference)
