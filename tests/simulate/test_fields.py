"""Random scenes: light along rays between stacks and truth, limits, noise, detectors, repeatability."""

from dataclasses import replace

import pytest
import torch

from speckleflow.simulate.fields import SceneRanges, random_batch, random_scene
from speckleflow.simulate.optics import corner_gradients
from speckleflow.simulate.patterns import PatternBank
from speckleflow.simulate.random_samples import random_corners
from speckleflow.simulate.warp import jacobian, spline_at

SIZE = 64
QUIET = SceneRanges(
    photons=(1e12, 1.001e12), read_noise=0.0, flux_error=0.0, beam=0.0, halo=0.0, reference_frames=(1,)
)
CLEAR = replace(QUIET, transmission_min=1.0, darkfield_min=1.0, blur_px=(0.7, 0.7), contrast=(0.3, 0.3))


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def bank():
    return PatternBank(generator(1), patterns=6, size_px=128, pitch_px=(6.0, 10.0), waves=2)


def landed(images, ux, uy):
    """Images read where the rays land."""
    y, x = torch.meshgrid(torch.arange(SIZE).double(), torch.arange(SIZE).double(), indexing="ij")
    return spline_at(images.double(), y + uy, x + ux)


@pytest.mark.parametrize("wave", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_sample_is_the_reference_along_the_rays_thinned_by_the_determinant(bank, seed, wave):
    """Without absorption and scattering; the mirrored displacement and the one without the determinant are worse."""
    ranges = replace(CLEAR, kinds=("smooth",), displacement_px=(1.0, 2.0), wave=wave)
    scene = random_scene(generator(seed), 4, SIZE, bank, ranges)
    inner = (slice(None), slice(10, -10), slice(10, -10))
    seen = landed(scene.sample, scene.ux, scene.uy)
    determinant = jacobian(scene.ux, scene.uy)
    error = (seen * determinant - scene.reference)[inner].std()
    assert float(error) < 0.6 * float((seen - scene.reference)[inner].std())
    mirrored = landed(scene.sample, -scene.ux, -scene.uy) * determinant
    assert float(error) < 0.4 * float((mirrored - scene.reference)[inner].std())


def test_transmission_and_dark_field_are_those_of_the_stack(bank):
    """Without displacement every pixel obeys I_s = T (1 + D (I_r - 1)), but for edges, which are blurred."""
    ranges = replace(QUIET, displacement_px=(1e-6, 1.1e-6), contrast=(0.3, 0.3), blur_px=(0.3, 1.0))
    dark_pixels = 0
    for seed in range(16):
        scene = random_scene(generator(seed), 4, SIZE, bank, ranges)
        expected = scene.transmission * (1 + scene.darkfield * (scene.reference - 1))
        error = (scene.sample - expected).abs()
        assert float(error.median()) < 3e-3
        dark = (scene.transmission < 0.9) & (scene.darkfield < 0.9)
        dark_pixels += int(dark.sum())
        if dark.sum() > 100:
            assert float(error[:, dark].median()) < 8e-3
    assert dark_pixels > 200


def test_scattered_light_lands_in_a_halo(bank):
    """The halo takes light from where the sample scatters to where it does not; the sum stays."""
    ranges = replace(QUIET, displacement_px=(1e-6, 1.1e-6), kinds=("solids",), transmission_min=1.0)
    pairs = [
        [random_scene(generator(seed), 2, SIZE, bank, replace(ranges, halo=halo)) for halo in (0.0, 1.0)]
        for seed in range(8)
    ]
    gains = []
    for plain, halo in pairs:
        clear = plain.darkfield > 0.999
        if 200 < int(clear.sum()) < SIZE**2 - 200:
            ratio = halo.sample.mean(0) / halo.reference.mean(0)
            gains.append(float(ratio[clear].mean() - ratio[~clear].mean()))
    assert len(gains) >= 2
    assert max(gains) > 0.01


def test_limits_are_kept(bank):
    ranges = SceneRanges(wave=0.2, filled=0.3, wrong_position=0.3)
    largest = []
    for seed in range(16):
        scene = random_scene(generator(seed), 5, SIZE, bank, ranges)
        length = scene.ux.hypot(scene.uy)
        largest.append(float(length.max()))
        assert float(length.max()) <= ranges.displacement_px[1]
        assert ranges.transmission_min - 1e-4 <= float(scene.transmission.min())
        assert float(scene.transmission.max()) <= 1 + 1e-6
        assert ranges.darkfield_min - 1e-4 <= float(scene.darkfield.min())
        assert float(scene.darkfield.max()) <= 1 + 1e-6
        assert 0 <= float(scene.blur_px) <= 1.5
        assert all(bool(torch.isfinite(part).all()) for part in scene)
        assert 0.7 < float(scene.reference.mean()) < 1.3
    assert min(largest) < 0.6
    assert max(largest) > 2


@pytest.mark.parametrize("scintillator", [0.0, 1.0])
def test_noise_is_that_of_the_photons(bank, scintillator):
    """Two scenes that differ in the photons alone; a scintillator's optics blur the noise and make it smaller."""
    blur = replace(QUIET, blur_px=(1.0, 1.0), scintillator=scintillator)
    quiet = random_scene(generator(3), 6, SIZE, bank, blur)
    noisy = random_scene(generator(3), 6, SIZE, bank, replace(blur, photons=(500.0, 500.0)))
    relative = ((noisy.reference - quiet.reference) / quiet.reference.sqrt()).double()
    std = float(relative.std()) * 500**0.5
    neighbours = float((relative[..., 1:] * relative[..., :-1]).mean() / relative.square().mean())
    # Gaussian of 1 px and a box of 1 px: variance 1 / (4 pi) to 3 %, correlation of neighbours exp(-1 / 4.3)
    assert std == pytest.approx((1 / (4 * torch.pi * (1 + 1 / 12))) ** 0.5 if scintillator else 1.0, rel=0.03)
    assert neighbours == pytest.approx(0.79 if scintillator else 0.0, abs=0.03)
    assert torch.equal(quiet.ux, noisy.ux)


def test_references_are_averaged(bank):
    one, ten = (
        random_scene(
            generator(3), 6, SIZE, bank, replace(QUIET, photons=(500.0, 500.0), reference_frames=(k,))
        )
        for k in (1, 10)
    )
    quiet = random_scene(generator(3), 6, SIZE, bank, QUIET)
    noise = [float((scene.reference - quiet.reference).std()) for scene in (one, ten)]
    assert noise[0] / noise[1] == pytest.approx(10**0.5, rel=0.03)
    assert torch.equal(one.sample, ten.sample)


def test_filled_pixels_and_wrong_positions(bank):
    plain = random_scene(generator(5), 5, SIZE, bank, QUIET)
    filled = random_scene(generator(5), 5, SIZE, bank, replace(QUIET, filled=1.0))
    changed = (filled.reference != plain.reference).any(0)
    assert 0 < int(changed.sum()) < 0.05 * SIZE**2
    assert torch.equal(changed, (filled.sample != plain.sample).any(0))
    wrong = random_scene(generator(5), 5, SIZE, bank, replace(QUIET, wrong_position=1.0))
    assert int((wrong.sample != plain.sample).any(-1).any(-1).sum()) == 1
    assert torch.equal(wrong.reference, plain.reference)


def test_batches_are_repeatable(bank):
    one, same, other = (random_batch(generator(seed), 2, 5, 48, bank) for seed in (7, 7, 8))
    assert one.reference.shape == one.sample.shape == (2, 5, 48, 48)
    assert one.ux.shape == one.darkfield.shape == (2, 48, 48)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.reference, other.reference)
    assert not torch.equal(one.ux[0], one.ux[1])


def test_refraction_has_no_curl():
    phase = random_corners(generator(2), 96, 2).phase.double()
    gx, gy = corner_gradients(phase)
    # around the square of four neighbouring samples' means
    curl = (gy[:-1, 1:] - gy[:-1, :-1] + gy[1:, 1:] - gy[1:, :-1]) - (
        gx[1:, :-1] - gx[:-1, :-1] + gx[1:, 1:] - gx[:-1, 1:]
    )
    assert float(curl.abs().max()) < 1e-9 * float(gx.abs().max() + 1)


def test_hard_edges_are_hard_and_soft_ones_soft():
    """The steepest neighbouring gradients, relative to the range of the phase."""

    def steepest(edge_px):
        phase = random_corners(generator(4), 128, 2, ("solids",), edge_px).phase
        return float(corner_gradients(phase)[0].diff(dim=1).abs().max() / (phase.max() - phase.min()))

    assert steepest((0.0, 1e-6)) > 4 * steepest((3.0, 3.0))
