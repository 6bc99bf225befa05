from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from speckleflow.retrieval.bspline import DERIVATIVE, PREFILTER, warp
from speckleflow.retrieval.filters import (
    box,
    compose,
    energy,
    filter_columns,
    filter_rows,
    filter_xy,
    gaussian,
)


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("boundary", "scipy_mode"), [("mirror", "mirror"), ("zero", "constant")])
@pytest.mark.parametrize("shape", [(2, 150, 70), (1, 9, 200), (3, 64, 64)])
def test_separable_filter_is_the_correlation_of_scipy(boundary, scipy_mode, shape):
    along_x = (0.1, 0.5, 0.2, -0.3, 0.7)  # not symmetric: a flipped kernel would show
    along_y = (0.3, 0.4, -0.2)
    stack = images(*shape)
    expected = ndimage.correlate1d(stack, along_x, axis=-1, mode=scipy_mode)
    expected = ndimage.correlate1d(expected, along_y, axis=-2, mode=scipy_mode)
    found = filter_xy(torch.from_numpy(stack), along_x, along_y, boundary).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("side", [31, 64, 97, 300])
@pytest.mark.parametrize("sigma", [0.7, 5.0, 20.0])
def test_blocks_meet_wherever_the_kernel_reaches(side, sigma):
    """Kernels narrower and wider than a block, sides that are and are not whole blocks, a view with strides."""
    kernel = gaussian(sigma)
    stack = images(2, side + 3, side + 5)[:, 3:, 2:-3]
    for boundary, mode in (("mirror", "mirror"), ("zero", "constant")):
        expected = ndimage.correlate1d(stack, kernel, axis=-1, mode=mode)
        expected = ndimage.correlate1d(expected, kernel, axis=-2, mode=mode)
        found = filter_xy(torch.from_numpy(stack), kernel, kernel, boundary).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_kernels():
    assert sum(gaussian(2.0)) == pytest.approx(1)
    assert gaussian(0.0) == (1.0,)
    assert sum(box(7)) == pytest.approx(1)
    assert energy(box(5)) == pytest.approx(1 / 5)
    assert energy(gaussian(3.0)) == pytest.approx(1 / (2 * np.sqrt(np.pi) * 3), rel=1e-3)
    assert compose((1.0, 2.0, 0.0), (0.0, 1.0, 0.0)) == (0.0, 1.0, 2.0, 0.0, 0.0)


def test_prefilter_and_warp_are_the_cubic_spline_of_scipy():
    stack = images(2, 40, 60)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(2, 57, (30, 50)), rng.uniform(2, 37, (30, 50))
    expected = [ndimage.map_coordinates(image, [y, x], order=3, mode="mirror") for image in stack]
    coefficients = filter_xy(torch.from_numpy(stack), PREFILTER, PREFILTER, "mirror")
    found = warp(coefficients, torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32))
    np.testing.assert_allclose(found.numpy(), np.stack(expected), atol=2e-4)


def test_derivative_is_that_of_the_spline():
    stack = torch.from_numpy(images(1, 40, 60))
    coefficients = filter_xy(stack, PREFILTER, PREFILTER, "mirror")
    x, y = torch.meshgrid(torch.arange(3.0, 57), torch.arange(3.0, 37), indexing="xy")
    step = 1e-2
    for axis, derivative in (("x", filter_columns), ("y", filter_rows)):
        dx, dy = (step, 0.0) if axis == "x" else (0.0, step)
        slope = (warp(coefficients, x + dx, y + dy) - warp(coefficients, x - dx, y - dy)) / (2 * step)
        found = derivative(stack, DERIVATIVE, "mirror")[:, 3:37, 3:57]
        torch.testing.assert_close(found, slope, atol=5e-3, rtol=1e-2)
