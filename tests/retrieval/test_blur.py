"""Blur after the sample: the shift that absorption feigns is removed, the detail that it takes is expected."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from speckleflow.retrieval.blur import unresolved_variance, without_blur_shift
from speckleflow.retrieval.espinnet import refinement
from speckleflow.retrieval.umpa.retriever import Umpa
from speckleflow.retrieval.umpa.settings import UmpaSettings

SLOPE, BLUR = 0.04, 1.0  # absorption per pixel; point spread of the detector in pixels
BLUR_ERROR = (
    0.0015  # px; measured: 0.0006. The low-pass's variance as sigma^2 would add 0.0032, the pixel's is 0.0033
)
STEEP, SAMPLES = 0.06, 5  # absorption per pixel of the wedge before real pixels; samples per pixel
Y, X = torch.meshgrid(torch.arange(40.0), torch.arange(52.0), indexing="ij")


@pytest.mark.parametrize(("known", "share"), [(False, 1.0), (True, 0.0)])
@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("of", ["transmission", "darkfield"])
def test_absorption_looks_like_a_displacement_only_while_the_blur_is_not_known(known, share, axis, of):
    """A wedge that absorbs or scatters and refracts nothing, before a speckle pattern, seen through a blurred detector.

    The pattern is sampled, not integrated over pixels: of the blur that umpa counts, the pixel's share of 1/12 px^2
    is not in the data.
    """
    noise = np.random.default_rng(3).normal(size=(10, 96, 128))
    pattern = gaussian_filter(noise, (0, 1.5, 1.5), mode="wrap")
    pattern = 1 + 0.2 * pattern / pattern.std()
    wedge = np.exp(-SLOPE * np.abs(np.arange(128) - 63.5))
    sample = wedge * pattern if of == "transmission" else 1 + wedge * (pattern - 1)
    stacks = [gaussian_filter(stack, (0, BLUR, BLUR)) for stack in (pattern, sample)]
    if axis == "y":
        stacks = [stack.mT.contiguous() for stack in map(torch.from_numpy, stacks)]
    reference, sample = (torch.as_tensor(stack).float() for stack in stacks)
    umpa = Umpa(UmpaSettings(detector_blur_px=BLUR if known else 0.0))
    fields = umpa(sample[None], umpa.prepare(reference))
    along, across = (fields.ux[0], fields.uy[0]) if axis == "x" else (fields.uy[0].T, fields.ux[0].T)
    # ln T rises to the ridge of the wedge from the left and falls to the right of it
    expected = -share * BLUR**2 * SLOPE + SLOPE / 12
    left, right = float(along[16:-16, 20:50].mean()), float(along[16:-16, 78:108].mean())
    # The mean of both flanks is the wedge's, their difference the pattern's: pattern and derivative are independent
    # over many frames only.
    assert (left - right) / 2 == pytest.approx(expected, abs=BLUR_ERROR)
    assert abs(float(across[16:-16, 20:50].mean())) < BLUR_ERROR


@pytest.fixture(scope="module")
def roofs():
    """Reference and sample (N, y, x) of a roof of absorption along x, integrated over square pixels."""
    rows, columns, side = 40 * SAMPLES, 84 * SAMPLES, 1.3 * SAMPLES
    noise = np.random.default_rng(5).normal(size=(12, rows, columns)).astype(np.float32)
    pattern = gaussian_filter(noise, (0, side, side), mode="wrap")
    pattern = 1 + 0.25 * pattern / pattern.std()
    place = (np.arange(columns) + 0.5) / SAMPLES - columns / SAMPLES / 2
    roof = np.exp(-STEEP * np.abs(place)).astype(np.float32)

    def pixels(stack):
        cells = stack.reshape(12, rows // SAMPLES, SAMPLES, columns // SAMPLES, SAMPLES)
        return torch.from_numpy(cells.mean((2, 4)))

    return pixels(pattern), pixels(roof * pattern)


def displacement_of_umpa(reference, sample):
    umpa = Umpa(UmpaSettings(detector_blur_px=0.0))
    fields = umpa(sample[None], umpa.prepare(reference))
    return torch.stack((fields.ux[0], fields.uy[0]))


def displacement_of_the_refinement(reference, sample):
    terms = refinement.precompute_reference(reference, refinement.characterise(reference, 0.0))
    return refinement.refine([terms], sample[None], torch.zeros(1, 2, *sample.shape[1:])).displacement[0]


@pytest.mark.parametrize("retrieve", [displacement_of_umpa, displacement_of_the_refinement])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_pixels_and_low_pass_feign_nothing(roofs, retrieve, axis):
    reference, sample = roofs
    if axis == "y":
        reference, sample = reference.mT.contiguous(), sample.mT.contiguous()
    u = retrieve(reference, sample)
    along, across = (u[0], u[1]) if axis == "x" else (u[1].T, u[0].T)
    left, right = float(along[8:-8, 10:36].mean()), float(along[8:-8, 48:74].mean())
    # measured: 0.0010 and 0.0002; 0.0046 with sigma^2 for the low-pass's variance, 0.005 without the pixel's
    assert abs(left - right) / 2 < 0.002
    assert abs(float(across[8:-8, 10:36].mean())) < 0.002  # 0.0011


def test_the_shift_of_the_blur_is_minus_its_variance_times_the_slope_of_the_logarithm():
    ux, uy = torch.sin(X / 7), torch.cos(Y / 5)
    x, y = without_blur_shift(ux, uy, torch.exp(0.03 * X - 0.05 * Y), 0.7)
    torch.testing.assert_close(x, ux + 0.7 * 0.03, atol=2e-6, rtol=0)
    torch.testing.assert_close(y, uy - 0.7 * 0.05, atol=2e-6, rtol=0)


def test_a_pattern_that_is_gone_shifts_nothing():
    """Below a thousandth of the reference's pattern there is noise, whose logarithm has any slope."""
    gone = torch.exp(3 * torch.sin(X) - 12)
    for component in without_blur_shift(torch.zeros_like(X), torch.zeros_like(X), gone, 1.0):
        assert not component.any()


