"""Low-pass of a pattern: the bias that interpolation leaves, along the axis that has it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.lowpass import CANDIDATES, LowPass, choose_low_pass, interpolation_bias
from speckleflow.retrieval.spectrum import Spectrum, spectrum

NEAR, FAR = 2 * math.pi * 13 / 64, 2 * math.pi * 19 / 64  # rad per pixel


def waves(*components: tuple[float, float, float]) -> Spectrum:
    """Spectrum of plane waves (w_y, w_x, power)."""
    wy, wx, power = (torch.tensor(part) for part in zip(*components, strict=True))
    return Spectrum(power, wy, wx, 0.0, 1)


def slope_of_the_spline(w: float) -> float:
    """Derivative at a sample of scipy's cubic spline through sin(w x): what interpolation takes for w."""
    x = np.arange(-32.0, 33.0)
    around = ndimage.map_coordinates(np.sin(w * x), [[32 - 1e-4, 32 + 1e-4]], order=3, mode="mirror")
    return float(around[1] - around[0]) / 2e-4


def test_the_bias_is_that_of_least_squares_with_the_splines_slope():
    """Two waves along each axis, other ones along the other: u = sum P w d / sum P d^2."""
    found = interpolation_bias(*waves((0.0, NEAR, 3.0), (0.0, FAR, 1.0), (NEAR / 2, 0.0, 1.0))[:3], 0.0)
    for bias, parts in zip(found, (((NEAR, 3.0), (FAR, 1.0)), ((NEAR / 2, 1.0),)), strict=True):
        slopes = [(w, p, slope_of_the_spline(w)) for w, p in parts]
        expected = sum(p * w * d for w, p, d in slopes) / sum(p * d * d for _, p, d in slopes) - 1
        assert bias == pytest.approx(expected, rel=2e-3)
    assert interpolation_bias(*waves((0.0, NEAR, 1.0))[:3], 0.0)[1] == 0  # nothing varies along y


def test_the_low_pass_weighs_waves_by_the_square_of_its_response():
    kernel = torch.tensor(gaussian(0.8))
    lag = torch.arange(len(kernel)) - len(kernel) // 2
    near, far, one = (float((kernel * (lag * w).cos()).sum()) ** 2 for w in (NEAR, FAR, 1.0))
    kept = interpolation_bias(*waves((0.0, NEAR, near), (0.0, FAR, far))[:3], 0.0)
    assert interpolation_bias(*waves((0.0, NEAR, 1.0), (0.0, FAR, 1.0))[:3], 0.8) == pytest.approx(
        kept, rel=0.01
    )
    # and the other axis's frequency weakens a wave as much
    oblique = interpolation_bias(*waves((1.0, NEAR, 1.0), (0.0, FAR, 1.0))[:3], 0.8)[0]
    weak = waves((0.0, NEAR, near * one), (0.0, FAR, far))
    assert oblique == pytest.approx(interpolation_bias(*weak[:3], 0.0)[0], rel=0.01)


def test_what_is_taken_off_is_a_sine_of_whole_pixels():
    ux, uy = torch.tensor([0.25, 0.5, 1.25, -0.25]), torch.tensor([0.0, 0.25, 0.75, 2.0])
    x, y = LowPass(0.4, 0.1, 0.3).unbiased(ux, uy)
    torch.testing.assert_close(x, ux - 0.1 / (2 * math.pi) * torch.tensor([1.0, 0.0, 1.0, -1.0]))
    torch.testing.assert_close(y, uy - 0.3 / (2 * math.pi) * torch.tensor([0.0, 1.0, -1.0, 0.0]))


@pytest.mark.parametrize("fine", ["x", "y"])
def test_a_pattern_fine_along_one_axis_has_the_bias_there(fine):
    white = torch.randn(5, 96, 144, generator=torch.Generator().manual_seed(2))
    kernels = (gaussian(0.75), gaussian(2.0)) if fine == "x" else (gaussian(2.0), gaussian(0.75))
    chosen = choose_low_pass(spectrum(1 + 0.3 * filter_xy(white, *kernels, "mirror")))
    along, across = (chosen.bias_x, chosen.bias_y) if fine == "x" else (chosen.bias_y, chosen.bias_x)
    assert 0.008 < along <= 0.02
    assert 0 <= across < 2e-3  # 0.0011
    assert 0.7 <= chosen.sigma <= 0.9


