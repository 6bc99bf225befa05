"""Phase integration against analytic fields, whose displacement follows from eq. (1) and the refractive
index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speckleflow.errors import InputError
from speckleflow.phase import curl_rms, integrate_displacement, remove_drift

GEOMETRY = {"energy_kev": 20.0, "pixel_size_m": 1.3e-6, "distance_m": 0.2}
WAVE_NUMBER = 2 * np.pi / 6.1992099e-11  # 1/m at 20 keV
SCALE = WAVE_NUMBER * 1.3e-6 * (1.3e-6 / 0.2)  # rad per px of displacement: k p times the angle
SHAPE = (72, 90)
AIR = (6, 6, 0, 0)
BOUNDARIES = ("mirror", "dct", "periodic")


def pixels(shape=SHAPE):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    return x, y


def gaussian(amplitude, cx, cy, width, shape=SHAPE):
    """Phase in rad and displacement in px of a Gaussian bump."""
    x, y = pixels(shape)
    phase = amplitude * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
    return phase, -(x - cx) / width**2 * phase / SCALE, -(y - cy) / width**2 * phase / SCALE


def sphere(radius_px, delta, shape=SHAPE, fine=8):
    """Pixel-averaged phase and displacement of a sphere of index decrement delta, radius in pixels.

    The mean of a derivative over a pixel is the difference between its sides, so no gradient is
    differentiated numerically here.
    """
    x, y = pixels(shape)
    cx, cy = shape[1] / 2 + 0.3, shape[0] / 2 - 0.4

    def phase(px, py):
        chord = 2 * np.sqrt(np.maximum(radius_px**2 - (px - cx) ** 2 - (py - cy) ** 2, 0))
        return -WAVE_NUMBER * delta * chord * GEOMETRY["pixel_size_m"]

    offsets = (np.arange(fine) + 0.5) / fine - 0.5
    mean = np.mean([phase(x + a, y + b) for a in offsets for b in offsets], axis=0)
    gx = np.mean([phase(x + 0.5, y + b) - phase(x - 0.5, y + b) for b in offsets], axis=0)
    gy = np.mean([phase(x + a, y + 0.5) - phase(x + a, y - 0.5) for a in offsets], axis=0)
    return mean, gx / SCALE, gy / SCALE


def integrate(ux, uy, **options):
    ux, uy = np.asarray(ux), np.asarray(uy)
    single = ux.ndim == 2
    extra = {k: v[None] if single and isinstance(v, np.ndarray) else v for k, v in options.items()}
    out = integrate_displacement(ux[None] if single else ux, uy[None] if single else uy, **GEOMETRY, **extra)
    assert out.dtype == np.float32
    return out[0] if single else out


@pytest.mark.parametrize(("boundary", "limit"), [("mirror", 1e-5), ("periodic", 1e-5), ("dct", 3e-4)])
def test_gaussian_in_the_field_of_view(boundary, limit):
    phase, ux, uy = gaussian(-10, 43.3, 33.1, 6)
    assert np.abs(integrate(ux, uy, boundary=boundary, air=AIR) - phase).max() < limit * 10


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_pmma_sphere_sign_and_depth(boundary):
    """phi < 0 inside, u points away from the axis, and the depth is -k delta 2r."""
    radius, delta = 24, 6.6e-7
    phase, ux, uy = sphere(radius, delta)
    assert ux[SHAPE[0] // 2, SHAPE[1] // 2 + 20] > 0 > ux[SHAPE[0] // 2, SHAPE[1] // 2 - 20]
    found = integrate(ux, uy, boundary=boundary, air=AIR)
    depth = WAVE_NUMBER * delta * 2 * radius * 1.3e-6
    assert found[SHAPE[0] // 2, SHAPE[1] // 2] == pytest.approx(-depth, rel=5e-3)
    assert np.sqrt(np.mean((found - phase) ** 2)) < 5e-3 * depth


def test_concave_lens_points_to_the_axis():
    """A concave (focusing) lens has least matter on its axis: u towards it gives a maximum of phi there."""
    x, y = pixels()
    ux, uy = -(x - 45) * 0.01, -(y - 36) * 0.01
    found = integrate(ux, uy, boundary="dct")
    assert np.unravel_index(found.argmax(), SHAPE) == (36, 45)


@pytest.mark.parametrize(("nx", "ny"), [(0, 40), (53, 0), (30, 25), (80, 60)])
def test_spectral_derivative_has_no_transfer_function(nx, ny):
    """One cosine of any frequency comes back with its own amplitude, also near the Nyquist frequency."""
    x, y = pixels()
    kx, ky = np.pi * nx / SHAPE[1], np.pi * ny / SHAPE[0]
    phase = np.cos(kx * (x + 0.5)) * np.cos(ky * (y + 0.5))
    ux = -kx * np.sin(kx * (x + 0.5)) * np.cos(ky * (y + 0.5)) / SCALE
    uy = -ky * np.cos(kx * (x + 0.5)) * np.sin(ky * (y + 0.5)) / SCALE
    # float32: 2.3e-6 at the most of these
    np.testing.assert_allclose(integrate(ux, uy), phase, atol=5e-6)


def test_neumann_is_exact_for_polynomials_that_leave_the_image():
    x, y = (a / 40 - 1 for a in pixels())
    phase = 3 * x + 2 * y**2 * x - x**4 + 0.5 * y**4
    ux = (3 + 2 * y**2 - 4 * x**3) / 40 / SCALE
    uy = (4 * x * y + 2 * y**3) / 40 / SCALE
    found = integrate(ux, uy, boundary="dct")
    np.testing.assert_allclose(found, phase - phase.mean(), atol=2e-5)
    # evenly mirrored, the same field has kinks at the border; far from it the error is small, not absent
    assert 1e-3 < np.abs(integrate(ux, uy) - (phase - phase.mean()))[8:-8, 8:-8].max() < 0.1


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(5, 40), st.integers(5, 40)),
    boundary=st.sampled_from(["mirror", "periodic"]),
)
def test_round_trip_of_any_band_limited_phase(seed, shape, boundary):
    """phase -> gradient -> phase, for random coefficients below the Nyquist frequency."""
    rng = np.random.default_rng(seed)
    x, y = pixels(shape)
    phase, ux, uy = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for _ in range(6):
        period = 1 if boundary == "mirror" else 2
        nx, ny = (rng.integers(0, max(1, (n - 1) // period)) for n in (shape[1], shape[0]))
        kx, ky = period * np.pi * nx / shape[1], period * np.pi * ny / shape[0]
        a, cx, sx = rng.normal(), np.cos(kx * (x + 0.5)), np.sin(kx * (x + 0.5))
        cy, sy = np.cos(ky * (y + 0.5)), np.sin(ky * (y + 0.5))
        phase += a * cx * cy
        ux -= a * kx * sx * cy / SCALE
        uy -= a * ky * cx * sy / SCALE
    found = integrate(ux, uy, boundary=boundary)
    np.testing.assert_allclose(found, phase - phase.mean(), atol=1e-5 * (1 + np.abs(phase).max()))
    assert curl_rms(ux[None], uy[None], boundary=boundary)[0] < 1e-5 / SCALE


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31), a=st.floats(-3, 3), b=st.floats(-3, 3), boundary=st.sampled_from(BOUNDARIES)
)
def test_linear_in_displacement(seed, a, b, boundary):
    u, v = np.random.default_rng(seed).normal(0, 0.3, (2, 2, 20, 31))
    together = integrate(a * u[0] + b * v[0], a * u[1] + b * v[1], boundary=boundary)
    apart = a * integrate(*u, boundary=boundary) + b * integrate(*v, boundary=boundary)
    np.testing.assert_allclose(together, apart, atol=1e-5 * (1 + np.abs(apart).max()))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_batch_equals_single(boundary, weighted):
    rng = np.random.default_rng(3)
    ux, uy = rng.normal(0, 0.2, (2, 3, 25, 34))
    options = {"boundary": boundary, "air": (3, 3, 2, 0), "order": 1}
    sigma = rng.uniform(0.01, 0.1, ux.shape) if weighted else None
    batch = integrate_displacement(ux, uy, sigma=sigma, **options, **GEOMETRY)
    for i in range(3):
        one = sigma if sigma is None else sigma[i]
        np.testing.assert_array_equal(batch[i], integrate(ux[i], uy[i], sigma=one, **options))


@pytest.mark.parametrize("boundary", ["mirror", "dct"])
def test_constant_displacement_is_a_ramp_that_is_removed_on_request(boundary):
    phase, ux, uy = gaussian(-8, 45, 36, 7)
    tilted = integrate(ux + 0.3, uy - 0.2, boundary=boundary, air=AIR)
    assert np.abs(tilted - phase).max() > 0.3 * 30 * SCALE
    level = integrate(ux + 0.3, uy - 0.2, boundary=boundary, air=AIR, order=1)
    assert np.abs(level - phase).max() < (5e-3 if boundary == "dct" else 0.15)


def test_phase_is_zero_in_air_despite_dust_in_the_margin():
    phase, ux, uy = gaussian(-8, 45, 36, 7)
    dust = gaussian(-40, 2, 20, 1.2)
    found = integrate(ux + dust[1], uy + dust[2], air=AIR)
    # a tenth of the margin's pixels are dust; a plain mean would be off by 0.27 rad
    assert abs(found[60:, :6].mean()) < 0.02
    assert abs(found[60:, -6:].mean()) < 0.02
    assert np.abs((found - phase)[:, 15:]).max() < 0.05


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_weights_recover_the_truth_behind_a_corrupted_patch(boundary):
    rng = np.random.default_rng(5)
    phase, ux, uy = gaussian(-8, 45, 36, 9)
    noise = rng.normal(0, 0.01, (2, *SHAPE))
    patch = np.zeros(SHAPE, bool)
    patch[25:40, 20:32] = True
    noise[:, patch] += rng.normal(1.5, 1.0, (2, patch.sum()))
    sigma = np.where(patch, 1.8, 0.01)
    options = {"boundary": boundary, "air": AIR}

    def error(noise, **weights):
        difference = integrate(ux + noise[0], uy + noise[1], **options, **weights) - phase
        return np.sqrt(np.mean(difference[~patch] ** 2)), np.sqrt(np.mean(difference[patch] ** 2))

    best, _ = error(np.where(patch, 0, noise), reject=patch)
    worst_outside, worst_inside = error(noise)
    assert worst_outside > 20 * best
    for weights in ({"sigma": sigma}, {"sigma": np.where(patch, np.inf, 0.01)}, {"reject": patch}):
        outside, inside = error(noise, **weights)
        assert outside < 2 * best
        assert inside < 0.2 * worst_inside  # a smooth continuation: there are no data


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_equal_weights_change_nothing(boundary):
    ux, uy = np.random.default_rng(1).normal(0, 0.1, (2, *SHAPE))
    plain = integrate(ux, uy, boundary=boundary)
    weighted = integrate(ux, uy, boundary=boundary, sigma=np.full(SHAPE, 0.03))
    # the outermost difference of 'dct' is an extrapolation and has more noise than the others, hence less
    # weight
    inside = slice(3, -3) if boundary == "dct" else slice(None)
    np.testing.assert_allclose(weighted[inside, inside], plain[inside, inside], atol=0.02 * plain.std())


def test_level_inside_a_ring_of_rejected_pixels_is_kept():
    """Nothing but rejected pixels connects the inside with the air: their vote is small, not absent."""
    phase, ux, uy = gaussian(-8, 45, 36, 9)
    x, y = pixels()
    radius = np.hypot(x - 45, y - 36)
    found = integrate(ux, uy, air=AIR, reject=(radius > 14) & (radius < 17))
    np.testing.assert_allclose(found, phase, atol=0.01)


def test_drift_is_the_air_and_nothing_else():
    rng = np.random.default_rng(2)
    _, ux, uy = gaussian(-8, 45, 36, 7)
    drift = np.array([[0.3, -0.2], [-0.07, 0.05]], np.float32)
    ux = ux + drift[:, 0, None, None] + rng.normal(0, 0.02, (2, *SHAPE))
    uy = uy + drift[:, 1, None, None] + rng.normal(0, 0.02, (2, *SHAPE))
    ux[:, 30:34, 0:4] += 3  # dust
    fx, fy, found = remove_drift(ux, uy, AIR)
    # 864 pixels of 0.02 px: 0.0007 px
    np.testing.assert_allclose(found, drift, atol=0.003)
    np.testing.assert_allclose(ux - fx, np.broadcast_to(found[:, 0, None, None], ux.shape), atol=1e-6)
    np.testing.assert_allclose(uy - fy, np.broadcast_to(found[:, 1, None, None], uy.shape), atol=1e-6)
    assert fx.dtype == fy.dtype == found.dtype == np.float32


@pytest.mark.parametrize("boundary", ["mirror", "periodic"])
def test_curl_of_noise_is_its_standard_deviation_and_of_a_phase_nothing(boundary):
    rng = np.random.default_rng(4)
    _, ux, uy = gaussian(-8, 45, 36, 7)
    nx, ny = rng.normal(0, 0.05, (2, *SHAPE))
    found = curl_rms(np.stack([ux, ux + nx]), np.stack([uy, uy + ny]), boundary=boundary)
    assert found[0] < 1e-5
    assert found[1] == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"uy": np.zeros((1, 20, 31))}, r"one shape .*\(1, 20, 30\) and \(1, 20, 31\)"),
        ({"ux": np.full((1, 20, 30), np.nan)}, "finite values, found 600"),
        ({"sigma": np.ones((2, 20, 30))}, r"sigma: expected .*\(1, 20, 30\), found \(2, 20, 30\)"),
        ({"air": (15, 15, 0, 0)}, "air margins: expected less than the image of 20 x 30"),
        ({"air": (4, 4)}, "four widths"),
        ({"order": 1}, "at least one pixel, to fit a ramp"),
        ({"boundary": "wrap"}, "mirror or dct or periodic, found 'wrap'"),
    ],
)
def test_mistakes_are_named(change, words):
    arguments = {"ux": np.zeros((1, 20, 30)), "uy": np.zeros((1, 20, 30)), **GEOMETRY, **change}
    with pytest.raises(InputError, match=words):
        integrate_displacement(**arguments)


def test_drift_needs_air():
    with pytest.raises(InputError, match="to measure the drift in"):
        remove_drift(np.zeros((1, 9, 9)), np.zeros((1, 9, 9)), (0, 0, 0, 0))
