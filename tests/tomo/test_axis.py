"""The axis that the phantom was turned about, to a tenth of a pixel, and an honest error bar."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from tests.tomo.ellipses import Ellipse, sinogram

from speckleflow.errors import InputError
from speckleflow.tomo.axis import find_axis

SCANS = {
    "180": np.arange(180.0),
    "180 clockwise from 90": 90 - np.arange(180.0),
    "180 inclusive": np.linspace(0, 180, 181),
    "360": np.arange(360.0),
    "360 odd": np.arange(361) * 360 / 361,
    "golden": (np.arange(400) * 222.492235950) % 360,
}


def solids(radius: float, row: int = 0) -> list[Ellipse]:
    """Line integrals up to about 2.4, as of a sample that takes 90 % of the beam; no symmetry."""
    unit, r = 1 / radius, radius
    return [
        Ellipse(0.7 * unit, 0.05 * r, -0.03 * r, 0.85 * r, 0.75 * r, 20 + 30 * row),
        Ellipse(0.8 * unit, 0.45 * r, (0.2 - 0.1 * row) * r, 0.3 * r, 0.12 * r, 35),
        Ellipse(-0.4 * unit, -0.3 * r, 0.35 * r, 0.2 * r, 0.2 * r),
        Ellipse(2 * unit, -0.2 * r, (0.1 * row - 0.5) * r, 0.09 * r, 0.09 * r),
    ]


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize(("columns", "axis_px"), [(160, 79.5), (161, 73.28), (256, 149.61)])
def test_axis_is_found(scan, columns, axis_px):
    rng = np.random.default_rng(11)
    radius = min(axis_px, columns - 1 - axis_px) * 0.95
    clean = np.stack([sinogram(solids(radius, row), SCANS[scan], columns, axis_px) for row in range(4)])
    for noise in (0.0, 0.03):
        found = find_axis(clean + noise * rng.normal(size=clean.shape), SCANS[scan])
        assert abs(found.axis_px - axis_px) < 0.05  # measured 0.029 at most
        assert abs(found.start_px - axis_px) < 0.5  # half a pixel apart; measured 0.28
        assert found.trusted
        assert found.span_deg == (180 if scan.startswith("180") else 360)
        assert abs(found.tried_px[found.costs.argmin()] - axis_px) < 0.25


def test_error_bar_is_the_scatter():
    """Over many noise fields the deviation from the truth is what the result says ."""
    rng = np.random.default_rng(2)
    for scan in ("180", "360"):
        clean = sinogram(solids(60.0), SCANS[scan], 160, 83.3)[None]
        found = [find_axis(clean + 0.1 * rng.normal(size=clean.shape), SCANS[scan]) for _ in range(25)]
        scatter = np.sqrt(np.mean([(f.axis_px - 83.3) ** 2 for f in found]))
        said = np.median([f.uncertainty_px for f in found])
        assert 0.75 < said / scatter < 1.15  # measured 0.87 and 0.95


@pytest.mark.parametrize("scan", ["180", "360"])
def test_a_sample_wider_than_the_image(scan):
    clean = sinogram(solids(130.0), SCANS[scan], 160, 81.7)[None]
    assert find_axis(clean, SCANS[scan]).axis_px == pytest.approx(81.7, abs=0.1)  # measured 0.06


@pytest.mark.parametrize("axis_px", [18.4, 140.2])
def test_an_axis_near_the_edge_of_a_full_turn(axis_px):
    clean = sinogram(solids(120.0), SCANS["360"], 160, axis_px)[None]
    found = find_axis(clean, SCANS["360"])
    assert found.axis_px == pytest.approx(axis_px, abs=0.03)  # measured 0.013


def test_stripes_and_beam_drift_do_not_move_it():
    rng = np.random.default_rng(4)
    clean = np.stack([sinogram(solids(70.0, row), SCANS["180"], 160, 77.3) for row in range(6)])
    stripes = 0.03 * rng.normal(size=(6, 1, 160))
    drift = 0.02 * np.sin(np.arange(180) / 40)[None, :, None]
    assert find_axis(clean + stripes + drift, SCANS["180"]).axis_px == pytest.approx(77.3, abs=0.15)


@pytest.mark.parametrize("scan", ["180", "360"])
def test_rows_that_disagree_widen_the_error_bar(scan):
    """Axes 79, 80, 81 and 82 of four equal rows scatter by 1.12 px about their mean."""
    rows = [sinogram(solids(60.0), SCANS[scan], 160, axis) for axis in (79.0, 80.0, 81.0, 82.0)]
    data = np.stack(rows) + 0.02 * np.random.default_rng(5).normal(
        size=(4, 180 if scan == "180" else 360, 160)
    )
    found = find_axis(data, SCANS[scan])
    np.testing.assert_allclose(found.rows_px, [79, 80, 81, 82], atol=0.3)
    # four rows know their mean to 1.12 / 2 px; measured 0.70 and, cautious, 3.0
    assert 0.5 < found.uncertainty_px < 4
    assert not found.trusted


def test_search_range():
    clean = sinogram(solids(50.0), SCANS["360"], 160, 83.3)[None]
    found = find_axis(clean, SCANS["360"], search_px=(85.0, 100.0))
    assert found.axis_px == pytest.approx(85.0, abs=0.01)
    assert found.tried_px.min() >= 85.0


def test_noise_alone_is_not_trusted():
    noise = np.random.default_rng(1).normal(size=(3, 180, 160))
    assert not find_axis(noise, SCANS["180"]).trusted


def test_tooth(shared_data):
    """Real data; tomopy's documentation uses 296 px, and each half of the angles' rows says the same."""
    with h5py.File(shared_data("tooth.h5")) as file:
        dark, white = file["exchange/data_dark"][:].mean(0), file["exchange/data_white"][:].mean(0)
        transmission = (file["exchange/data"][:] - dark) / (white - dark)
        angles = file["exchange/theta"][:]
    data = -np.log(np.clip(transmission, 1e-3, None)).swapaxes(0, 1)
    found = find_axis(data, angles)
    assert found.axis_px == pytest.approx(296.0, abs=0.5)
    assert np.ptp(found.rows_px) < 0.1
    assert found.trusted


def test_what_cannot_be_done_is_said():
    data = sinogram(solids(60.0), SCANS["180"], 160, 79.5)
    with pytest.raises(InputError, match=r"180 degrees or more.*found 149"):
        find_axis(data[:150], SCANS["180"][:150])
    with pytest.raises(InputError, match=r"180 angles, x\).*\(1, 179, 160\)"):
        find_axis(data[:-1], SCANS["180"])
    with pytest.raises(InputError, match="a constant"):
        find_axis(np.ones((180, 160)), SCANS["180"])
    with pytest.raises(InputError, match="1 NaN"):
        find_axis(np.where(data == data.max(), np.nan, data), SCANS["180"])
