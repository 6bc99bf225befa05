"""Paths of the modulator."""

import pytest
import torch

from speckleflow.simulate.trajectories import trajectory


def path(kind, count=9, step=6.0, jitter=0.0, seed=1):
    return trajectory(kind, count, step, torch.Generator().manual_seed(seed), jitter)


def test_diagonal_steps_are_equal_and_leave_both_axes():
    steps = path("diagonal").diff(dim=0)
    assert torch.allclose(steps.norm(dim=1), torch.full((8,), 6.0).double())
    assert torch.allclose(steps[:, 1], 2 * steps[:, 0])


def test_grid_is_a_raster():
    assert path("grid", 7).tolist() == [[0, 0], [0, 6], [0, 12], [6, 0], [6, 6], [6, 12], [12, 0]]


@pytest.mark.parametrize("count", [1, 2, 20])
def test_random_positions_are_apart_and_within_reach(count):
    places = path("random", count)
    assert places.shape == (count, 2)
    assert float(places.abs().max()) <= 6.0 * count**0.5 / 2 + 1e-9
    if count > 1:
        assert float(torch.pdist(places).min()) > 3.0


def test_jitter_and_seed():
    assert torch.equal(path("random", seed=3), path("random", seed=3))
    assert not torch.equal(path("random", seed=3), path("random", seed=4))
    error = path("grid", 400, jitter=0.1) - path("grid", 400)
    assert float(error.std()) == pytest.approx(0.1, rel=0.15)
