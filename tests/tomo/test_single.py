"""One sinogram, one slice, and the mistakes people make with two arrays."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomo.ellipses import Ellipse, image, sinogram

from speckleflow.errors import ConfigError, InputError
from speckleflow.tomo.geometry import field_of_view
from speckleflow.tomo.single import reconstruct_sinogram

ANGLES = np.arange(0, 180, 1.5)
SOLIDS = [Ellipse(1.0, 6, -9, 12, 7, 30)]


def test_slice_of_one_sinogram():
    truth = image(SOLIDS, 65, supersample=4)
    for axis, given in ((32.0, None), (30.4, 30.4)):
        found = reconstruct_sinogram(sinogram(SOLIDS, ANGLES, 65, axis), ANGLES, given)
        assert found.dtype == np.float32
        inside = field_of_view(65, axis)
        assert np.sqrt(np.mean((found - truth)[inside] ** 2)) < 0.1 * truth[inside].std() + 0.02


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"angles_deg": ANGLES[:-1]}, "angles: expected 120 angles.*found 119"),
        (
            {"sinogram": np.zeros((1, 120, 65))},
            r"expected .*\(angle, x\), found float64 of shape \(1, 120, 65\)",
        ),
        ({"sinogram": np.full((120, 65), np.nan)}, "7800 NaN"),
        ({"sinogram": np.zeros((120, 65), complex)}, "complex128"),
        ({"axis_px": 65.0}, "inside the image, 0 to 64 px, found 65 px"),
        ({"axis_px": float("nan")}, "inside the image"),
        ({"angles_deg": np.array(["a"] * 120)}, "degrees"),
        ({"backend": "fbp"}, "fourier, astra, tomopy"),
        ({"filter": "ram-lak"}, "ramlak, shepp"),
    ],
)
def test_mistakes_are_named(change, words):
    call = {"sinogram": np.zeros((120, 65)), "angles_deg": ANGLES} | change
    with pytest.raises((InputError, ConfigError), match=words):
        reconstruct_sinogram(**call)
