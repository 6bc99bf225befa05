"""The integrators against the same least-squares problems written out as matrices.

The matrices come from the definitions: every cosine (mirror) or wave (periodic) of the image with its analytic
derivative at the pixel centres; for 'dct' the differences of neighbours, set against the integral of the cubic
polynomial through four displacements. The weighted solutions are numpy's.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from speckleflow.phase import curl_rms, integrate_displacement, phase_and_curl, solve

GEOMETRY = {"energy_kev": 10.0, "pixel_size_m": 2e-6, "distance_m": 0.5}
SCALE = 2 * np.pi * 4e-12 / (1.23984198e-10 * 0.5)  # rad per px; 0.40542: k 2e-6 m x 4e-6 rad
SHAPES = [(7, 10), (8, 5)]
BOUNDARIES = ("mirror", "periodic", "dct")


def waves(n: int, boundary: str) -> tuple[np.ndarray, np.ndarray]:
    """All waves of n pixels, (pixel, wave), and their derivatives."""
    x = np.arange(n)
    if boundary == "mirror":
        k = np.pi * np.arange(n) / n
        return np.cos(k * (x[:, None] + 0.5)), -k * np.sin(k * (x[:, None] + 0.5))
    k = 2 * np.pi * np.arange(n // 2 + 1) / n
    angle = k * x[:, None]
    values = np.concatenate([np.cos(angle), np.sin(angle)], 1)
    slopes = np.concatenate([-k * np.sin(angle), k * np.cos(angle)], 1)
    if n % 2 == 0:  # the sine at the Nyquist frequency is 0 at every pixel
        keep = np.ones(values.shape[1], bool)
        keep[-1] = False
        slopes[:, n // 2] = 0
        values, slopes = values[:, keep], slopes[:, keep]
    return values, slopes


def cubic(n: int) -> np.ndarray:
    """Matrix (n - 1, n): integral from pixel i to i + 1 of the cubic through the four nearest pixels."""
    out = np.zeros((n - 1, n))
    for i in range(n - 1):
        first = min(max(i - 1, 0), n - 4)
        for j in range(4):
            others = [first + m for m in range(4) if m != j]
            polynomial = np.poly(others) / np.prod([first + j - other for other in others])
            integral = np.polyint(polynomial)
            out[i, first + j] = np.polyval(integral, i + 1) - np.polyval(integral, i)
    return out


def system(shape: tuple[int, int], boundary: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Phase of the coefficients, their gradient data, and the data of a displacement (x, then y)."""
    rows, columns = shape
    one_y, one_x = np.eye(rows), np.eye(columns)
    if boundary == "dct":
        phase = np.eye(rows * columns)
        gradient = np.concatenate(
            [np.kron(one_y, np.diff(one_x, axis=0)), np.kron(np.diff(one_y, axis=0), one_x)]
        )
        zero = np.zeros
        across, down = np.kron(one_y, cubic(columns)), np.kron(cubic(rows), one_x)
        data = np.block([[across, zero(across.shape)], [zero(down.shape), down]])
        return phase, gradient, data
    (fy, dy), (fx, dx) = waves(rows, boundary), waves(columns, boundary)
    gradient = np.concatenate([np.kron(fy, dx), np.kron(dy, fx)])
    return np.kron(fy, fx), gradient, np.eye(2 * rows * columns)


def solution(shape, boundary, ux, uy, variance=None) -> np.ndarray:
    """Phase of mean 0 that minimises the squares of the data's residuals over their variance."""
    phase, gradient, data = system(shape, boundary)
    g = SCALE * data @ np.concatenate([ux.ravel(), uy.ravel()])
    spread = np.ones(len(g)) if variance is None else np.sqrt(data**2 @ np.tile(variance.ravel(), 2))
    z = np.linalg.lstsq(gradient / spread[:, None], g / spread, rcond=1e-10)[0]
    out = (phase @ z).reshape(shape)
    return out - out.mean()


