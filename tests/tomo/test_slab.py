"""Slabs of projections to slabs of volumes: every row, contrast and option has its effect, with the right numbers."""

from __future__ import annotations

import numpy as np
import pytest

from speckleflow.errors import ConfigError, InputError
from speckleflow.tomo.slab import SlabReconstruction

PIXEL_M, ENERGY_KEV, WAVELENGTH_M = 1.7e-6, 18.0, 1.23984198e-6 / 18e3
COLUMNS, AXIS_PX = 72, 33.6
ANGLES = 25 - np.arange(160) * 1.125  # clockwise, not from 0
DISCS = [(6.0, -9.0, 7.0), (-8.0, 3.0, 9.0), (2.0, 12.0, 5.0)]  # x, y, radius in px: one in each row


def path_px(angles_deg: np.ndarray, columns: int, axis_px: float, discs=DISCS) -> np.ndarray:
    """Path in pixels (projection, row, column) through the disc of each row."""
    angle = np.deg2rad(angles_deg)[:, None, None]
    x, y, radius = (np.array(part)[None, :, None] for part in zip(*discs, strict=True))
    distance = np.arange(columns) - (axis_px + x * np.cos(angle) + y * np.sin(angle))
    return 2 * np.sqrt(np.clip(radius**2 - distance**2, 0, None))


def slab(**options) -> SlabReconstruction:
    values = {"pixel_size_m": PIXEL_M, "energy_kev": ENERGY_KEV, "filter": "hann"} | options
    return SlabReconstruction(values.pop("angles", ANGLES), values.pop("axis_px", AXIS_PX), **values)


def disc_means(slices: np.ndarray, discs=DISCS) -> list[float]:
    """Mean of the disc's core in each slice."""
    y, x = np.mgrid[: slices.shape[1], : slices.shape[2]] - (slices.shape[1] - 1) / 2
    return [
        slice_[np.hypot(x - cx, y - cy) < radius - 3].mean()
        for slice_, (cx, cy, radius) in zip(slices, discs, strict=True)
    ]


@pytest.mark.parametrize(
    ("quantity", "truth"),
    [("delta", 4e-7), ("mu", 900.0), ("darkfield", 2500.0)],
    ids=["delta", "mu", "darkfield"],
)
def test_each_row_has_its_disc_in_its_unit(quantity, truth):
    path_m = path_px(ANGLES, COLUMNS, AXIS_PX) * PIXEL_M
    projections = np.exp(-truth * path_m)
    if quantity == "delta":
        projections = -2 * np.pi / WAVELENGTH_M * truth * path_m
    done = slab()(quantity, projections, noise=(1e-12, 0.0))
    assert done.slices.shape == (3, COLUMNS, COLUMNS)
    assert done.slices.dtype == np.float32
    np.testing.assert_allclose(disc_means(done.slices), truth, rtol=0.005)  # measured 0.0015
    assert done.below_noise == 0


def test_the_noise_bounds_what_a_dark_ray_counts_and_how_often():
    """With a standard deviation of 0.05 a ray of T = 0.001 counts as (0.001 + sqrt(0.001^2 + 0.005)) / 2 = 0.036."""
    projections = np.exp(-0.5 * path_px(ANGLES, COLUMNS, AXIS_PX))
    low = int((projections < 0.05).sum())
    done = slab()("mu", projections, noise=(0.05**2, 0.0))
    assert done.below_noise == low > 1000
    assert slab()("mu", projections, noise=(1e-12, 0.0)).below_noise == 0
    # the sum over a slice is that of the line integrals, in 1/m
    counted = (projections + np.sqrt(projections**2 + 2 * 0.05**2)) / 2
    integrals = -np.log(counted).sum((0, 2)) / len(ANGLES)
    y, x = np.mgrid[:COLUMNS, :COLUMNS] - (COLUMNS - 1) / 2
    sums = done.slices[:, np.hypot(x, y) < 32].sum(1) * PIXEL_M
    np.testing.assert_allclose(sums, integrals, rtol=0.01)


def test_rings_are_removed_on_request_alone():
    """Air with a column that reads 10 % low at every angle, and one that is 3 columns wide."""
    projections = np.ones((160, 3, COLUMNS))
    projections[:, :2, 50] = np.exp(-0.1)
    projections[:, 2, 20:23] = np.exp(-0.1)
    rings = slab()("mu", projections, (1e-12, 0.0)).slices
    assert (np.abs(rings).max((1, 2)) > 0.004 / PIXEL_M).all()
    cleaned = slab(rings={"mu": "sorting"}, ring_window_px=5)("mu", projections, (1e-12, 0.0)).slices
    np.testing.assert_array_equal(cleaned[:2], 0)
    np.testing.assert_allclose(cleaned[2], rings[2], atol=1e-4 * rings.max())  # wider than half of the window


@pytest.mark.parametrize(("filter", "edge"), [("ramlak", 1.03), ("parzen", 0.374)])
def test_the_filter_is_used(filter, edge):
    """The steepest step beside a disc's border, over its height: measured; an ideal ramp keeps it whole."""
    projections = np.exp(-0.01 * path_px(ANGLES, COLUMNS, AXIS_PX))
    slices = slab(filter=filter)("mu", projections, (1e-12, 0.0)).slices * PIXEL_M / 0.01
    assert np.abs(np.diff(slices, axis=2)).max() == pytest.approx(edge, rel=0.05)


def test_an_offset_scan_is_stitched():
    angles = np.arange(0, 360, 1.2)
    axis_px, discs = 12.3, [(30.0, -5.0, 12.0), (-20.0, 14.0, 9.0)]
    projections = np.exp(-0.01 * path_px(angles, COLUMNS, axis_px, discs))
    done = slab(angles=angles, axis_px=axis_px, offset_axis=True)("mu", projections, (1e-12, 0.0))
    assert done.slices.shape == (2, 118, 118)  # 2 x (71 - 12.3) + 1, and no column more
    np.testing.assert_allclose(disc_means(done.slices, discs), 0.01 / PIXEL_M, rtol=0.005)
    assert slab(angles=angles, axis_px=axis_px)("mu", projections, (1e-12, 0.0)).slices.shape == (
        2,
        COLUMNS,
        COLUMNS,
    )


def test_backend_and_geometry_are_kept_between_quantities():
    projections = np.exp(-0.01 * path_px(ANGLES, COLUMNS, AXIS_PX))
    one = slab(backend="astra")
    first, second = one("mu", projections, (1e-12, 0.0)), one("darkfield", projections, (1e-12, 0.0))
    np.testing.assert_array_equal(first.slices, second.slices)
    assert np.abs(first.slices - slab()("mu", projections, (1e-12, 0.0)).slices).max() > 0
    np.testing.assert_array_equal(
        slab(threads=3)("mu", projections, (1e-12, 0.0)).slices,
        slab(threads=1)("mu", projections, (1e-12, 0.0)).slices,
    )


def test_what_does_not_fit():
    projections = np.ones((160, 3, COLUMNS))
    with pytest.raises(ConfigError, match="delta needs the photon energy"):
        slab(energy_kev=None)("delta", projections)
    slab(energy_kev=None)("mu", projections)
    with pytest.raises(InputError, match="shape \\(row, 160 angles, 72 columns\\)"):
        slab()("mu", projections[1:])
    with pytest.raises(ConfigError, match="fourier, astra, tomopy"):
        slab(backend="fbp")("mu", projections)
    with pytest.raises(InputError, match="device cpu, found cuda"):
        slab(device="cuda")("mu", projections)
