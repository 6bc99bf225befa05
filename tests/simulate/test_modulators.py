"""Modulators: pitch, cover, rigid moves at any sub-pixel shift, visibility as asked."""

import math

import pytest
import torch

from speckleflow.errors import ConfigError
from speckleflow.simulate.modulators import (
    KINDS,
    Modulator,
    Pattern,
    cast_pattern,
    relief,
    thickness_for_visibility,
)
from speckleflow.simulate.optics import Beam, bin_mean

BEAM = Beam(20.0, 6.5e-6, 0.5, 2e-6)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def correlation(image, dy, dx):
    a = image - image.mean()
    return float((a * a.roll((dy, dx), (0, 1))).mean() / (a * a).mean())


def test_a_mask_is_binary_with_its_pitch_exactly():
    cover = relief("mask", (40, 40), (260, 260), seeded())  # 6.5 samples a cell: edges inside samples
    assert float(cover.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(((cover == 0) | (cover == 1)).float().mean()) > 0.7
    # random cells: the correlation is a triangle that reaches zero after one pitch
    assert correlation(cover, 0, 13) == pytest.approx(0, abs=0.05)
    assert correlation(cover, 0, 3) == pytest.approx(1 - 3 / 6.5, abs=0.06)
    # 13 samples hold exactly two cells, covered wholly: every such mean is 0, 1/2 or 1
    cells = cover.reshape(20, 13, 20, 13).mean((1, 3)) * 4
    assert float((cells - cells.round()).abs().max()) < 1e-5


def test_a_checkerboard_repeats_after_its_pitch():
    board = relief("grating", (10, 10), (80, 80), seeded())
    assert torch.equal(board, board.roll(8, 1))
    assert torch.equal(board, 1 - board.roll(4, 1))
    assert torch.equal(board, board.roll((4, 4), (0, 1)))


def test_grains_have_random_heights_and_the_size_of_the_pitch():
    grains = relief("sandpaper", (24, 24), (240, 240), seeded())
    assert float(grains.min()) == 0
    assert float(grains.std()) > 0.2
    assert correlation(grains, 0, 2) > 0.7
    assert abs(correlation(grains, 0, 15)) < 0.1  # further than the widest grain


def test_a_move_by_whole_pixels_is_a_roll_and_moves_add_up():
    pattern = cast_pattern(Modulator.usual("mask", 26e-6, 4e-6), BEAM, (32, 32), seeded())
    still = pattern.crop(32, 32)
    moved = pattern.crop(32, 32, (3.0, -2.0))
    assert torch.allclose(
        moved, still.roll((12, -8), (0, 1)), atol=1e-4
    )  # y down, x right, 4 samples a pixel
    half = Pattern(pattern.crop(32, 32, (0.37, 0.0)), 4).crop(32, 32, (0.63, 1.0))
    assert torch.allclose(half, pattern.crop(32, 32, (1.0, 1.0)), atol=1e-4)
    wide = pattern.crop(20, 24, margin=4)
    assert torch.allclose(wide[16:-16, 16:-16], pattern.crop(20, 24), atol=1e-5)


def test_positions_a_pitch_apart_give_new_patterns():
    pattern = cast_pattern(Modulator.usual("mask", 26e-6, 4e-6), BEAM, (96, 96), seeded())
    first, other = (bin_mean(pattern.crop(96, 96, place), 4) for place in ((0.0, 0.0), (4.0, 4.5)))
    assert abs(float(torch.corrcoef(torch.stack([first.ravel(), other.ravel()]))[0, 1])) < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_visibility_as_asked(kind):
    wanted = 0.15
    found = thickness_for_visibility(Modulator.usual(kind, 26e-6, 1e-6), BEAM, wanted, seeded(), 0.5)
    seen = cast_pattern(found, BEAM, (96, 96), seeded(2)).visibility(0.5)  # another relief of the same kind
    assert seen == pytest.approx(wanted, rel=0.1)
    assert 1e-7 < found.thickness_m < 1e-4


def test_blur_lowers_visibility():
    modulator = Modulator.usual("mask", 26e-6, 4e-6)
    sharp = cast_pattern(modulator, BEAM, (64, 64), seeded())
    soft = cast_pattern(modulator, Beam(20.0, 6.5e-6, 0.5, 8e-6), (64, 64), seeded())
    assert soft.visibility() < 0.9 * sharp.visibility()
    assert sharp.visibility(1.0) < 0.8 * sharp.visibility()
    assert float(sharp.intensity.mean()) == pytest.approx(1)


def test_a_pattern_without_propagation_is_the_absorption():
    modulator = Modulator.usual("mask", 26e-6, 5e-6)
    pattern = cast_pattern(modulator, Beam(20.0, 6.5e-6, 1e-4), (64, 64), seeded())
    contrast = math.exp(-modulator.material.mu(20.0) * 5e-6)
    low, high = (float(pattern.intensity.quantile(q)) for q in (0.1, 0.9))
    assert low / high == pytest.approx(contrast, rel=0.02)


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ConfigError, match="pitch of at least two samples"):
        cast_pattern(Modulator.usual("mask", 2e-6, 4e-6), BEAM, (32, 32), seeded())
    with pytest.raises(
        ConfigError, match=r"expected a visibility of 0.9, found at most 0\.\d+ from a sandpaper"
    ):
        thickness_for_visibility(Modulator.usual("sandpaper", 26e-6, 1e-6), BEAM, 0.9, seeded(), 1.0)
