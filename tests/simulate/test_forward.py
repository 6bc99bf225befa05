"""The forward models: light along rays to a hundredth of a pixel, its sum, signs, and wave optics against rays."""

import math

import pytest
import torch

from speckleflow.errors import ConfigError
from speckleflow.simulate.forward import (
    ProjectedFields,
    by_rays,
    equation_1_sample,
    modulated_sample,
    project,
    propagated_sample,
)
from speckleflow.simulate.optics import Beam, bin_mean, blur_matrix
from speckleflow.simulate.phantoms import Phantom
from speckleflow.simulate.solids import cylinder, sphere
from speckleflow.simulate.warp import jacobian, landing_to_reference, sample_at, spline_at

S = 4  #: samples a pixel
BEAM = Beam(20.0, 6.5e-6, 0.5)


def grid(rows, columns, oversampling=S):
    """Places of the samples in pixels, pixel centres at integers."""
    y = (torch.arange(rows * oversampling, dtype=torch.float64) + 0.5) / oversampling - 0.5
    x = (torch.arange(columns * oversampling, dtype=torch.float64) + 0.5) / oversampling - 0.5
    return y[:, None].expand(-1, len(x)), x[None, :].expand(len(y), -1)


def wavy(y, x):
    """A pattern of period 6 px whose value is known everywhere."""
    return 1 + 0.2 * torch.sin(2 * math.pi * (x + 0.4 * y) / 6) * torch.cos(2 * math.pi * (y - 0.3 * x) / 7)


def smooth_fields(y, x):
    """ux, uy, T, D as functions of place: gradients to 0.15 per pixel, T and D in the same places."""
    ux = 1.5 * torch.sin(x / 11) * torch.cos(y / 17)
    uy = -1.2 * torch.cos(x / 13) + 0.4
    bump = torch.exp(-((x - 30) ** 2 + (y - 26) ** 2) / 120)
    return ux, uy, 1 - 0.6 * bump, 1 - 0.5 * bump


@pytest.mark.parametrize("conserved", [True, False])
def test_the_equation_holds_at_the_landing_points(conserved):
    """T {1 + D (I_r - 1)} where the ray lands; divided by the determinant where light is conserved."""
    y, x = grid(56, 64)
    ux, uy, transmission, darkfield = smooth_fields(y, x)
    fields = ProjectedFields(ux, transmission, darkfield, ux, uy)
    reference = wavy(y, x)[None]
    seen = (modulated_sample if conserved else equation_1_sample)(reference, fields, S)
    # at reference places in the middle of the image: read the sample where the ray lands
    inner = (slice(60, -60), slice(60, -60))
    landed = spline_at(seen, ((y + uy + 0.5) * S - 0.5)[inner], ((x + ux + 0.5) * S - 0.5)[inner])
    expected = transmission * (1 + darkfield * (reference - 1))
    if conserved:
        expected = expected / jacobian(S * ux, S * uy)
    expected = expected[(slice(None), *inner)]
    assert float((landed - expected).abs().max()) < 3e-3  # measured 1.1e-3 and 7e-4
    # and it is no accident: the other sign of u is far off
    wrong = spline_at(seen, ((y - uy + 0.5) * S - 0.5)[inner], ((x - ux + 0.5) * S - 0.5)[inner])
    assert float((wrong - expected).abs().max()) > 0.1


def test_the_sum_of_the_light_is_conserved():
    """Also where rays cross and their intensities add up; the equation of the papers gains or loses percents."""
    y, x = grid(72, 64)
    bump = torch.exp(-((x - 30) ** 2 + (y - 34) ** 2) / 60)
    ux, uy = -2.5 * bump * (x - 30), -0.5 * bump * (y - 34)
    assert float(jacobian(S * ux, S * uy).min()) < -0.2
    inside = ((x > 4) & (x < 59) & (y > 4) & (y < 67)).double()  # no light leaves the image
    reference, one = wavy(y, x)[None], torch.ones_like(x)
    fields = ProjectedFields(ux, (one - 0.4 * bump) * inside, one - 0.5 * bump, ux, uy)
    behind = float((fields.transmission * (1 + fields.darkfield * (reference - 1))).sum())
    kept = float(modulated_sample(reference, fields, S).sum()) / behind - 1
    assert abs(kept) < 1e-9  # measured 4e-14
    assert abs(float(equation_1_sample(reference, fields, S).sum()) / behind - 1) > 0.01


