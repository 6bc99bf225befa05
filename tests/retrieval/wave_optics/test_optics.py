"""Propagation, grids, gradient and coherence of the wave-optical methods, against formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from speckleflow.errors import InputError
from speckleflow.retrieval.wave.coherence import blur_of, coherence_lengths_px, coherence_of
from speckleflow.retrieval.wave.grid import Grid, resampled
from speckleflow.retrieval.wave.optics import (
    filtered,
    fresnel_transfer,
    gaussian_transfer,
    good_size,
    intensity,
    propagated,
)
from speckleflow.retrieval.wave.solver import Optics, loss_and_gradient
from speckleflow.scan.geometry import ScanGeometry, plane_distances

LAMBDA = 1.24e-10


def _profile_width(image: torch.Tensor, axis: int, sample_m: float) -> float:
    """Standard deviation in m of an intensity along an axis."""
    line = image.double().sum(1 - axis)
    place = (torch.arange(len(line)) - len(line) // 2) * sample_m
    return float(((line * place**2).sum() / line.sum()).sqrt())


def test_a_gaussian_beam_spreads_as_the_formula_says() -> None:
    """Its width is w sqrt(1 + (z / z_R)^2) with z_R = pi w^2 / lambda, along y and x by their own samples."""
    shape, sample, distance = (96, 128), (1.0e-6, 0.7e-6), 0.9
    waist = 8e-6
    y, x = ((torch.arange(n) - n // 2) * s for n, s in zip(shape, sample, strict=True))
    wave = torch.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / waist**2).to(torch.complex64)
    # the field of view limits how far it may go
    distance = 0.3
    there = intensity(propagated(wave, fresnel_transfer(shape, sample, LAMBDA, distance)))
    spread = math.sqrt(1 + (distance * LAMBDA / (math.pi * waist**2)) ** 2)
    assert float(there.sum()) == pytest.approx(float(intensity(wave).sum()), rel=1e-5)
    for axis in (0, 1):
        assert _profile_width(there, axis, sample[axis]) == pytest.approx(waist / 2 * spread, rel=1e-3)


def test_a_field_too_small_for_the_distance_is_refused_with_its_size() -> None:
    with pytest.raises(
        InputError, match=r"at least lambda d / p = 124 um along x, found 64 um \(64 samples of 1 um\)"
    ):
        fresnel_transfer((256, 64), (1e-6, 1e-6), LAMBDA, 1.0)


@pytest.mark.parametrize(
    ("least", "multiple", "size"), [(97, 1, 100), (100, 1, 100), (101, 2, 108), (1, 1, 1)]
)
def test_good_sizes_have_small_factors(least: int, multiple: int, size: int) -> None:
    assert good_size(least, multiple) == size


def test_resampling_keeps_a_wave_where_it_is() -> None:
    """cos(k x) with three and five periods, from 40 x 50 to 60 x 32 samples and back."""

    def wave(rows: int, columns: int) -> torch.Tensor:
        y, x = torch.arange(rows)[:, None] / rows, torch.arange(columns)[None, :] / columns
        return 2 + torch.cos(2 * math.pi * (3 * y + 5 * x) + 0.4)

    there = resampled(wave(40, 50), (60, 32))
    assert torch.allclose(there, wave(60, 32), atol=1e-5)
    assert torch.allclose(resampled(there, (40, 50)), wave(40, 50), atol=1e-5)


def test_a_grid_gives_an_image_back_and_masks_its_border() -> None:
    grid = Grid.of((60, 75), (0.5, 0.8))
    smooth = torch.from_numpy(gaussian_filter(np.random.default_rng(0).normal(size=(2, 60, 75)), (0, 3, 3)))
    # the step between opposite borders has some of the Nyquist frequency, which is dropped: measured 4.3e-3
    assert torch.allclose(grid.back(grid.forth(smooth)), smooth, atol=0.012)
    mask = grid.back(grid.mask())
    assert float(mask[30, 37]) == pytest.approx(1, abs=1e-3)
    assert float(mask[0].abs().max()) < 0.02
    assert float(mask[:, 0].abs().max()) < 0.02
    assert grid.width_px == pytest.approx((0.5, 0.8), rel=0.03)


@pytest.mark.parametrize("scattering", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_the_gradient_is_that_of_the_loss(scattering: bool, apart: bool) -> None:
    """Against automatic differentiation of the formula and finite differences, in double precision."""
    generator = torch.Generator().manual_seed(1)
    shape, shots = (12, 16), 3

    def random(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    after, before = (
        fresnel_transfer(shape, (1e-6, 1.2e-6), LAMBDA, z).to(torch.complex128) for z in (0.02, 0.05)
    )
    diffuser = torch.complex(1 + 0.3 * random(shots, *shape), 0.3 * random(shots, *shape))
    iotf, mask = (
        gaussian_transfer(shape, (0.6, 0.9)).double(),
        torch.rand(*shape, generator=generator).double(),
    )
    optics = Optics(diffuser, before if apart else None, after, iotf, mask)
    a, phase = 0.1 * random(1, *shape), random(1, *shape)
    measured, d = 1 + 0.2 * random(1, shots, *shape), torch.rand(1, *shape, generator=generator).double()

    def loss(a: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
        wave = torch.exp(torch.complex(a, phase))
        wave = propagated(wave, before) if apart else wave
        light = propagated(wave * diffuser, after).abs() ** 2
        if scattering:
            empty = float((diffuser.abs() ** 2).mean()) * propagated(wave, after).abs() ** 2
            light = d * light + (1 - d) * empty
        return (mask * (filtered(light, iotf) - measured[0])).square().sum() / (2 * shots)

    value, *gradient = loss_and_gradient(optics, measured, a, phase, d if scattering else None)
    leaves = [a[0].clone().requires_grad_(), phase[0].clone().requires_grad_()]
    expected = loss(*leaves)
    assert float(value) == pytest.approx(float(expected.detach()), rel=1e-10)
    for mine, theirs in zip(gradient, torch.autograd.grad(expected, leaves), strict=True):
        assert torch.allclose(mine[0], theirs, rtol=1e-8, atol=1e-10)
    step = 1e-6
    nudge = torch.zeros(*shape, dtype=torch.float64)
    nudge[3, 5] = step
    slope = (loss(a[0], phase[0] + nudge) - loss(a[0], phase[0] - nudge)) / (2 * step)
    assert float(gradient[1][0, 3, 5]) == pytest.approx(float(slope), rel=1e-5)


def test_coherence_lengths_of_speckle_are_those_of_its_field() -> None:
    """|g1|^2 of white noise under a Gaussian of standard deviation s is exp(-dx^2 / (2 s^2)): x_coh = s sqrt(2 pi)."""
    rng = np.random.default_rng(4)
    widths = (1.4, 2.1)
    parts = [gaussian_filter(rng.normal(size=(3, 256, 300)), (0, *widths), mode="wrap") for _ in range(2)]
    speckle = parts[0] ** 2 + parts[1] ** 2
    speckle = speckle / speckle.mean() + 0.3 * rng.normal(size=speckle.shape)
    found = coherence_lengths_px(torch.from_numpy(speckle))
    # measured -0.4 % and 0.9 %
    assert found == pytest.approx([s * math.sqrt(2 * math.pi) for s in widths], rel=0.025)
    assert blur_of(coherence_of(0.8)) == pytest.approx(0.8)
    # IPSF of eq. 4: standard deviation x_coh / (2 sqrt(pi))
    assert blur_of(1.0) == pytest.approx(0.2821, abs=1e-4)


def test_noise_has_no_coherence_length() -> None:
    noise = torch.rand(2, 64, 80, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="expected speckle: neighbouring pixels that are correlated along y"):
        coherence_lengths_px(noise)


@pytest.mark.parametrize(
    ("distance", "diffuser", "magnification", "expected"),
    [
        (0.023, -0.003, 1.0, (0.003, 0.020)),
        (0.023, 0.5, 1.0, (0.0, 0.023)),
        (0.023, None, 1.0, (0.0, 0.023)),
        # R = 0.5 m: planes at 0.1 and 1.5 m are 1/12 and 0.375 m away
        (1.5, -0.1, 4.0, (1 / 12, 0.375 - 1 / 12)),
    ],
)
def test_planes_of_a_divergent_beam(
    distance: float, diffuser: float | None, magnification: float, expected: tuple[float, float]
) -> None:
    assert plane_distances(distance, diffuser, magnification) == pytest.approx(expected)
    geometry = ScanGeometry(1.0, 20.0, distance, magnification, diffuser)
    assert geometry.refraction_distance_m == pytest.approx(expected[1])


def test_a_diffuser_behind_the_detector_is_refused() -> None:
    with pytest.raises(InputError, match=r"diffuser_distance_m: expected .* above -0.02 m, found -0.03 m"):
        plane_distances(0.02, -0.03, 1.0)
