"""Flux of the frames: known errors are found, patterns that feign some are left alone."""

from __future__ import annotations

import torch

from speckleflow.evaluate.held_out import Cell, scenes
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.flux import level_flux


def test_known_flux_errors_are_taken_off():
    generator = torch.Generator().manual_seed(3)
    grains = filter_xy(torch.randn(6, 256, 256, generator=generator), gaussian(1.5), gaussian(1.5), "mirror")
    reference = (1 + 0.3 * grains)[None]
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 256)] * 2, indexing="ij")
    transmission = torch.exp(-2 * torch.exp(-(x**2 + y**2) / 0.3))
    even = transmission * reference.roll((2, -3), (-2, -1))
    flux = 1 + torch.tensor([0.02, -0.01, 0.0, 0.01, -0.02, 0.0])
    levelled = level_flux(reference, even * flux[None, :, None, None])
    ratio = (levelled / even).mean((0, 2, 3))
    # the common factor stays, it is transmission
    torch.testing.assert_close(ratio / ratio.mean(), torch.ones(6), atol=1e-3, rtol=0)
    assert abs(float(ratio.mean()) - 1) < 1e-3
    torch.testing.assert_close(level_flux(reference, levelled), levelled, atol=2e-4, rtol=0)


def test_coarse_pattern_in_a_small_image_is_left_alone():
    """A displaced grating of four periods brightens some frames: that is no flux."""
    x = torch.arange(64.0)
    phase = torch.arange(4.0)[:, None] * 1.3
    line = torch.cos(2 * torch.pi * x / 16.7 + phase)
    moved = torch.cos(2 * torch.pi * (x - 4) / 16.7 + phase)
    reference, sample = ((1 + 0.3 * row[:, None, :] * row[:, :, None])[None] for row in (line, moved))
    change = level_flux(reference, sample) / sample - 1
    assert float(change.abs().max()) < 0.004


def test_one_frame_and_scenes_of_per_cent_errors():
    scene = scenes(Cell("sandpaper", 5, 5e4), count=1, size=128)
    assert level_flux(scene.reference[:, :1], scene.sample[:, :1]) is not None
    torch.testing.assert_close(level_flux(scene.reference[:, :1], scene.sample[:, :1]), scene.sample[:, :1])
    before, after = (
        (s.mean((2, 3)) / scene.reference.mean((2, 3))).log().std()
        for s in (scene.sample, level_flux(scene.reference, scene.sample))
    )
    assert float(after) < 0.2 * float(before)
