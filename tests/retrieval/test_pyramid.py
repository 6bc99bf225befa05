"""The first displacement: found within a fraction of a pixel, wherever it points; none where there is only noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speckleflow.retrieval.normal import Estimate, local_mean, make_basis, measure, spline_coefficients
from speckleflow.retrieval.pyramid import (
    _evidence,
    _fit_contrast,
    _gauss_newton_step,
    _search_whole_pixels,
    _upsample,
    first_estimate,
    keep_if_better,
    pyramid,
)
from speckleflow.testing.patterns import make_pair


def level(pair, levels=3, reach=12.0, scale=1.0):
    mean = local_mean(pair.reference, 64.0)
    bases = pyramid(scale * pair.reference, mean, levels, scale)
    return bases, first_estimate(scale * pair.sample, bases, reach, scale)


def constant(value):
    return lambda x, y: np.full(np.broadcast(x, y).shape, value)


@pytest.mark.parametrize(("dx", "dy"), [(9.3, -4.6), (-6.2, 10.1)])
@pytest.mark.parametrize("scale", [1.0, 500.0])
def test_a_large_shift_is_found_with_its_transmission_and_dark_field(dx, dy, scale):
    fields = {"transmission": constant(0.6), "darkfield": constant(0.7)}
    pair = make_pair((112, 137), 5, ux=constant(dx), uy=constant(dy), photons=5000, **fields)
    bases, found = level(pair, scale=scale)
    assert [basis.shape for basis in bases] == [(5, 56, 68), (5, 28, 34), (5, 14, 17)]
    inner = np.s_[24:-24, 24:-24]
    # measured: 0.12, 0.08, 0.0011, 0.017 at most
    limits = ((found.ux, dx, 0.25), (found.uy, dy, 0.25), (found.t, 0.6, 0.003), (found.b, 0.42, 0.04))
    for field, truth, near in limits:
        off = float((field[inner] - truth).square().mean().sqrt())
        assert off < near


def test_a_shear_is_followed():
    """Both components change along the other axis, so that neither axis nor sign can be taken for another."""
    pair = make_pair(
        (128, 96),
        6,
        ux=lambda x, y: 4 * np.sin(y / 25) + 2,
        uy=lambda x, y: 3 * np.cos(x / 20) - 1,
        photons=20000,
    )
    _, found = level(pair)
    for field, truth in ((found.ux, pair.ux), (found.uy, pair.uy)):
        off = float(np.sqrt(np.mean((field.numpy() - truth)[16:-16, 16:-16] ** 2)))
        assert off < 0.25  # measured: 0.125, 0.031


def test_a_shift_must_be_better_than_none_by_more_than_noise():
    """The largest of 24 chi-square values of one degree of freedom exceeds 12 in 1.3 % of white noise; a pattern that
    is against the reference does not count, which leaves half of them.
    """
    generator = torch.Generator().manual_seed(5)
    reference = 1 + 0.2 * torch.randn(8, 96, 128, generator=generator)
    noise = 1 + 0.2 * torch.randn(8, 96, 128, generator=generator)
    low_pass = (1.0,)
    basis = make_basis(reference, local_mean(reference, 64.0), low_pass)
    found = _search_whole_pixels(spline_coefficients(noise, low_pass), basis, 2)
    share = float(((found.ux != 0) | (found.uy != 0)).float().mean())
    assert 0.0025 < share < 0.011  # measured: 0.0050; 0.018 for 9.6, 0.0015 for 14.4
    # and a shift that is there is taken everywhere
    moved = spline_coefficients(reference.roll((2, -1), (1, 2)), low_pass)
    found = _search_whole_pixels(moved, basis, 2)
    assert bool((found.ux[4:-4, 4:-4] == -1).all())
    assert bool((found.uy[4:-4, 4:-4] == 2).all())


def test_the_reference_upside_down_is_no_match():
    """Light where there was shadow: B would be below zero, which it cannot."""
    reference = 1 + 0.2 * torch.randn(8, 60, 70, generator=torch.Generator().manual_seed(5))
    basis = make_basis(reference, local_mean(reference, 64.0), (1.0,))
    opposite = 2 - reference.roll((2, -1), (1, 2))
    found = _search_whole_pixels(spline_coefficients(opposite, (1.0,)), basis, 2)
    assert float(((found.ux == -1) & (found.uy == 2)).float().mean()) < 0.01


def test_rays_that_leave_the_image_are_no_samples():
    """With the right displacement nothing is unexplained up to the border, and fewer samples are counted there."""
    pair = make_pair((40, 56), 6, ux=constant(3.0), uy=constant(-2.0), size=3.0)
    basis = make_basis(pair.reference, torch.ones(40, 56), (1.0,))
    three, two = torch.full((40, 56), 3.0), torch.full((40, 56), -2.0)
    unexplained, b, samples = _fit_contrast(
        measure(spline_coefficients(pair.sample, (1.0,)), basis, three, two), basis
    )
    assert float(unexplained[:, 40:].max()) < 0.02
    assert float(unexplained[:8].max()) < 0.02
    torch.testing.assert_close(b, torch.ones(40, 56), atol=0.03, rtol=0)
    whole = 6 * 4 * np.pi * 2.0**2
    assert float(samples[20, 28]) == pytest.approx(whole, rel=0.01)
    assert 0.1 * whole < float(samples[20, 54]) < 0.4 * whole


def test_a_displacement_stays_only_where_it_explains_more_than_none():
    """Right in the left half, wrong in the right one: there it begins anew, with the data that go with it."""
    pair = make_pair((48, 80), 6, ux=constant(1.5), uy=constant(-1.0), photons=20000)
    basis = make_basis(pair.reference, torch.ones(48, 80), (1.0,))
    coefficients = spline_coefficients(pair.sample, (1.0,))
    ux, uy = torch.full((48, 80), 1.5), torch.full((48, 80), -1.0)
    ux[:, 40:], uy[:, 40:] = -5.0, 4.0
    one, zero = torch.ones(48, 80), torch.zeros(48, 80)
    found, moments = keep_if_better(Estimate(one, one, ux, uy), coefficients, basis)
    for part, x, y in ((np.s_[8:-8, 8:30], 1.5, -1.0), (np.s_[8:-8, 50:72], 0.0, 0.0)):
        assert float((found.ux[part] == x).float().mean()) > 0.95
        assert float((found.uy[part] == y).float().mean()) > 0.95
    there, here = measure(coefficients, basis, ux, uy), measure(coefficients, basis, zero, zero)
    torch.testing.assert_close(moments.h[:, 8:-8, 10:20], there.h[:, 8:-8, 10:20])
    kept = found.ux[8:-8, 60:70] == 0
    torch.testing.assert_close(moments.energy[8:-8, 60:70][kept], here.energy[8:-8, 60:70][kept])


def test_evidence_is_twice_the_log_of_the_likelihoods_of_what_four_parameters_leave():
    found = _evidence(
        torch.tensor([0.5, 0.5, 1.0]), torch.tensor([1.0, 1.0, 0.5]), torch.tensor([54.0, 3.0, 14.0])
    )
    torch.testing.assert_close(
        found, torch.tensor([50 * np.log(2), 0.0, -10 * np.log(2)], dtype=torch.float32)
    )


def test_where_nothing_is_seen_the_displacement_falls_back_to_none():
    generator = torch.Generator().manual_seed(3)
    reference = 1 + 1e-4 * torch.randn(5, 40, 50, generator=generator)
    basis = make_basis(reference, torch.ones(40, 50), (1.0,))
    noise = 1 + 0.05 * torch.randn(5, 40, 50, generator=generator)
    now = Estimate(
        torch.ones(40, 50), torch.full((40, 50), 0.02), torch.full((40, 50), 0.6), torch.full((40, 50), -0.7)
    )
    found = _gauss_newton_step(
        now, measure(spline_coefficients(noise, (1.0,)), basis, now.ux, now.uy), basis, 3.0
    )
    # but for pixels whose noise looks like a pattern
    assert float(found.ux.abs().median()) < 0.02
    assert float(found.uy.abs().median()) < 0.02


def test_nothing_goes_beyond_the_search_range():
    pair = make_pair((96, 128), 5, ux=constant(9.0), uy=constant(-8.0))
    _, found = level(pair, reach=4.0)
    assert float(found.ux.abs().max()) <= 4
    assert float(found.uy.abs().max()) <= 4


def test_a_grating_begins_where_it_is_seen():
    """A period of 6.3 px is aliased at 1/4 and 1/8: what they find is dropped by the level that sees it."""
    y, x = np.mgrid[:128, :160].astype(float)

    def grating(x, y):
        k = 2 * np.pi / 6.3
        frames = [1 + 0.2 * np.cos(k * x + 1.7 * n) * np.cos(k * y + 2.3 * n) for n in range(4)]
        return torch.tensor(np.stack(frames), dtype=torch.float32)

    generator = torch.Generator().manual_seed(2)
    reference, sample = (
        stack + 0.02 * torch.randn(4, 128, 160, generator=generator)
        for stack in (grating(x, y), grating(x - 0.6, y + 0.4))
    )
    found = first_estimate(sample, pyramid(reference, local_mean(reference, 64.0), 3), 12.0)
    off = torch.hypot(found.ux - 0.6, found.uy + 0.4)[8:-8, 8:-8]
    assert float(off.square().mean().sqrt()) < 0.15  # measured: 0.049; 9.8 with what the coarse levels say


def test_without_levels_it_begins_with_nothing():
    found = first_estimate(torch.rand(3, 16, 20), [], 12.0)
    one, zero = torch.ones(16, 20), torch.zeros(16, 20)
    for field, expected in zip((found.t, found.b, found.ux, found.uy), (one, one, zero, zero), strict=True):
        assert torch.equal(field, expected)
    assert not pyramid(torch.rand(3, 23, 40), torch.ones(23, 40), 3)  # 11 pixels are fewer than two windows
    assert len(pyramid(torch.rand(3, 24, 40), torch.ones(24, 40), 3)) == 1


@pytest.mark.parametrize("shape", [(14, 21), (15, 20)])
def test_fields_at_twice_the_resolution(shape):
    """A plane of u doubles and stays a plane, its place kept; a last odd row or column repeats its neighbour."""
    y, x = torch.meshgrid(torch.arange(7.0), torch.arange(10.0), indexing="ij")
    coarse = Estimate(1 + 0.1 * x, 1 - 0.1 * y, 0.3 * x - 0.2 * y, 0.1 * x + 0.5 * y)
    fine = _upsample(coarse, torch.Size(shape))
    rows, columns = torch.meshgrid(torch.arange(14.0), torch.arange(20.0), indexing="ij")
    x, y = (columns - 0.5) / 2, (rows - 0.5) / 2  # places on the coarse grid
    expected = (1 + 0.1 * x, 1 - 0.1 * y, 2 * (0.3 * x - 0.2 * y), 2 * (0.1 * x + 0.5 * y))
    for field, plane in zip((fine.t, fine.b, fine.ux, fine.uy), expected, strict=True):
        assert field.shape == shape
        torch.testing.assert_close(field[1:13, 1:19], plane[1:13, 1:19])
        assert torch.equal(field[-1, :20], field[13, :20])
        assert torch.equal(field[:14, -1], field[:14, 19])