def integrate(ux, uy, boundary, **options):
    extra = {name: value[None] for name, value in options.items()}
    return integrate_displacement(ux[None], uy[None], boundary=boundary, **extra, **GEOMETRY)[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_without_weights(shape, boundary):
    ux, uy = np.random.default_rng(1).normal(0, 1, (2, *shape)).astype(np.float32)
    wanted = solution(shape, boundary, ux, uy)
    np.testing.assert_allclose(integrate(ux, uy, boundary), wanted, atol=3e-7 * np.abs(wanted).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("kind", ["sigma", "reject", "both"])
def test_weights_are_one_over_the_variance(shape, boundary, kind, monkeypatch):
    """1 / sigma^2 relative to the median, at most 10 and at least 0.1 times it; rejected pixels 1/1000."""
    monkeypatch.setattr(solve, "CG_TOLERANCE", 0.0)
    rng = np.random.default_rng(2)
    ux, uy = rng.normal(0, 1, (2, *shape)).astype(np.float32)
    sigma = 0.02 * np.exp(rng.normal(0, 0.5, shape))
    sigma[2, 3], sigma[5, 1], sigma[0, 0] = 0.001, 0.15, 0.4  # 1 to 7 % of the median, 7 and 20 times it
    sigma[4, 2], sigma[3, 4] = np.inf, 0.7  # no error known; 35 times the median
    reject = rng.random(shape) < 0.1
    reject[1, 2] = True
    options, lost, variance = {}, np.zeros(shape, bool), np.ones(shape)
    if kind != "sigma":
        options["reject"], lost = reject, reject.copy()
    if kind != "reject":
        options["sigma"] = sigma
        middle = np.median(sigma[np.isfinite(sigma) & ~lost])
        variance = np.clip((sigma / middle) ** 2, 0.1, 10)
        lost |= sigma > 30 * middle
    variance[lost] = 1000
    wanted = solution(shape, boundary, ux, uy, variance)
    # conjugate gradients to rounding in float32, of the greatest value at most: measured 9e-7, dct 1.8e-5
    limit = 4e-5 if boundary == "dct" else 2.5e-6
    np.testing.assert_allclose(
        integrate(ux, uy, boundary, **options), wanted, atol=limit * np.abs(wanted).max()
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_curl_is_what_no_phase_explains(shape, boundary):
    ux, uy = np.random.default_rng(3).normal(0, 1, (2, *shape)).astype(np.float32)
    _, gradient, data = system(shape, boundary)
    g = data @ np.concatenate([ux.ravel(), uy.ravel()])
    residual = g - gradient @ np.linalg.lstsq(gradient, g, rcond=1e-10)[0]
    wanted = np.sqrt(np.sum(residual**2) / ux.size)
    assert curl_rms(ux[None], uy[None], boundary=boundary)[0] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_iteration_stops_when_what_is_left_is_small_against_the_noise(boundary, monkeypatch):
    """CG_TOLERANCE 1e-3 of the variance: less than 3 % of the statistical error."""
    rng = np.random.default_rng(4)
    shape = (40, 56)
    sigma = 0.02 * np.exp(rng.normal(0, 0.7, shape))
    ux, uy = sigma * rng.normal(0, 1, (2, *shape))  # no phase: all of the result is statistical error
    stopped = integrate(ux, uy, boundary, sigma=sigma)
    monkeypatch.setattr(solve, "CG_TOLERANCE", 0.0)
    full = integrate(ux, uy, boundary, sigma=sigma)
    left = np.sqrt(np.mean((stopped - full) ** 2) / np.mean(full**2))
    assert 0.001 < left < 0.02  # measured 0.0098, 0.0093 and 0.0027


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_preconditioner_knows_the_weights(boundary, monkeypatch):
    """Sigma that varies slowly: 4 steps, each of two projections, beat 8 plain ones."""
    rng = np.random.default_rng(5)
    shape = (90, 124)
    sigma = 0.02 * np.exp(
        ndimage.gaussian_filter(rng.normal(0, 1, shape), 6) * 16
    )  # of a factor of 5 (2 rms)
    ux, uy = sigma * rng.normal(0, 1, (2, *shape))
    monkeypatch.setattr(solve, "CG_TOLERANCE", 0.0)

    def run(variance: float, steps: int) -> np.ndarray:
        monkeypatch.setattr(solve, "PRECONDITIONER_VARIANCE", variance)
        monkeypatch.setattr(solve, "CG_STEPS", steps)
        return integrate(ux, uy, boundary, sigma=sigma)

    full = run(100.0, 100)
    ours, plain = (np.std(run(v, n) - full) / np.std(full) for v, n in ((100.0, 4), (0.1, 8)))
    # measured 0.045, 0.059 and 0.016 against 0.070, 0.073 and 0.031
    assert ours < 0.9 * plain
    assert ours < 0.1


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_phase_and_curl_are_what_the_two_functions_return(boundary):
    rng = np.random.default_rng(6)
    ux, uy = rng.normal(0, 0.3, (2, 2, 12, 17)).astype(np.float32)
    sigma = rng.uniform(0.01, 0.1, ux.shape)
    phase, curl = phase_and_curl(ux, uy, boundary=boundary, sigma=sigma, **GEOMETRY)
    np.testing.assert_array_equal(curl, curl_rms(ux, uy, boundary=boundary))
    np.testing.assert_array_equal(
        phase, integrate_displacement(ux, uy, boundary=boundary, sigma=sigma, **GEOMETRY)
    )


def test_unequal_sigma_is_used_as_well_as_can_be():
    """Half of the pixels three times noisier: 1 / sigma^2 beats equal weights by what Gauss and Markov say.

    Scatter over 60 noise fields against that of the exact estimator's covariance, (G' W G)^-1.
    """
    shape, boundary = (8, 9), "mirror"
    rng = np.random.default_rng(5)
    sigma = np.where(rng.random(shape) < 0.5, 0.01, 0.03)
    phase, gradient, _ = system(shape, boundary)
    spread = np.tile(sigma.ravel(), 2)
    estimator = phase @ np.linalg.pinv(gradient / spread[:, None]) / spread
    wanted = SCALE * np.sqrt(np.mean((estimator * spread) ** 2, 0).sum())
    noise = rng.normal(0, 1, (2, 60, *shape)) * sigma
    scale = np.broadcast_to(sigma, (60, *shape))
    found = integrate_displacement(*noise, boundary=boundary, sigma=scale, **GEOMETRY)
    assert found.std() == pytest.approx(wanted, rel=0.03)
