"""Shapes of training scenes."""

import math

import pytest
import torch

from speckleflow.simulate.shapes import bezier_outline, fill_outline


def test_a_filled_polygon_has_its_area_and_its_place():
    angle = torch.arange(200) * 2 * math.pi / 200
    circle = torch.stack([30.3 + 17 * angle.sin(), 25.8 + 17 * angle.cos()], dim=1)
    for outline in (circle, circle.flip(0)):  # either sense
        filled = fill_outline(outline, 64, lines=4)
        assert float(filled.sum()) == pytest.approx(math.pi * 17**2, rel=2e-3)
        y, x = (torch.arange(64.0)[:, None] * filled).sum(), (torch.arange(64.0) * filled).sum()
        assert float(y / filled.sum()) == pytest.approx(30.3, abs=0.02)
        assert float(x / filled.sum()) == pytest.approx(25.8, abs=0.02)
        assert float(filled.min()) >= 0
        assert float(filled.max()) <= 1


def test_a_rectangle_on_half_samples_is_exact():
    corners = torch.tensor([[4.5, 3.25], [4.5, 9.75], [11.5, 9.75], [11.5, 3.25]])
    filled = fill_outline(corners, 16, lines=2)
    assert filled[8].tolist() == pytest.approx([0, 0, 0, 0.25, 1, 1, 1, 1, 1, 1, 0.25, 0, 0, 0, 0, 0])
    assert filled[:, 6].tolist() == [0] * 5 + [1] * 7 + [0] * 4


def test_a_shape_beyond_the_image_is_cut():
    corners = torch.tensor([[-5.0, -8.0], [-5.0, 7.5], [7.5, 7.5], [7.5, -8.0]])
    filled = fill_outline(corners, 16, lines=2)
    assert float(filled.sum()) == pytest.approx(64)
    assert float(filled[:8, :8].min()) == 1


def test_outlines_are_closed_and_random():
    generator = torch.Generator().manual_seed(1)
    areas = []
    for _ in range(20):
        outline = bezier_outline(generator, 128)
        assert float((outline.roll(-1, 0) - outline).norm(dim=1).max()) < 40
        areas.append(float(fill_outline(outline, 128).sum()))
    assert min(areas) > 0
    assert max(areas) > 4 * min(areas)
