"""Normal equations of a pixel: regressors, moments and linear model against patterns that are known everywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from speckleflow.retrieval.adaptive import (
    Linearised,
    Window,
    _apply_bounds,
    _pool,
    _shrink,
    _unpool,
    fixed_window,
    free_transmission,
    linearise,
    mixed_windows,
)
from speckleflow.retrieval.filters import energy, gaussian
from speckleflow.retrieval.noise import NoiseGain
from speckleflow.retrieval.normal import (
    PACKED,
    Estimate,
    apply,
    local_mean,
    make_basis,
    measure,
    solve,
    spline_coefficients,
)
from speckleflow.testing.patterns import Speckle, make_pair

HEIGHT, WIDTH, N = 60, 84, 5
Y, X = np.mgrid[:HEIGHT, :WIDTH].astype(float)
PATTERNS = [Speckle(40 + n, 0.25, 3.0) for n in range(N)]
INNER = np.s_[..., 8:-8, 8:-8]


def stack(x=X, y=Y) -> torch.Tensor:
    return torch.tensor(np.stack([pattern(x, y) for pattern in PATTERNS]), dtype=torch.float32)


@pytest.mark.parametrize("scale", [1.0, 640.0])
def test_regressors_are_the_pattern_and_its_derivatives(scale):
    mean = torch.full((HEIGHT, WIDTH), 1.02)
    basis = make_basis(scale * stack(), mean, (1.0,), scale)
    step = 1e-3
    rx = (stack(X + step) - stack(X - step)) / (2 * step)
    ry = (stack(y=Y + step) - stack(y=Y - step)) / (2 * step)
    torch.testing.assert_close(basis.rho, stack() - 1.02, atol=1e-6, rtol=0)
    # measured: 6e-4, of slopes of 0.12
    torch.testing.assert_close(basis.rx[INNER], rx[INNER], atol=1.5e-3, rtol=0)
    torch.testing.assert_close(basis.ry[INNER], ry[INNER], atol=1.5e-3, rtol=0)
    regressors = (mean.expand(N, -1, -1), basis.rho, basis.rx, basis.ry)
    for k, (i, j) in enumerate(PACKED):
        torch.testing.assert_close(basis.gram[k], (regressors[i] * regressors[j]).sum(0), atol=1e-5, rtol=0)
    assert basis.shape == (N, HEIGHT, WIDTH)


def test_a_low_pass_is_that_of_value_and_derivative():
    """A wave is weakened by exp(-k^2 s^2 / 2), its derivative too."""
    wave = torch.tensor(np.sin(0.5 * X - 0.3 * Y), dtype=torch.float32)[None]
    basis = make_basis(wave, torch.zeros(HEIGHT, WIDTH), gaussian(1.0))
    weaker = np.exp(-(0.5**2 + 0.3**2) / 2)
    slope = torch.tensor(np.cos(0.5 * X - 0.3 * Y), dtype=torch.float32)[None]
    for found, expected in ((basis.rho, wave), (basis.rx, 0.5 * slope), (basis.ry, -0.3 * slope)):
        torch.testing.assert_close(found[INNER], (weaker * expected)[INNER], atol=4e-4, rtol=0)


def test_moments_are_sums_of_the_sample_at_the_landing_place():
    ux, uy = 2.3 + 0.2 * np.sin(Y / 9), -1.6 + 0.3 * np.cos(X / 11)
    mean = torch.full((HEIGHT, WIDTH), 1.02)
    basis = make_basis(stack(), mean, (1.0,))
    warped = stack(X + ux, Y + uy) - 1.02
    found = measure(
        spline_coefficients(700 * stack(), (1.0,), 700.0),
        basis,
        *(torch.tensor(u, dtype=torch.float32) for u in (ux, uy)),
    )
    regressors = (mean.expand(N, -1, -1), basis.rho, basis.rx, basis.ry)
    for h, regressor in zip(found.h, regressors, strict=True):
        torch.testing.assert_close(h[INNER], (regressor * warped).sum(0)[INNER], atol=2e-3, rtol=0)
    torch.testing.assert_close(found.energy[INNER], (warped**2).sum(0)[INNER], atol=2e-3, rtol=0)


@pytest.mark.parametrize(("dx", "dy"), [(2.5, -1.2), (-3.4, 0.6)])
def test_only_rays_that_land_a_pixel_inside_are_data(dx, dy):
    basis = make_basis(stack(), torch.ones(HEIGHT, WIDTH), (1.0,))
    zero = torch.zeros(HEIGHT, WIDTH)
    found = measure(spline_coefficients(stack(), (1.0,)), basis, zero + dx, zero + dy)
    x, y = X + dx, Y + dy
    inside = (x >= 1) & (x <= WIDTH - 2) & (y >= 1) & (y <= HEIGHT - 2)
    assert torch.equal(found.valid, torch.tensor(inside, dtype=torch.float32))


def test_the_linear_model_asks_for_what_is_missing():
    """Around a wrong estimate on a displacement that shears, the step of many positions is the error to first order."""
    fields = {
        "ux": lambda x, y: 0.8 * np.sin(x / 12) + 0.9 * np.cos(y / 9),
        "uy": lambda x, y: 0.5 * np.cos(x / 10) - 0.7 * np.sin(y / 14),
        "transmission": lambda x, y: 0.8 + 0.1 * np.sin(x / 15 + y / 20),
        "darkfield": lambda x, y: 0.7 + 0.1 * np.cos(y / 15 - x / 25),
    }
    pair = make_pair((HEIGHT, WIDTH), 24, size=4.0, contrast=0.25, seed=4, **fields)
    truth = torch.tensor(np.stack((pair.transmission, pair.darkfield, pair.ux, pair.uy)), dtype=torch.float32)
    missing = torch.tensor([0.01, -0.02, 0.05, -0.03])[:, None, None]
    t, d, ux, uy = truth - missing
    basis = make_basis(pair.reference, torch.ones(HEIGHT, WIDTH), (1.0,))
    now = Estimate(t, t * d, ux, uy)
    model = linearise(now, measure(spline_coefficients(pair.sample, (1.0,)), basis, ux, uy), basis)
    for k in range(4):
        model.gram[PACKED.index((k, k))] += 1e-7
    step, _ = solve(model.gram, model.residual)
    off = (step - missing)[INNER].square().mean((1, 2)).sqrt()
    # measured: 1e-4, 5e-4, 7e-4, 5e-4
    assert (off < torch.tensor([4e-4, 1.5e-3, 2e-3, 1.5e-3])).all(), off
    gram = apply(model.gram, missing.expand(-1, HEIGHT, WIDTH))
    share = (gram - model.residual)[INNER].norm() / model.residual[INNER].norm()
    assert float(share) < 0.04  # measured: 0.0155


def test_the_noise_of_the_model_is_that_of_a_sample():
    """Variance of one sample about the model, where rays land; outside nothing counts."""
    pair = make_pair((HEIGHT, WIDTH), 12, size=4.0, ux=lambda x, y: 0 * x + 12, seed=2)
    noisy = pair.sample + 0.05 * torch.randn(pair.sample.shape, generator=torch.Generator().manual_seed(1))
    basis = make_basis(pair.reference, torch.ones(HEIGHT, WIDTH), (1.0,))
    one, far = torch.ones(HEIGHT, WIDTH), torch.full((HEIGHT, WIDTH), 12.0)
    moments = measure(spline_coefficients(noisy, (1.0,)), basis, far, 0 * one)
    model = linearise(Estimate(one, one, far, 0 * one), moments, basis)
    found = model.noise[
        8:-8, 8:-16
    ]  # also beside the rays that leave the image: what they say does not count
    assert float(found.mean()) == pytest.approx(0.05**2, rel=0.03)
    assert float(found[:, -8:].mean()) == pytest.approx(0.05**2, rel=0.1)
    outside = X + 12 > WIDTH - 2
    assert not model.residual[:, outside].any()
    assert not model.gram[:, outside].any()


def test_what_a_pixels_own_transmission_explains_is_no_displacement():
    """A right-hand side of deviations of T alone is eliminated with the information that goes with it; what noise
    makes is left alone, and so is the model of one position."""
    generator = torch.Generator().manual_seed(3)
    regressors = torch.randn(6, 4, 40, 50, generator=generator)
    regressors[:, 0] += 3
    gram = torch.stack([(regressors[:, i] * regressors[:, j]).sum(0) for i, j in PACKED])
    deviation = 0.2 * torch.randn(40, 50, generator=generator)
    t = torch.zeros(4, 40, 50)
    t[0] = deviation
    right, ones = apply(gram, t), torch.ones(40, 50)
    model = Linearised(gram, right, 1e-9 * ones, ones, 0.9 + deviation)
    free = free_transmission(model, 2.0)
    assert float(free.residual.abs().max()) < 1e-4 * float(right.abs().max())
    assert float(apply(free.gram, t).abs().max()) < 1e-4 * float(right.abs().max())
    # what is left over for the others is the Schur complement of the pixel's own T
    u = PACKED.index((2, 3))
    schur = gram[u] - gram[PACKED.index((0, 2))] * gram[PACKED.index((0, 3))] / gram[0]
    torch.testing.assert_close(free.gram[u], schur, rtol=1e-3, atol=1e-3)
    noisy = 0.9 + torch.randn(40, 50, generator=generator) * (0.04 / gram[0]).sqrt()
    kept = free_transmission(replace(model, noise=0.04 * ones, transmission=noisy), 2.0)
    lost = 1 - kept.gram[0] / gram[0]  # half of the pixels stand above the noise's mean by chance
    assert float(lost.mean()) < 0.15  # measured: 0.08
    alone = replace(model, transmission=None)
    assert free_transmission(alone, 2.0) is alone


def test_a_windows_variance_is_noise_over_information():
    """White noise on a model of unit information: the variance of the step is noise times the kernel's energy^2."""
    generator = torch.Generator().manual_seed(7)
    gram = torch.zeros(10, 200, 240)
    for k, weight in enumerate((4.0, 2.0, 1.0, 3.0)):
        gram[PACKED.index((k, k))] = weight
    noise = torch.full((200, 240), 0.3)
    residual = (
        torch.randn(4, 200, 240, generator=generator)
        * (0.3 * torch.tensor([4.0, 2.0, 1.0, 3.0])).sqrt()[:, None, None]
    )
    model = Linearised(gram, residual, noise, torch.ones(200, 240))
    kernel = gaussian(1.5, truncate=3.0)
    step, variance = Window(model, kernel).step(residual, torch.tensor([1.0, 2.0, 1.0, 1.0])[:, None, None])
    found = step[:, 12:-12, 12:-12].square().mean((1, 2)) / variance[:, 100, 100]
    torch.testing.assert_close(found, torch.tensor([1.0, 0.5, 1.0, 1.0]), rtol=0.06, atol=0)
    assert float(variance[2, 100, 100]) == pytest.approx(0.3 * energy(kernel) ** 2, rel=1e-4)


