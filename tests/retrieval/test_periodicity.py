"""Whether a pattern repeats itself: periodic images with and without noise, and patterns that do not."""

from __future__ import annotations

import math

import pytest
import torch

from speckleflow.evaluate.held_out import Cell, scenes
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.periodicity import is_periodic, periodicity
from speckleflow.retrieval.spectrum import spectrum


def grating(period: float, side: int, contrast: float = 0.1, noise: float = 0.0) -> torch.Tensor:
    """A crossed cosine of mean 1 under a bright beam, turned by 20 degrees: (1, side, side)."""
    generator = torch.Generator().manual_seed(5)
    y, x = torch.meshgrid(*[torch.arange(float(side))] * 2, indexing="ij")
    a = math.radians(20)
    u, v = math.cos(a) * x + math.sin(a) * y, math.cos(a) * y - math.sin(a) * x
    pattern = 1 + contrast * (2 * math.pi * u / period).cos() * (2 * math.pi * v / period).cos()
    beam = 1 + 0.5 * torch.exp(-((x / side - 0.3) ** 2))
    return (pattern * beam + noise * torch.randn(side, side, generator=generator))[None]


@pytest.mark.parametrize("period", [5.0, 8.3, 11.0, 15.0])
@pytest.mark.parametrize("side", [160, 400])
def test_a_grating_is_its_own_copy_a_period_away(period, side):
    assert periodicity(spectrum(grating(period, side))) == pytest.approx(1, abs=0.05)


def test_white_noise_is_taken_off():
    """Noise as strong as the pattern: its autocorrelation is that of the pattern alone."""
    assert periodicity(spectrum(grating(10.0, 400, contrast=0.1, noise=0.05))) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("size", [1.0, 2.0, 4.0])
def test_speckle_does_not_repeat(size):
    white = torch.randn(5, 300, 300, generator=torch.Generator().manual_seed(7))
    kernel = gaussian(size)
    speckle = 1 + 0.1 * size * filter_xy(white, kernel, kernel, "mirror")
    assert periodicity(spectrum(speckle)) < 0.25


@pytest.mark.parametrize("shape", [(120, 400), (400, 120)])
def test_shifts_count_in_pixels_of_either_axis(shape):
    """Wide speckle in a long image: 7 px along the short side are within a speckle, not beyond it."""
    white = torch.randn(5, *shape, generator=torch.Generator().manual_seed(7))
    speckle = 1 + 0.4 * filter_xy(white, gaussian(4.0), gaussian(4.0), "mirror")
    assert periodicity(spectrum(speckle)) < 0.3


def test_stripes_of_the_beam_are_no_pattern():
    """Stripes of 30 px, as strong as the speckle, pass the high-pass with a twelfth of their power."""
    white = torch.randn(5, 256, 256, generator=torch.Generator().manual_seed(7))
    speckle = filter_xy(white, gaussian(1.0), gaussian(1.0), "mirror")
    stripes = 2**0.5 * speckle.std() * torch.cos(2 * math.pi * torch.arange(256.0) / 30)
    print(
        "ST", periodicity(spectrum(1 + 0.1 * (speckle + stripes))), periodicity(spectrum(1 + 0.1 * speckle))
    )
    assert periodicity(spectrum(1 + 0.1 * (speckle + stripes))) < 0.2  # measured: 0.117


@pytest.mark.slow
@pytest.mark.parametrize("photons", [500.0, 50_000.0])
def test_modulators_are_told_apart(photons):
    for modulator, expected in (("mask", False), ("sandpaper", False), ("grating", True)):
        found = [is_periodic(spectrum(one)) for one in scenes(Cell(modulator, 2, photons), count=4).reference]
        assert found == [expected] * 4, modulator


def test_noise_alone_repeats_little():
    noise = torch.randn(5, 300, 300, generator=torch.Generator().manual_seed(8))
    assert not is_periodic(spectrum(1 + 0.1 * noise))


def test_an_image_too_small_to_tell_may_repeat():
    assert is_periodic(spectrum(torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(1))))
