"""Size and strength of a pattern against those it was made with, and what is said of a bad one."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from scipy import ndimage

from speckleflow.inspection.scan import inspect_scan
from speckleflow.pattern import measure_pattern
from tests.raw_scan import RawScan

SIZE = (160, 220)


def pattern(sigma: tuple[float, float], visibility: float, count: int = 3, seed: int = 0) -> np.ndarray:
    """Filtered noise on an uneven beam, (N, y, x); ``sigma``: of the Gaussian along y and x, in pixels."""
    noise = np.random.default_rng(seed).standard_normal((count, *SIZE))
    made = ndimage.gaussian_filter(noise, (0, *sigma), mode="wrap")
    beam = np.linspace(0.7, 1.1, SIZE[1]) * np.linspace(1.0, 0.8, SIZE[0])[:, None]
    return (beam * (1 + visibility * made / made.std())).astype(np.float32)


def noisy(frames: np.ndarray, deviation: float, seed: int = 9) -> np.ndarray:
    return (frames + deviation * np.random.default_rng(seed).standard_normal(frames.shape)).astype(np.float32)


@pytest.mark.parametrize("deviation", [0.0, 0.08])
def test_size_along_both_axes_and_visibility(deviation):
    found = measure_pattern(noisy(pattern((1.3, 2.1), 0.12), deviation))
    # the autocorrelation of a Gaussian filter of s is a Gaussian of s * sqrt(2)
    width = 2 * np.sqrt(2 * np.log(2)) * np.sqrt(2)
    assert found.size_y_px == pytest.approx(1.3 * width, rel=0.06)  # measured: -1.9 and -2.6 %
    assert found.size_x_px == pytest.approx(2.1 * width, rel=0.06)
    assert found.visibility == pytest.approx(0.12, rel=0.06)
    assert found.judgement == ""


def test_the_expected_error_is_that_of_a_window():
    """Least squares in windows of 7 x 7 pixels, of a sample that did not move."""
    clean, deviation = pattern((1.6, 1.6), 0.15, count=4), 0.02
    reference, sample = noisy(clean, deviation, 1), noisy(clean, deviation, 2)
    slopes = np.gradient(clean.astype(np.float64), axis=(1, 2))
    sums = torch.nn.functional.avg_pool2d
    a, b, c, p, q = (
        49 * sums(torch.from_numpy((u * v).sum(0))[None, None], 7, 1)[0, 0].numpy()
        for u, v in (
            (slopes[1], slopes[1]),
            (slopes[1], slopes[0]),
            (slopes[0], slopes[0]),
            (slopes[1], reference - sample),
            (slopes[0], reference - sample),
        )
    )
    ux = (c * p - b * q) / (a * c - b * b)
    # the beam is 0.81 on average: noise counts the more over it
    assert measure_pattern(reference, sample).error_px == pytest.approx(ux.std(), rel=0.25)  # measured: -13 %


@pytest.mark.parametrize(
    ("sigma", "visibility", "deviation", "count", "said"),
    [
        ((0.45, 1.5), 0.1, 0.0, 3, "too fine"),
        ((15.0, 2.0), 0.1, 0.0, 3, "too coarse"),
        ((2.0, 2.0), 0.02, 0.03, 1, "too weak for 1 position:"),
        ((2.0, 2.0), 0.02, 0.03, 40, ""),
        ((2.0, 2.0), 0.0, 0.05, 2, "no pattern"),
    ],
)
def test_what_is_said(sigma, visibility, deviation, count, said):
    found = measure_pattern(noisy(pattern(sigma, visibility, count), deviation))
    assert said in found.judgement
    assert bool(said) == bool(found.judgement)


def test_inspect_prints_it_in_pixels_and_micrometres(raw_scan: RawScan):
    from rich.console import Console

    manifest = inspect_scan(raw_scan.write().spec())
    printed = io.StringIO()
    Console(width=200, file=printed).print(manifest.table())
    x, y = (manifest.pattern[f"size_{axis}_px"] for axis in "xy")
    assert f"speckles {x:.2g} x {y:.2g} px ({1.3 * x:.3g} x {1.3 * y:.3g} um)" in printed.getvalue()
    assert 2.5 < min(x, y) < max(x, y) < 5.5  # 4.0 px, of some 50 speckles
    assert manifest.pattern["visibility"] == pytest.approx(0.125, rel=0.15)
