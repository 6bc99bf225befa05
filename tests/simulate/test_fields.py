"""Training scenes: eq. (1) holds between stacks and truth, they are repeatable and within limits."""

import pytest
import torch

from speckleflow.simulate.fields import PatternBank, SceneRanges, random_batch, random_scene
from speckleflow.simulate.warp import jacobian, spline_at

SIZE = 64


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def bank():
    return PatternBank(generator(1), patterns=6, size_px=128)


def scene_without_noise(bank, seed, **limits):
    ranges = SceneRanges(photons=(1e9, 1e9), flux_error=0.0, **limits)
    return random_scene(generator(seed), 4, SIZE, bank, ranges)


@pytest.mark.parametrize("seed", range(4))
def test_the_sample_is_the_warped_reference(seed):
    """Without absorption and scattering the sample, read where rays land, is the reference."""
    coarse = PatternBank(generator(2), patterns=3, size_px=128, ranges=SceneRanges(pitch_px=(6.0, 10.0)))
    limits = {
        "transmission_min": 1.0,
        "darkfield_min": 1.0,
        "contrast": (0.3, 0.3),
        "blur_px": (0.7, 0.7),
        "beam": 0.0,
    }
    scene = scene_without_noise(coarse, seed, displacement_px=(1.0, 3.0), **limits)
    y, x = torch.meshgrid(torch.arange(SIZE).double(), torch.arange(SIZE).double(), indexing="ij")
    landed = spline_at(scene.sample.double(), y + scene.uy, x + scene.ux)
    inner = (slice(None), slice(10, -10), slice(10, -10))
    error = (landed - scene.reference)[inner].std()
    still = (scene.sample - scene.reference)[inner].std()
    mirrored = (spline_at(scene.sample.double(), y - scene.uy, x - scene.ux) - scene.reference)[inner].std()
    assert float(error) < 0.4 * float(min(still, mirrored))


def test_transmission_and_dark_field_are_those_of_the_stack(bank):
    """Without displacement every pixel obeys I_s = T (1 + D (I_r - 1)), but for edges, which are blurred."""
    limits = {"displacement_px": (1e-6, 1e-6), "contrast": (0.3, 0.3), "beam": 0.0}
    seen = 0
    for seed in range(8):
        scene = scene_without_noise(bank, seed, **limits)
        expected = scene.transmission * (1 + scene.darkfield * (scene.reference - 1))
        error = (scene.sample - expected).abs()
        assert float(error.median()) < 2e-3
        dark = (scene.transmission < 0.8) & (scene.darkfield < 0.8)
        seen += int(dark.sum())
        if dark.sum() > 100:
            assert float(error[:, dark].median()) < 5e-3
    assert seen > 500


def test_limits_are_kept(bank):
    ranges = SceneRanges()
    largest = []
    for seed in range(12):
        scene = random_scene(generator(seed), 3, SIZE, bank)
        length = scene.ux.hypot(scene.uy)
        largest.append(float(length.max()))
        assert float(length.max()) <= ranges.displacement_px[1]
        assert float((jacobian(scene.ux, scene.uy) < ranges.jacobian_min - 0.1).float().mean()) < 0.005
        assert (
            ranges.transmission_min - 1e-4
            <= float(scene.transmission.min())
            <= float(scene.transmission.max())
            <= 1
        )
        assert (
            ranges.darkfield_min - 1e-4 <= float(scene.darkfield.min()) <= float(scene.darkfield.max()) <= 1
        )
        assert all(bool(torch.isfinite(part).all()) for part in scene)
        assert 0.8 < float(scene.reference.mean()) < 1.2
    assert min(largest) < 0.5
    assert max(largest) > 3


def test_noise_is_that_of_the_photons(bank):
    """Two scenes that differ in nothing but the photons."""
    quiet = random_scene(generator(3), 6, SIZE, bank, SceneRanges(photons=(1e12, 1e12), flux_error=0.0))
    noisy = random_scene(generator(3), 6, SIZE, bank, SceneRanges(photons=(500.0, 500.0), flux_error=0.0))
    relative = (noisy.reference - quiet.reference) / quiet.reference.sqrt()
    assert float(relative.std()) == pytest.approx(500**-0.5, rel=0.02)
    assert torch.equal(quiet.ux, noisy.ux)


def test_batches_are_repeatable(bank):
    one, same, other = (random_batch(generator(seed), 2, 5, 48, bank) for seed in (7, 7, 8))
    assert one.reference.shape == one.sample.shape == (2, 5, 48, 48)
    assert one.ux.shape == one.darkfield.shape == (2, 48, 48)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.reference, other.reference)
    assert not torch.equal(one.ux[0], one.ux[1])


def test_sharp_solids_refract_as_they_absorb(bank):
    """In one material the displacement is proportional to the gradient of ln T, limbs included."""
    agreement = []
    for seed in range(6):
        scene = scene_without_noise(bank, seed, sharp=0.999, displacement_px=(2.0, 8.0))
        gy, gx = torch.gradient(scene.transmission.log())
        inner = (slice(2, -2), slice(2, -2))
        g, u = (torch.stack(pair)[(..., *inner)].flatten() for pair in ((gx, gy), (scene.ux, scene.uy)))
        if float(g.std()) > 1e-3:
            agreement.append(abs(float(torch.corrcoef(torch.stack([g, u]))[0, 1])))
        assert all(bool(torch.isfinite(part).all()) for part in scene)
    assert max(agreement) > 0.8


def test_limbs_of_sharp_solids_are_sharp(bank):
    """Neighbouring pixels differ by more than the smooth scenes' limit, and rays cross."""
    crossed = 0.0
    for seed in range(6):
        scene = scene_without_noise(bank, seed, sharp=0.999, displacement_px=(8.0, 8.0))
        crossed = max(crossed, float((jacobian(scene.ux, scene.uy) < 0).float().mean()))
        assert float(scene.ux.hypot(scene.uy).max()) <= 8.0
    assert crossed > 0.005
