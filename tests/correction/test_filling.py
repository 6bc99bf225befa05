"""Bad pixels and what stands in for them."""

from __future__ import annotations

import numpy as np
import pytest

from speckleflow.correction import robust_sigma
from speckleflow.correction.filling import Filling


def surface(size: tuple[int, int] = (20, 30)) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return (3 + 0.2 * x - 0.1 * y + 0.03 * x * x - 0.02 * x * y + 0.01 * y * y).astype(np.float32)


def filled(image: np.ndarray, bad: np.ndarray) -> np.ndarray:
    spoiled = image.copy()
    spoiled[..., bad] = -1e6
    Filling(bad).fill(spoiled)
    return spoiled


@pytest.mark.parametrize("where", [[(8, 12)], [(8, 12), (8, 13)], [(5, 5), (15, 20), (9, 28)]])
def test_a_quadratic_surface_is_restored(where: list[tuple[int, int]]):
    image = surface()
    bad = np.zeros(image.shape, bool)
    bad[tuple(zip(*where, strict=True))] = True
    np.testing.assert_allclose(filled(image, bad), image, rtol=1e-4)


def test_a_speckle_keeps_its_height():
    """A mean of neighbours would take off a quarter of a Gaussian of 1.5 pixels, the surface a fifth."""
    y, x = np.mgrid[:21, :21]
    image = np.exp(-((y - 10) ** 2 + (x - 10) ** 2) / (2 * 1.5**2)).astype(np.float32)
    bad = (y == 10) & (x == 10)
    mean = image[9:12, 9:12][~bad[9:12, 9:12]].mean()
    found = filled(image, bad)[10, 10]
    # the value never leaves the range of the neighbours, which lie below the peak
    assert mean < 0.75 < 0.79 < found <= image[10, 9] < 1


def test_corners_edges_and_clusters_stay_in_the_range_of_their_neighbours():
    rng = np.random.default_rng(0)
    image = (1 + 0.3 * rng.standard_normal((20, 30))).astype(np.float32)
    bad = np.zeros(image.shape, bool)
    bad[:3, :4] = bad[-1, :] = bad[8:13, 14:19] = True
    found = filled(image, bad)
    np.testing.assert_array_equal(found[~bad], image[~bad])
    assert image[~bad].min() <= found.min()
    assert found.max() <= image[~bad].max()


def test_every_frame_of_a_stack():
    rng = np.random.default_rng(0)
    stack = rng.random((2, 3, 20, 30), dtype=np.float32)
    bad = rng.random((20, 30)) < 0.1
    found = filled(stack, bad)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(found[index], filled(stack[index], bad))


def test_nothing_bad_changes_nothing():
    image = surface()
    np.testing.assert_array_equal(filled(image, np.zeros(image.shape, bool)), image)


def test_frames_that_cannot_be_filled_in_place():
    bad = np.eye(20, dtype=bool)
    with pytest.raises(TypeError, match="contiguous"):
        Filling(bad).fill(np.ones((20, 20, 3), np.float32).T)


def test_robust_sigma():
    rng = np.random.default_rng(0)
    values = 5 * rng.standard_normal(100_000)
    values[:3000] = 1e6
    assert robust_sigma(values) == pytest.approx(5, rel=0.05)
    assert robust_sigma(np.r_[np.full(90, 100.0), np.full(10, 101.0)]) == pytest.approx(1)
    assert 0 < robust_sigma(np.full(10, 100.0)) < 1e-3
    assert robust_sigma(np.zeros(10)) > 0
