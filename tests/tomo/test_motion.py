"""A sample that moves, a tilted axis and an axis along the rows are named from sinograms whose truth is known."""

from __future__ import annotations

import re

import numpy as np
import pytest

from speckleflow.tomo.motion import lying_axis_warning, motion_warning

ANGLES = np.arange(90) * 2.0
COLUMNS = 80


def sinogram(
    moved: np.ndarray | float = 0.0, rows: int = 6, noise: float = 0.01, angles: np.ndarray = ANGLES
) -> np.ndarray:
    """Two rods of different size off the axis (row, angle, x), displaced by ``moved`` pixels in each projection."""
    angle = np.deg2rad(angles)[:, None]
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


def test_single_projections_that_are_others_are_named():
    """Two exchanged, and one mirrored left to right: 90 degrees apart, and off by 3 px."""
    right = sinogram()
    exchanged = right.copy()
    exchanged[:, [20, 65]] = right[:, [65, 20]]
    warning = motion_warning(exchanged, ANGLES)
    assert warning is not None
    assert warning.startswith("the sample of projections 20,65 lies up to 3.")
    assert "correct.exclude_projections: '20,65' leaves out the projections" in warning
    mirrored = right.copy()
    mirrored[:, 70] = right[:, 70, ::-1]
    warning = motion_warning(mirrored, ANGLES)
    assert warning is not None
    assert warning.startswith("the sample of projection 70 lies up to ")


@pytest.mark.parametrize(("true", "given", "words"), [(360, 180, "half of"), (180, 360, "twice")])
def test_angles_of_half_or_twice_the_turn(true: int, given: int, words: str):
    steps = np.arange(90) / 90
    warning = motion_warning(sinogram(angles=true * steps), given * steps)
    assert warning is not None
    assert f"the angles seem to be {words}" in warning
    assert f"does the scan cover {true} degrees?" in warning


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