def test_the_narrowest_that_keeps_the_bias_within_two_per_cent_is_taken():
    first = [(0.0, w, 1.0) for w in (0.5, 1.0, 1.5, 2.0, 2.5)]
    second = [(0.0, 0.5, 1.0), (0.0, 1.0, 1.0), (0.0, 1.7, 1.0), (0.0, 2.2, 0.5)]  # 0.0216 at 1.0 px
    for components in (first, second):
        pattern = waves(*components, (0.3, 0.0, 1.0))
        chosen = choose_low_pass(pattern)
        biases = [interpolation_bias(*pattern[:3], sigma)[0] for sigma in CANDIDATES]
        assert chosen.sigma == min(s for s, bias in zip(CANDIDATES, biases, strict=True) if bias <= 0.02)
        assert chosen.sigma > CANDIDATES[1]
        assert chosen.bias_x == pytest.approx(biases[CANDIDATES.index(chosen.sigma)])
    # two waves so fine that no low-pass serves: the narrowest within a tenth of the best
    assert choose_low_pass(waves((0.0, 2.3, 1.0), (0.0, 2.6, 1.0))).sigma == 1.2
    # a grating has one frequency, which no low-pass changes
    assert choose_low_pass(waves((0.0, 2.4, 1.0))).sigma == CANDIDATES[0]
    # the noise that was taken off leaves powers below zero, which are none
    noisy = waves((0.0, 0.7, 1.0), (0.0, 2.9, -0.5), (2.9, 0.0, -0.5))
    assert choose_low_pass(noisy) == choose_low_pass(waves((0.0, 0.7, 1.0)))


def test_a_wave_stands_at_its_frequency():
    """3 cycles along y and 11 along x of 64 and 80 pixels, both of one sign."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")
    found = spectrum(5 + (2 * math.pi * (3 * y / 64 + 11 * x / 80)).cos()[None])
    row, column = divmod(int(found.power.argmax()), 80)
    wy, wx = float(found.wy[row, 0]), float(found.wx[0, column])
    assert (abs(wy), abs(wx)) == pytest.approx((math.tau * 3 / 64, math.tau * 11 / 80))
    assert wy * wx > 0


def test_white_noise_is_taken_off():
    """Of one frame: power sigma^2 sum(window^2) per frequency. The centre of 256 pixels of 8 frames is looked at."""
    noise = 0.3 * torch.randn(12, 120, 300, generator=torch.Generator().manual_seed(4))
    window = torch.hann_window(120)[:, None] * torch.hann_window(256)
    found = spectrum(2 + noise[:1])
    assert found.power.shape == (120, 256)
    assert found.noise == pytest.approx(0.09 * float(window.square().sum()), rel=0.08)  # measured: 0.023
    assert abs(float(found.power.mean())) < 0.08 * found.noise
    assert [spectrum(2 + noise[:n]).frames for n in (3, 12)] == [3, 8]


def test_noise_is_read_where_both_frequencies_are_high():
    """A pattern that is fine along x alone reaches beyond 0.8 of one Nyquist frequency."""
    generator = torch.Generator().manual_seed(4)
    pattern = 3 * filter_xy(torch.randn(1, 256, 250, generator=generator), (1.0,), gaussian(1.5), "mirror")
    noise = 0.1 * torch.randn(1, 256, 250, generator=generator)
    window = torch.hann_window(256)[:, None] * torch.hann_window(250)
    # measured: 1.03; the median of so few is known to 6 %
    assert spectrum(1 + pattern + noise).noise == pytest.approx(0.01 * float(window.square().sum()), rel=0.12)


def test_the_level_of_a_frame_is_no_pattern():
    frames = 0.1 * torch.randn(3, 64, 80, generator=torch.Generator().manual_seed(4))
    levels = torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    found, expected = spectrum(levels + frames), spectrum(1 + frames)
    torch.testing.assert_close(found.power, expected.power, atol=1e-4, rtol=1e-3)


def test_the_spectrum_is_that_of_the_centre():
    stack = torch.zeros(2, 300, 400)
    stack[:, :22], stack[:, 278:] = 9, 9
    stack[..., :72], stack[..., 328:] = 9, 9
    assert not spectrum(stack).power.any()
