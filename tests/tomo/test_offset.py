"""A sample wider than the image, seen half at a time."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomo.ellipses import Ellipse, image, sinogram

from speckleflow.errors import InputError
from speckleflow.tomo.axis import find_axis
from speckleflow.tomo.backends import make_backend
from speckleflow.tomo.geometry import field_of_view
from speckleflow.tomo.offset import stitch_half_turns

SOLIDS = [
    Ellipse(0.01, 4, -6, 110, 95, 20),
    Ellipse(0.01, 50, 30, 30, 12, 35),
    Ellipse(0.02, -40, -55, 9, 9),
]


@pytest.mark.parametrize("axis_px", [21.3, 138.6])
@pytest.mark.parametrize(
    "angles", [np.arange(0, 360, 0.75), 360 - np.arange(0, 360, 0.75)], ids=["ccw", "cw"]
)
def test_half_a_sample_at_a_time(axis_px, angles):
    half = sinogram(SOLIDS, angles, 160, axis_px)[None]
    done = stitch_half_turns(half, angles, axis_px)
    width = done.sinograms.shape[2]
    truth = sinogram(SOLIDS, done.angles_deg, width, done.axis_px)
    assert width == int(2 * max(axis_px, 159 - axis_px)) + 1
    error = done.sinograms[0] - truth
    assert np.sqrt(np.mean(error**2)) < 0.002 * truth.max()
    gradient = np.gradient(truth, axis=1)
    for part in (slice(2, 100), slice(-100, -2)):  # both sides lie on one grid
        assert abs(np.sum((error * gradient)[:, part]) / np.sum(gradient[:, part] ** 2)) < 0.03
    slice_ = make_backend("fourier", done.angles_deg, width, done.axis_px, "hann")(done.sinograms)[0]
    wanted = image(SOLIDS, width, supersample=2)
    inside = field_of_view(width, done.axis_px)
    assert np.sqrt(np.mean((slice_ - wanted)[inside] ** 2)) < 0.12 * wanted[inside].std()


def test_the_axis_of_an_offset_scan_is_good_enough_to_stitch():
    angles = np.arange(0, 360, 0.75)
    half = sinogram(SOLIDS, angles, 160, 138.6)[None]
    assert find_axis(half, angles).axis_px == pytest.approx(138.6, abs=0.1)


def test_half_a_turn_cannot_be_stitched():
    with pytest.raises(InputError, match="a full turn"):
        stitch_half_turns(np.zeros((1, 180, 64)), np.arange(180.0), 60.0)
    with pytest.raises(InputError, match="0 to 63 px, found 64 px"):
        stitch_half_turns(np.zeros((1, 360, 64)), np.arange(360.0), 64.0)
