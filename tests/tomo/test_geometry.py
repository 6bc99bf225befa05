"""Where points land, in words: the frame of physics.md."""

from __future__ import annotations

import numpy as np
from tests.tomo.ellipses import Ellipse, sinogram

from speckleflow.tomo.backends import make_backend
from speckleflow.tomo.geometry import detector_coordinate, field_of_view, slice_coordinates


def test_a_quarter_turn_counter_clockwise_seen_from_above():
    """Seen from above with the beam going up the page: the source's side (y > 0) turns to the right."""
    right, source_side, left = (7.0, 0.0), (0.0, 7.0), (-7.0, 0.0)
    assert detector_coordinate(0, *right, axis_px=50) == 57
    assert detector_coordinate(0, *source_side, axis_px=50) == 50
    np.testing.assert_allclose(detector_coordinate(90, *source_side, axis_px=50), 57)
    np.testing.assert_allclose(detector_coordinate(90, *right, axis_px=50), 50)
    np.testing.assert_allclose(detector_coordinate(180, *left, axis_px=50), 57)
    np.testing.assert_allclose(detector_coordinate(-90, *source_side, axis_px=50), 43)


def test_a_dot_comes_back_where_it_was():
    """The dot at slice row 40, column 12; a scan labelled in the other sense mirrors it top to bottom."""
    y, x = 40 - 24, 12 - 24
    angles = np.arange(120) * 1.5
    data = sinogram([Ellipse(1.0, x, y, 1.5, 1.5)], angles, 49, 23.1)[None]
    slice_ = make_backend("fourier", angles, 49, 23.1, "hann")(data)[0]
    assert np.unravel_index(slice_.argmax(), slice_.shape) == (40, 12)
    mirrored = make_backend("fourier", -angles, 49, 23.1, "hann")(data)[0]
    assert np.unravel_index(mirrored.argmax(), mirrored.shape) == (8, 12)


def test_the_axis_passes_through_the_middle_of_the_slice():
    for columns in (8, 9):
        y, x = slice_coordinates(columns)
        assert y.shape == (columns, 1)
        assert x.shape == (1, columns)
        assert x.sum() == y.sum() == 0
    seen = field_of_view(101, 20.0)
    assert seen.sum() == np.sum(
        np.add.outer((np.arange(101) - 50) ** 2, (np.arange(101) - 50) ** 2) <= 20.5**2
    )
