"""Limits of the warnings, ranges of the colours, and figures of the report, by number."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from speckleflow.report import Quality, orthogonal_slices
from speckleflow.report.numbers import duration, number, percent
from speckleflow.report.pictures import (
    PROJECTION_LOOKS,
    SINOGRAM_LOOKS,
    VOLUME_LOOKS,
    png_bytes,
    robust_range,
    scale_bar,
)
from speckleflow.scan.schema import CONTRASTS, VOLUMES
from speckleflow.tomo.units import QUANTITIES


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"fold_share": 0.0010}, None),
        ({"fold_share": 0.0011}, "Rays cross in 0.11 %"),
        ({"misfit_share": 0.050}, None),
        ({"misfit_share": 0.051}, "In 5.1 % of the pixels the frame simulated again"),
        ({"bound_share": 0.010}, None),
        ({"bound_share": 0.011}, "1.1 % of the pixels stopped"),
        ({"bad_pixel_share": 0.010}, None),
        ({"bad_pixel_share": 0.011}, "1.1 % of the detector pixels are bad"),
        ({"flux_range": 0.10}, None),
        ({"flux_range": 0.11}, "flux changed by 11 %"),
        ({"curl_px": 0.059, "expected_rms_px": 0.02}, None),
        (
            {"curl_px": 0.061, "expected_rms_px": 0.02},
            "by 0.061 px, more than its expected error of 0.020 px",
        ),
        ({"curl_px": 0.061, "expected_error_px": 0.02}, None),
        ({"expected_rms_px": 0.02}, None),
    ],
)
def test_each_limit(figures, words):
    warnings = Quality(**figures).warnings()
    assert len(warnings) == (words is not None)
    assert words is None or words in warnings[0]


def test_each_figure_under_its_name():
    quality = Quality(0.001, 0.02, 0.003, 0.04, 0.05, 0.06, 0.07, (0.08, -0.09))
    assert dict(quality.figures()) == {
        "Expected error of the displacement (median)": "0.050 px",
        "Part of the displacement that is no gradient (curl, RMS)": "0.070 px",
        "Drift between reference and sample (x, y)": "0.080, \u22120.090 px",
        "Pixels where rays cross": "0.10 %",
        "Pixels at a bound of the search": "2.0 %",
        "Bad detector pixels": "0.30 %",
        "Change of the incident flux": "4.0 %",
    }


def test_colour_range_is_that_of_the_percentiles_and_a_tenth():
    """Percentiles 0.5 and 99.5 of 0 ... 1000 are 5 and 995; a tenth of 990 more would leave the data."""
    values = np.arange(1001.0).reshape(7, 143)
    assert robust_range([values]) == (0, 1000)
    tailed = np.concatenate([values.ravel(), [5000.0, -7000.0]])[None]
    low, high = np.percentile(tailed, [0.5, 99.5])
    assert robust_range([tailed]) == pytest.approx((low - 0.1 * (high - low), high + 0.1 * (high - low)))
    assert robust_range([values, tailed[:, -2:]], symmetric=True)[1] == pytest.approx(1094, rel=2e-3)
    assert robust_range([np.full((2, 2), 4.0)]) == pytest.approx((3.8, 4.2))
    assert robust_range([]) == robust_range([np.full((2, 2), np.inf)]) == (0.0, 1.0)


def test_grey_values_and_binning():
    image = np.linspace(-1, 3, 9).reshape(3, 3)
    with Image.open(io.BytesIO(png_bytes(image, 0.0, 2.0, "gray"))) as picture:
        assert np.asarray(picture).tolist() == [[0, 0, 0], [64, 128, 191], [255, 255, 255]]
    wide = np.zeros((4, 2049))  # three columns a pixel
    wide[:3, 3:6] = [[3, 0, 0], [0, 0, 0], [0, 6, 0]]
    with Image.open(io.BytesIO(png_bytes(wide, 0.0, 1.0, "gray"))) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (1, 683)
    assert pixels[0, :3].tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    ("width", "pixel", "expected"),
    [(1000, 1e-6, (200, "200 \u03bcm")), (500, 6.5e-6, (500 / 6.5, "500 \u03bcm")), (2000, 5e-6, (400, "2 mm")),
     (64, 1e-8, (10, "100 nm"))],
)  # fmt: skip
def test_scale_bars(width, pixel, expected):
    length, text = scale_bar(width, pixel)
    assert (length, text) == (pytest.approx(expected[0]), expected[1])


def test_numbers_at_their_limits():
    assert number(0.001) == "0.00100"
    assert number(0.00099) == "9.90 \u00d7 10\u207b\u2074"
    assert number(9999.4) == "9999"
    assert number(99999) == number(100000.0) == "1.00 \u00d7 10\u2075"
    assert number(-2.5e-5) == "\u22122.50 \u00d7 10\u207b\u2075"
    assert [percent(v) for v in (0.00994, 0.00996, 0.0994, 0.0996, -0.5)] == [
        "0.99 %", "1.0 %", "9.9 %", "10 %", "\u221250 %",
    ]  # fmt: skip
    assert percent(-0.00001, signed=True) == "0.00 %"
    assert [duration(s) for s in (9.94, 10.2, 59.4, 60, 3599, 3600, 3660)] == [
        "9.9 s", "10 s", "59 s", "1 min 00 s", "59 min 59 s", "1 h 00 min", "1 h 01 min",
    ]  # fmt: skip


def test_slices_through_a_point():
    volume = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    slices = orthogonal_slices(volume)
    assert slices.centre == (1, 2, 2)
    np.testing.assert_array_equal(slices.axial, volume[1])
    np.testing.assert_array_equal(slices.coronal, volume[:, 2])
    np.testing.assert_array_equal(slices.sagittal, volume[:, :, 2])


def test_every_contrast_and_volume_has_a_picture_with_its_unit():
    assert tuple(PROJECTION_LOOKS) == (
        "transmission",
        "darkfield",
        "phase",
        "ux",
        "uy",
        "displacement_std",
        "misfit",
    )
    assert set(PROJECTION_LOOKS) == set(CONTRASTS)
    assert tuple(VOLUME_LOOKS) == tuple(SINOGRAM_LOOKS) == tuple(QUANTITIES) == VOLUMES
    assert [look.unit for look in PROJECTION_LOOKS.values()] == ["", "", "rad", "px", "px", "px", ""]
    assert [look.unit for look in VOLUME_LOOKS.values()] == ["", "1/m", "1/m"]
    assert [name for name, look in PROJECTION_LOOKS.items() if look.symmetric] == ["ux", "uy"]