def test_a_stretch_thins_the_light_out():
    """u = 0.1 x - 0.2 y-wards: the density is 1 / det everywhere."""
    y, x = grid(64, 80)
    ux, uy = 0.1 * (x - 40) + 0.05 * (y - 32), -0.2 * (y - 32)
    one = torch.ones_like(x)
    seen = modulated_sample(one[None], ProjectedFields(one, one, one, ux, uy), S)[0]
    assert (
        float((seen * 1.1 * 0.8 - 1)[100:-100, 100:-100].abs().max()) < 6e-3
    )  # before the detector; measured 3.1e-3


def test_a_uniform_displacement_moves_the_pattern_to_the_right_and_down():
    y, x = grid(40, 40)
    one = torch.ones_like(x)
    seen = modulated_sample(wavy(y, x)[None], ProjectedFields(one, one, one, 1.3 * one, 0.7 * one), S)[0]
    expected = wavy(y - 0.7, x - 1.3)
    assert float((seen - expected)[16:-16, 16:-16].abs().max()) < 1e-3


def test_no_sample_changes_nothing():
    y, x = grid(16, 16)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    pattern = wavy(y, x)[None]
    assert torch.equal(modulated_sample(pattern, ProjectedFields(zero, one, one, zero, zero), S), pattern)


def test_inverse_of_the_map_where_rays_spread_and_nearly_cross():
    y, x = grid(48, 48, 1)
    ux, uy = 2.7 * torch.sin(x / 3), torch.zeros_like(x)  # slopes of +-0.9: the Jacobian goes from 0.1 to 1.9
    ry, rx = landing_to_reference(ux, uy, tolerance=1e-4, iterations=400)
    inner = slice(4, -4)
    back = rx + sample_at(ux[None], ry, rx)[0]
    assert float((back - x)[inner, inner].abs().max()) < 1e-3
    assert float((ry - y).abs().max()) == 0


def test_jacobian_of_a_stretch():
    y, x = grid(12, 12, 1)
    assert torch.allclose(
        jacobian(0.2 * x + 0.1 * y, -0.3 * y + 0.1 * x), torch.tensor(1.2 * 0.7 - 0.01).double()
    )


def test_pixel_means_of_u_are_the_exact_mean_of_the_gradient():
    """A sphere: inside against the analytic gradient, over the edge against the phase."""
    ball = Phantom((sphere("PMMA", "PMMA", (0.0, 0.0, 0.0), 20 * BEAM.pixel_size_m),))
    fields = project(ball, BEAM, 0.0, (23.5, 23.5), (48 * S, 48 * S), S)
    seen = fields.binned(S, 0)
    y, x = grid(48, 48)
    s, z = (x[0] - 23.5) * BEAM.pixel_size_m, (y[:, 0] - 23.5) * BEAM.pixel_size_m
    slope = ball.delta_gradient(20.0, 0.0, s, z)[0]
    # u = alpha d / p and alpha = (1/k) dphi/dx = - d(integral of delta)/dx
    analytic = bin_mean((-slope * BEAM.distance_m / BEAM.pixel_size_m), S)
    centre = (slice(16, 32), slice(16, 32))
    assert torch.allclose(seen.ux[centre].double(), analytic[centre], atol=2e-4)
    # the mean over a row telescopes to the phase difference between its ends, edge or not
    assert float(seen.ux[24].double()[:24].sum()) == pytest.approx(
        float(fields.phase[97:99, 95:97].double().mean() / BEAM.phase_per_px), rel=2e-3
    )


def test_signs_of_a_sphere():
    """physics.md: phase negative in matter, a convex body of index below 1 sends rays outward."""
    ball = Phantom((sphere("PMMA", "PMMA", (0.0, 0.0, 0.0), 20 * BEAM.pixel_size_m),))
    seen = project(ball, BEAM, 0.0, (23.5, 23.5), (48 * S, 48 * S), S).binned(S, 0)
    delta = 6.608e-7  # xraylib, PMMA at 20 keV
    thickness = 2 * 20 * BEAM.pixel_size_m
    assert float(seen.phase.min()) == pytest.approx(-BEAM.wavenumber_m * delta * thickness, rel=2e-3)
    assert float(seen.phase.max()) == 0
    assert seen.ux[24, 28:43].min() > 0  # to the right of the middle: to the right
    assert seen.ux[24, 5:20].max() < 0
    assert seen.uy[28:43, 24].min() > 0  # below the middle: downward
    assert (seen.transmission <= 1).all()


