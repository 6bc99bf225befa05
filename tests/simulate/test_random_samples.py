"""Thickness of the solids that random samples are made of, and what a sample may hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from speckleflow.simulate.random_samples import _ellipsoid, _rod, random_corners


def test_a_spheroid_is_as_thick_as_its_chord():
    """Long half axis 9 samples, turned by 30 degrees; short one 0.6 of it: chords of the ellipsoid along the beam."""
    thickness = _ellipsoid(40, torch.tensor([18.0, 23.0]), torch.tensor(9.0), 0.6, math.radians(30))
    y, x = np.mgrid[:41, :41] - np.array([18, 23])[:, None, None]
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    inside = 1 - ((x * c + y * s) / 9) ** 2 - ((y * c - x * s) / 5.4) ** 2
    np.testing.assert_allclose(thickness.numpy(), 18 * np.sqrt(inside.clip(0)), atol=1e-4)


def test_a_rod_is_as_thick_as_its_chord():
    thickness = _rod(40, torch.tensor([18.0, 23.0]), torch.tensor(7.0), math.radians(90))
    across = np.arange(41) - 23.0  # along the rows: it stands upright
    expected = 2 * np.sqrt((49 - across**2).clip(0))
    np.testing.assert_allclose(thickness.numpy(), np.broadcast_to(expected, (41, 41)), atol=1e-4)


@pytest.mark.parametrize("kind", ["solids", "smooth"])
def test_samples_absorb_and_scatter_or_leave_the_beam_alone(kind):
    """No line integral is negative; refraction goes with matter: more of it, less phase."""
    for seed in range(12):
        corners = random_corners(torch.Generator().manual_seed(seed), 48, 2, kinds=(kind,))
        assert all(torch.isfinite(part).all() for part in corners)
        assert float(corners[1].min()) >= 0
        assert float(corners[2].min()) >= 0
