"""A sample that moves, a tilted axis and an axis along the rows are named from sinograms whose truth is known."""

from __future__ import annotations

import re

import numpy as np
import pytest

from speckleflow.tomo.motion import lying_axis_warning, motion_warning

ANGLES = np.arange(90) * 2.0
COLUMNS = 80


def sinogram(moved: np.ndarray | float = 0.0, rows: int = 6, noise: float = 0.01) -> np.ndarray:
    """Two rods of different size off the axis (row, angle, x), displaced by ``moved`` pixels in each projection."""
    angle = np.deg2rad(ANGLES)[:, None]
    moved = np.broadcast_to(moved, ANGLES.shape)[:, None]
    total = np.zeros((len(ANGLES), COLUMNS))
    for x, y, radius, mu in ((7, 5, 12, 0.04), (-10, -8, 5, 0.08)):
        s = np.arange(COLUMNS)[None] - 38.5 - moved - x * np.cos(angle) - y * np.sin(angle)
        total += 2 * mu * np.sqrt(np.clip(radius**2 - s**2, 0, None))
    rng = np.random.default_rng(2)
    return total + noise * rng.standard_normal((rows, *total.shape))


def test_a_sample_that_stands_still():
    assert motion_warning(sinogram(), ANGLES) is None
    assert lying_axis_warning(np.moveaxis(sinogram(), 0, 1)[::6]) is None


def test_a_slip_is_named_by_its_projection():
    warning = motion_warning(sinogram(np.where(np.arange(90) < 50, 0.0, 4.0)), ANGLES)
    assert warning is not None
    assert "by +4.0 px at projection 50" in warning


@pytest.mark.parametrize("drift", [6.0, -5.0])
def test_a_steady_drift_over_half_a_turn_is_named(drift: float):
    """Its centre of mass stays within 0.2 px of a circle: four times the noise of one projection."""
    warning = motion_warning(sinogram(np.linspace(0, drift, 90), noise=0.03), ANGLES)
    assert warning is not None
    size = float(re.search(r"steadily, by ([+-][\d.]+) px over the scan", warning)[1])
    assert size == pytest.approx(drift, abs=0.3)  # measured 0.1


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.3])
def test_noise_alone_is_no_motion(noise: float):
    assert motion_warning(sinogram(noise=noise), ANGLES) is None


def test_a_sample_that_swings():
    warning = motion_warning(sinogram(3 * np.sin(np.linspace(0, 9, 90))), ANGLES)
    assert warning is not None
    assert "moved slowly: its centre of mass is off its circle by 1.47 px" in warning


def test_a_sample_wider_than_the_view_says_nothing():
    assert motion_warning(sinogram(np.linspace(0, 6, 90))[..., 25:45], ANGLES) is None


def test_an_axis_along_the_rows():
    warning = lying_axis_warning(np.swapaxes(np.moveaxis(sinogram(), 0, 1), 1, 2)[::6])
    assert warning is not None
    assert "files.transpose" in warning