# -- wave optics against rays

WAVE_S = 6


def detected(image, size):
    detector = blur_matrix(size, WAVE_S, 0, 1.0 * WAVE_S, image)
    return detector @ image @ detector.T


def lens(focusing):
    """A weak, smooth lens in pixels: (phase, ux, uy) with displacements to 0.9 px."""
    y, x = grid(48, 48, WAVE_S)
    r2 = (x - 23.5) ** 2 + (y - 23.5) ** 2
    # matter thickest in the middle (convex) or thinnest there (concave); the latter focuses X-rays
    thickness = torch.exp(-r2 / 120) if not focusing else 1 - torch.exp(-r2 / 120)
    strength = 9 * BEAM.phase_per_px
    slope = strength * (-2 * torch.exp(-r2 / 120) / 120) * (1 if not focusing else -1)
    ux, uy = (-(slope * (c - 23.5)) / BEAM.phase_per_px for c in (x, y))
    return -strength * thickness, ux, uy


@pytest.mark.parametrize("focusing", [True, False])
def test_wave_and_rays_agree_on_sign_and_size(focusing):
    """Through a weak lens the wave's image is that of rays that keep their light; the papers' equation is off."""
    phase, ux, uy = (f.float() for f in lens(focusing))
    y, x = grid(48, 48, WAVE_S)
    toward_axis = -(ux * (x - 23.5) + uy * (y - 23.5)).mean()
    assert (toward_axis > 0) == focusing
    assert 0.7 < float(ux.hypot(uy).max()) < 1.0
    one = torch.ones_like(ux)
    # an absorbing pattern just before the sample; smooth, so that its own diffraction is weak
    pattern = 1 + 0.3 * torch.sin(2 * math.pi * x / 8) * torch.sin(2 * math.pi * y / 8)
    wave = pattern.sqrt().to(torch.complex64)[None]

    def images(sign):
        fields = ProjectedFields(phase, one, one, sign * ux, sign * uy)
        empty = ProjectedFields(0 * phase, one, one, 0 * ux, 0 * uy)
        reference = propagated_sample(wave, empty, BEAM, WAVE_S)
        rays, equation = (
            detected(model(reference, fields, WAVE_S), 48) for model in (modulated_sample, equation_1_sample)
        )
        return rays, equation, detected(propagated_sample(wave, fields, BEAM, WAVE_S), 48)

    rays, equation, waves = images(1.0)
    inner = (slice(None), slice(8, -8), slice(8, -8))
    assert float((rays - waves)[inner].std()) < 0.012
    assert float((equation - waves)[inner].std()) > 0.03
    wrong, _, _ = images(-1.0)
    assert float((wrong - waves)[inner].std()) > 0.05


def test_wave_optics_keeps_the_flux_and_absorbs():
    rod = Phantom((cylinder("PVC", "PVC", (0.0, 0.0, 0.0), 12 * BEAM.pixel_size_m),))
    fields = project(rod, BEAM, 0.0, (23.5, 23.5), (48 * WAVE_S, 48 * WAVE_S), WAVE_S)
    plane = torch.ones(1, 48 * WAVE_S, 48 * WAVE_S, dtype=torch.complex64)
    image = propagated_sample(plane, fields, BEAM, WAVE_S)
    assert float(image.mean()) == pytest.approx(float(fields.transmission.mean()), rel=1e-4)
    # the edge fringe: bright outside the edge, where rays arrive, dark inside
    profile = detected(image, 48)[0, 24]
    assert profile[int(23.5 + 12) : int(23.5 + 16)].max() > 1.05


def test_the_dark_field_takes_the_visibility_of_a_wave():
    x = grid(48, 48, WAVE_S)[1]
    pattern = (1 + 0.3 * torch.sin(2 * math.pi * x / 8)).sqrt().to(torch.complex64)[None]
    one = torch.ones(48 * WAVE_S, 48 * WAVE_S)
    fields = ProjectedFields(0 * one, one, one, 0 * one, 0 * one)
    clear, hazy = (
        detected(propagated_sample(pattern, fields._replace(darkfield=d * one), BEAM, WAVE_S), 48)
        for d in (1.0, 0.4)
    )
    inner = (slice(None), slice(16, -16), slice(16, -16))
    assert float(hazy[inner].std() / clear[inner].std()) == pytest.approx(0.4, abs=0.01)