def test_a_correction_counts_by_what_stands_above_its_noise():
    """Weight 1 - C / P, each of T, D and u for itself; the error is w^2 of the noise and (1 - w)^2 of the signal."""
    ones = torch.ones(60, 70)
    step = torch.stack((0.2 * ones, 0.1 * ones, 0.3 * ones, 0.5 * ones))
    variance = torch.stack((0.01 * ones, 0.02 * ones, 0.04 * ones, 0.05 * ones))
    found, error = _shrink(step, variance, 1.0)
    ratio = (0.3**2 / 0.04 + 0.5**2 / 0.05) / 2
    w = 1 - 1 / ratio
    expected = torch.tensor([0.2 * (1 - 0.01 / 0.04), 0.0, 0.3 * w, 0.5 * w])
    torch.testing.assert_close(found[:, 30, 35], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[:, 0, 0], expected, atol=1e-5, rtol=0)  # the border has its own ones
    assert float(error[30, 35]) == pytest.approx((w**2 + (1 - w) ** 2 * (ratio - 1)) * 0.045, rel=1e-4)


@pytest.mark.parametrize(("height", "width"), [(20, 31), (21, 30), (33, 17)])
def test_means_of_two_by_two_and_back(height, width):
    """A plane survives where its cells are whole; sizes are kept, odd last rows and columns count alone."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    plane = torch.stack((2 * x - 3 * y, x + y))
    pooled = _pool(plane)
    assert pooled.shape == (2, -(-height // 2), -(-width // 2))
    torch.testing.assert_close(pooled[:, 3, 5], plane[:, 6:8, 10:12].mean((1, 2)))
    if width % 2:
        torch.testing.assert_close(pooled[0, 0, -1], 2 * x[0, -1] - 1.5)
    if height % 2:
        torch.testing.assert_close(pooled[0, -1, 0], 1 - 3 * y[-1, 0])
    back = _unpool(pooled, plane.shape[-2:])
    torch.testing.assert_close(back[:, 2:-3, 2:-3], plane[:, 2:-3, 2:-3], atol=1e-4, rtol=0)


def test_no_step_leaves_its_bounds_unmarked():
    """T 0.005 to 3, D 0 to 2, 1 px of u a step: what would go farther is held there and marked."""
    now = Estimate(*torch.ones(2, 1, 7), torch.full((1, 7), 2.0), torch.full((1, 7), -1.0))
    asked = torch.tensor([1.0, 0.5, 2.5, -1.5])[:, None, None].repeat(1, 1, 7)
    asked[0, 0, 1], asked[0, 0, 2], asked[1, 0, 3], asked[1, 0, 4] = 0.001, 3.5, -0.1, 2.2
    asked[2, 0, 5], asked[3, 0, 6] = 3.4, -2.3
    held, bound = _apply_bounds(now, asked)
    assert bound.tolist() == [[False] + [True] * 6]
    t = torch.tensor([[1, 0.005, 3, 1, 1, 1, 1]])
    torch.testing.assert_close(held.t, t)
    torch.testing.assert_close(held.b, t * torch.tensor([[0.5, 0.5, 0.5, 0, 2, 0.5, 0.5]]))
    torch.testing.assert_close(held.ux, torch.tensor([[2.5, 2.5, 2.5, 2.5, 2.5, 3, 2.5]]))
    torch.testing.assert_close(held.uy, torch.tensor([[-1.5, -1.5, -1.5, -1.5, -1.5, -1.5, -2]]))


def test_the_local_mean_is_of_positions_and_neighbours_also_at_the_border():
    frames = torch.stack((torch.full((40, 60), 1.0), torch.full((40, 60), 3.0)))
    torch.testing.assert_close(local_mean(frames, 5.0), torch.full((40, 60), 2.0))
    wave = (2 + (2 * np.pi * torch.arange(128.0) / 20).cos()).expand(96, -1)
    weaker = float(local_mean(wave[None], 4.0)[48, 60] - 2)
    assert weaker == pytest.approx(float(np.exp(-((2 * np.pi / 20) ** 2) * 16 / 2)), abs=0.004)
    torch.testing.assert_close(local_mean(wave.T[None], 4.0), local_mean(wave[None], 4.0).T)


def test_applying_and_solving_are_inverse():
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(4, 4, 5, 7, generator=generator, dtype=torch.float64)
    full = torch.einsum("ikyx,jkyx->ijyx", root, root) + 0.5 * torch.eye(4)[..., None, None]
    packed = torch.stack([full[i, j] for i, j in PACKED])
    vector = torch.randn(4, 5, 7, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(apply(packed, vector), torch.einsum("ijyx,jyx->iyx", full, vector))
    found, diagonal = solve(packed, apply(packed, vector))
    torch.testing.assert_close(found, vector)
    inverse = torch.linalg.inv(full.permute(2, 3, 0, 1))
    torch.testing.assert_close(diagonal, inverse.diagonal(dim1=-2, dim2=-1).permute(2, 0, 1))


def test_the_mixture_of_windows_states_the_variance_of_what_it_finds():
    """Noise alone: the widest window counts twice (energy of 2 W - W * W: 1.83), narrower ones not at all."""
    generator = torch.Generator().manual_seed(11)
    shape = (240, 280)
    weights = torch.tensor([4.0, 2.0, 1.0, 3.0])[:, None, None]
    gram = torch.zeros(10, *shape)
    for k in range(4):
        gram[PACKED.index((k, k))] = weights[k]
    noise = torch.full(shape, 1e-3)
    ones, zero = torch.ones(shape), torch.zeros(shape)
    flat = Estimate(ones, ones, zero, zero.clone())
    no_gain = NoiseGain(torch.tensor([[1.0]] * 4), torch.tensor([0.0]))
    for scales, limits in (((5.0,), (0.91, 1.06)), ((3.0, 2.0, 1.0), (0.84, 1.06))):
        ratios = []
        for _ in range(3):
            residual = torch.randn(4, *shape, generator=generator) * (1e-3 * weights).sqrt()
            found, variance, bound = mixed_windows(
                flat, Linearised(gram, residual, noise, ones), no_gain, scales
            )
            inner = np.s_[24:-24, 24:-24]
            error = (found.ux[inner].square().mean() + found.uy[inner].square().mean()) / 2
            ratios.append(float(error / variance[inner].mean()))
            assert not bound.any()
        assert limits[0] < np.mean(ratios) < limits[1]  # measured: 0.97, 0.90


def test_a_square_windows_variance_is_the_mean_of_both_components():
    """Information of 1 along x and 3 along y: the mean variance is two thirds of that of x."""
    gram = torch.zeros(10, 40, 50)
    for k, weight in enumerate((4.0, 2.0, 1.0, 3.0)):
        gram[PACKED.index((k, k))] = weight
    ones, zero = torch.ones(40, 50), torch.zeros(40, 50)
    now, no_gain = Estimate(ones, ones, zero, zero), NoiseGain(torch.tensor([[1.0]] * 4), torch.tensor([0.0]))
    model = Linearised(gram, torch.zeros(4, 40, 50), 0.3 * ones, ones)
    found, variance, bound = fixed_window(now, model, no_gain, 5)
    assert float(variance[20, 20]) == pytest.approx(0.3 * (1 + 1 / 3) / 2 / 25, rel=1e-3)
    assert not bound.any()
    torch.testing.assert_close(found.t, ones, atol=1e-4, rtol=0)  # asked for the fields: they stay


def test_where_no_ray_lands_the_neighbours_are_taken():
    """A wild displacement beyond the data gives way to the mean of the data beside it."""
    gram = torch.zeros(10, 60, 80)
    for k in range(4):
        gram[PACKED.index((k, k)), :, :60] = 1.0
    valid = torch.zeros(60, 80)
    valid[:, :60] = 1
    ones = torch.ones(60, 80)
    ux = torch.full((60, 80), 0.2)
    ux[:, 60:] = 0.9
    no_gain = NoiseGain(torch.tensor([[1.0]] * 4), torch.tensor([0.0]))
    model = Linearised(gram, torch.zeros(4, 60, 80), 1e-4 * ones, valid)
    found, _, _ = mixed_windows(Estimate(ones, ones, ux, -ux), model, no_gain, (4.0, 1.0))
    for component, truth in ((found.ux, 0.2), (found.uy, -0.2)):
        assert float((component[8:-8, 60:66] - truth).abs().max()) < 0.02
        assert float((component[8:-8, 8:56] - truth).abs().max()) < 0.02
