"""The picture of one view's contrasts, and what all pictures share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from speckleflow.report.pictures import picture_fields, robust_range, scale_bar


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(40, 50), (20, 300)])
def test_picture_of_four_contrasts(tmp_path, shape):
    rng = np.random.default_rng(0)
    fields = {name: rng.random(shape) for name in ("transmission", "darkfield", "ux", "phase")}
    path = tmp_path / "deep" / "fields.png"
    picture_fields(path, fields, pixel_size_m=6.5e-6, title="a $name_{ that is not mathematics")
    with Image.open(path) as picture:
        assert picture.size[0] > 1200
        assert np.asarray(picture.convert("L")).std() > 20
    assert [p.name for p in path.parent.iterdir()] == ["fields.png"]


def test_picture_is_the_right_way_up(tmp_path):
    image = np.zeros((40, 40))
    image[:20, :20] = 1.0  # top left
    picture_fields(tmp_path / "p.png", {"transmission": image})
    with Image.open(tmp_path / "p.png") as picture:
        pixels = np.asarray(picture.convert("L")).astype(float)
    height, width = pixels.shape
    # the axes take up most of the picture; these four points are well inside their quadrants
    points = [
        pixels[int(a * height), int(b * width)]
        for a, b in ((0.3, 0.25), (0.3, 0.7), (0.75, 0.25), (0.75, 0.7))
    ]
    assert points == [255, 0, 0, 0]


@given(st.integers(16, 4096), st.floats(1e-9, 1e-2))
def test_scale_bar_is_round_and_fits(width, pixel):
    length, text = scale_bar(width, pixel)
    value, unit = text.split()
    assert float(f"{float(value):.0e}"[0]) in (1, 2, 5)
    assert float(value) * {"m": 1, "mm": 1e-3, "\u03bcm": 1e-6, "nm": 1e-9}[unit] == pytest.approx(
        length * pixel
    )
    assert 0.08 * width < length <= 0.2201 * width


def test_outliers_do_not_stretch_the_range():
    image = np.random.default_rng(0).normal(1.0, 0.1, (100, 100))
    image[0, :20] = 1e6
    low, high = robust_range([image])
    assert 0.5 < low < 0.8
    assert 1.2 < high < 1.5
    assert robust_range([np.array([[-1.0, 3.0]])], symmetric=True) == (-3.0, 3.0)
    low, high = robust_range([np.zeros((4, 4)), np.full((4, 4), np.nan)])
    assert low < 0 < high