def test_the_shift_of_the_refinement_bounds_the_slope_of_the_dark_field():
    """T's slope counts in full, D's up to 0.1 per pixel, with its direction kept."""
    t = torch.exp(0.02 * X - 0.03 * Y)
    for slope in (0.04, 0.3):
        ln_d = slope * (0.8 * (X - 25) - 0.6 * (Y - 20))
        found = refinement.blur_shift(t, torch.exp(ln_d), 0.5)[:, 1:-1, 1:-1]
        inside = ln_d[1:-1, 1:-1] > -3.5  # D counts as 0.01 where it is less
        for component, of_t, direction in zip(found, (0.02, -0.03), (0.8, -0.6), strict=True):
            expected = 0.5 * (of_t + min(slope, 0.1) * direction)
            assert float((component[inside] - expected).abs().max()) < 2e-5


def test_what_a_smoothing_takes_is_expected_of_it():
    """Of waves that the smoothing leaves almost alone, whose loss is s^2 k^2 / 2: the estimate is twice that."""
    x = torch.arange(256.0)
    wave = torch.sin(2 * np.pi * x / 32).expand(1, 8, 256)
    s2 = 1.5
    lost = wave * (1 - np.exp(-0.5 * s2 * (2 * np.pi / 32) ** 2))
    expected = unresolved_variance(wave, wave, s2).sqrt()
    # measured: 2.0225; the exponential's next term is in it
    assert float(expected[0, 4, 16:-16].mean() / lost[0, 4, 16:-16].abs().mean()) == pytest.approx(
        2.0225, abs=0.005
    )
    assert not unresolved_variance(torch.ones(1, 8, 8), torch.ones(1, 8, 8), s2).any()


def test_the_expected_loss_is_the_mean_square_of_variance_times_laplacian():
    ux, uy = 0.01 * X**2 + 0.03 * Y**2, 0.02 * X**2 - 0.005 * Y**2
    found = unresolved_variance(ux[None], uy[None], 1.5)[0, 1:-1, 1:-1]
    expected = ((1.5 * 0.08) ** 2 + (1.5 * 0.03) ** 2) / 2
    torch.testing.assert_close(found, torch.full_like(found, expected), atol=1.2e-5, rtol=0)