def test_aliased_refraction_is_refused():
    one = torch.ones(64, 64)
    steep = ProjectedFields(0 * one, one, one, 9 * one, 0 * one)
    with pytest.raises(ConfigError, match="expected displacements below"):
        propagated_sample(one[None].to(torch.complex64), steep, BEAM, WAVE_S)


# -- blur


def test_blur_matrix_is_a_gaussian_and_a_pixel():
    x = torch.arange(400, dtype=torch.float64)
    wave = torch.cos(2 * math.pi * x / 40)
    seen = blur_matrix(96, 4, 2, 6.0, wave) @ wave
    amplitude = (
        math.exp(-2 * (math.pi * 6 / 40) ** 2) * math.sin(4 * math.pi / 40) / (4 * math.sin(math.pi / 40))
    )
    centres = 8 + 4 * torch.arange(96, dtype=torch.float64) + 1.5
    assert torch.allclose(
        seen[10:-10], (amplitude * torch.cos(2 * math.pi * centres / 40))[10:-10], atol=1e-4
    )


def test_rays_resolve_an_edge_as_wide_as_diffraction_makes_it():
    """A step of T becomes an error function of width sqrt(lambda d / 2 pi); a uniform displacement stays."""
    x = grid(24, 48)[1]
    one = torch.ones_like(x)
    step = ProjectedFields(0 * one, one, torch.where(x > 23.5, 0.4, 1.0), 1.3 * one, -0.2 * one)
    seen = step.resolved(BEAM, S)
    width = math.sqrt(6.19920990e-11 * BEAM.distance_m / (2 * math.pi)) / BEAM.pixel_size_m
    expected = 0.7 - 0.3 * torch.special.erf((x - 23.5) / (math.sqrt(2) * width))
    assert float((seen.darkfield - expected).abs().max()) < 0.02
    assert torch.allclose(seen.ux, step.ux)
    assert torch.allclose(seen.uy, step.uy)


@pytest.mark.parametrize("model", [modulated_sample, equation_1_sample])
@pytest.mark.parametrize(
    ("centre", "radius_px"),
    [((40.0, 30.0), 14), ((6.0, 80.0), 14), ((31.5, 47.5), 60)],
    ids=["small", "corner", "wide"],
)
def test_only_the_neighbourhood_of_the_sample_is_computed_and_nothing_is_lost(model, centre, radius_px):
    """As over the whole image, wherever the sample lies; elsewhere the reference, bit by bit."""
    ball = Phantom((sphere("PMMA", "PMMA", (0.0, 0.0, 0.0), radius_px * BEAM.pixel_size_m),))
    fields = project(ball, BEAM, 0.0, centre, (64 * S, 96 * S), S)
    y, x = grid(64, 96)
    reference = torch.stack([wavy(y, x), wavy(x, y)]).float()
    everywhere = model(reference, fields.resolved(BEAM, S), S)
    seen = by_rays(model, reference.clone(), fields, BEAM, S)
    inner = (..., slice(16, -16), slice(16, -16))  # the prefilter's tail at the image's own border
    # measured 5e-5: places in samples are rounded to 3e-5 in float32, less in a smaller array
    assert float((seen - everywhere)[inner].abs().max()) < 1.5e-4
    rows, columns = fields.occupied()
    assert (rows, columns) == tuple(
        slice(int(part[0]), int(part[-1]) + 1)
        for part in ((fields.phase != 0).any(axis).nonzero().flatten() for axis in (1, 0))
    )
    if radius_px == 14:
        untouched = (seen == reference).float().mean()
        assert 0.3 < float(untouched) < 0.95  # the sphere and its surroundings take the rest
    assert float((seen - reference).abs().max()) > 0.05


def test_without_matter_the_reference_is_what_arrives():
    """A sphere beside the image: no field differs from air, and nothing is computed."""
    ball = Phantom((sphere("PMMA", "PMMA", (0.0, 0.0, 0.0), 5 * BEAM.pixel_size_m),))
    fields = project(ball, BEAM, 0.0, (-40.0, 20.0), (32 * S, 32 * S), S)
    assert fields.occupied() == (slice(0, 0), slice(0, 0))
    assert float(fields.phase.abs().max()) == 0
    assert float(fields.transmission.min()) == float(fields.darkfield.min()) == 1
    reference = wavy(*grid(32, 32))[None].float()
    assert torch.equal(by_rays(modulated_sample, reference, fields, BEAM, S), reference)
