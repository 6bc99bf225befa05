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
    "angles",
    [np.arange(0, 360, 0.75), 360 - np.arange(0, 360, 0.75), 50 + np.arange(481) * 360 / 481],
    ids=["ccw", "cw", "without opposites"],
)
def test_half_a_sample_at_a_time(axis_px, angles):
    half = sinogram(SOLIDS, angles, 160, axis_px)[None]
    done = stitch_half_turns(half, angles, axis_px)
    width = done.sinograms.shape[2]
    truth = sinogram(SOLIDS, done.angles_deg, width, done.axis_px)
    assert width == int(2 * max(axis_px, 159 - axis_px)) + 1
    error = done.sinograms[0] - truth
    assert np.sqrt(np.mean(error**2)) < 0.0017 * truth.max()  # measured 0.0008 to 0.0014
    gradient = np.gradient(truth, axis=1)
    for part in (slice(2, 100), slice(-100, -2)):  # both sides lie on one grid
        assert abs(np.sum((error * gradient)[:, part]) / np.sum(gradient[:, part] ** 2)) < 0.03
    slice_ = make_backend("fourier", done.angles_deg, width, done.axis_px, "hann")(done.sinograms)[0]
    wanted = image(SOLIDS, width, supersample=2)
    inside = field_of_view(width, done.axis_px)
    assert np.sqrt(np.mean((slice_ - wanted)[inside] ** 2)) < 0.12 * wanted[inside].std()


def halves(wave, back_offset: float = 0.0, columns: int = 64, axis_px: float = 40.2) -> np.ndarray:
    """A full turn of something that looks like ``wave`` (of the distance from the axis) from all of one side."""
    s = np.arange(columns) - axis_px
    angles = np.arange(0, 360, 3.0)
    return np.where(angles[:, None] < 180, wave(s), wave(-s) + back_offset)[None]


def test_fine_structure_survives_the_move_to_the_other_grid():
    """A wave of 6 pixels, moved by 0.4: cubic splines keep it to 0.4 %, straight lines would lose 12 %."""
    done = stitch_half_turns(halves(lambda s: np.cos(2 * np.pi * s / 6 + 0.5)), np.arange(0, 360, 3.0), 40.2)
    s = np.arange(done.sinograms.shape[2]) - done.axis_px
    assert s[-1] == pytest.approx(39.8)  # as far as the opposite side sees: 40.2
    # the last row is half a turn from the first: its opposite is the other side again
    error = done.sinograms[0, :-1] - np.cos(2 * np.pi * s / 6 + 0.5)
    assert np.abs(error[:, 4:-4]).max() < 0.012
    print(np.abs(error[:, 4:-4]).max())


def test_the_two_sides_pass_gradually_into_each_other():
    """Sides that differ by 1: the step is spread over the 47 columns that both see."""
    data = halves(lambda s: 0 * s, back_offset=1.0)
    done = stitch_half_turns(data, np.arange(0, 360, 3.0), 40.2)
    share = done.sinograms[0, 7]
    np.testing.assert_allclose(share[:17], 0, atol=1e-6)
    np.testing.assert_allclose(share[64:], 1, atol=1e-6)
    assert np.diff(share[16:65]).min() > 0
    assert np.diff(share).max() < 0.06  # measured 0.052
    assert share[40] == pytest.approx(0.5, abs=0.02)  # at the axis both see equally deep
    print(np.diff(share).max(), np.diff(share[16:65]).min(), share[40])


def test_the_axis_of_an_offset_scan_is_good_enough_to_stitch():
    angles = np.arange(0, 360, 0.75)
    half = sinogram(SOLIDS, angles, 160, 138.6)[None]
    assert find_axis(half, angles).axis_px == pytest.approx(138.6, abs=0.1)


def test_half_a_turn_cannot_be_stitched():
    with pytest.raises(InputError, match="a full turn"):
        stitch_half_turns(np.zeros((1, 180, 64)), np.arange(180.0), 60.0)
    with pytest.raises(InputError, match="0 to 63 px, found 64 px"):
        stitch_half_turns(np.zeros((1, 360, 64)), np.arange(360.0), 64.0)
