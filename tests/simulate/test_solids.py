"""Line integrals of solids against brute force, gradients against differences, places against geometry."""

import math

import numpy as np
import pytest
import torch

from speckleflow.simulate.solids import Solid, cylinder, ellipsoid, ray_frame, sphere
from speckleflow.tomo.geometry import detector_coordinate

TURNED = np.array([[2.0, 0.3, 0.2], [0.3, 1.5, -0.4], [0.2, -0.4, 3.0]])
SOLIDS = {
    "sphere": sphere("a", "PMMA", (0.2, -0.3, 0.1), 0.5),
    "ellipsoid": ellipsoid("a", "PMMA", (-0.1, 0.2, 0.0), (0.6, 0.3, 0.4)),
    "turned": Solid("a", "PMMA", (0.1, 0.1, -0.1), (TURNED,)),
    "rod": cylinder("a", "PMMA", (0.1, 0.2, 0.0), 0.3),
    "capped": cylinder("a", "PMMA", (0.0, 0.1, 0.0), 0.4, axis=(1.0, 0.5, 0.3), half_length=0.5),
    "half ball": Solid("a", "PMMA", (0.1, 0.0, 0.0), (np.eye(3) / 0.36,), (((0.6, 0.0, 0.8), 0.1),)),
}
S = torch.linspace(-1, 1, 41, dtype=torch.float64) + 0.0013
Z = torch.linspace(-0.9, 0.9, 31, dtype=torch.float64) + 0.0017


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize("angle", [0.0, 37.0, 90.0, 251.0])
def test_chord_is_the_length_inside(name, angle):
    solid = SOLIDS[name]
    along, beam = ray_frame(angle)
    steps = 2000
    w = (torch.arange(steps, dtype=torch.float64) + 0.5) * 4 / steps - 2
    points = [along[k] * S[None, :, None] + beam[k] * w for k in (0, 1)]
    counted = solid.contains(points[0], points[1], Z[:, None, None]).sum(-1).double() * (4 / steps)
    assert torch.allclose(solid.chord(angle, S, Z), counted, atol=2.1 * 4 / steps)


@pytest.mark.parametrize("name", SOLIDS)
def test_gradient_is_the_derivative_of_the_chord(name):
    solid, angle, h = SOLIDS[name], 23.0, 1e-6
    by_s, by_z = solid.chord_gradient(angle, S, Z)
    for slope, ds, dz in ((by_s, h, 0.0), (by_z, 0.0, h)):
        forth, back = solid.chord(angle, S + ds, Z + dz), solid.chord(angle, S - ds, Z - dz)
        smooth = (forth > 0.05) & (back > 0.05)  # away from the outline, where the derivative diverges
        difference = (forth - back) / (2 * h)
        assert smooth.sum() > 20
        # a ray exactly on an edge between two faces sees both slopes
        close = (slope - difference).abs()[smooth] < 1e-4
        assert close.double().mean() > 0.99
    assert not by_s[solid.chord(angle, S, Z) == 0].any()


def test_sphere_chord_and_gradient_are_the_textbook_ones():
    ball = sphere("a", "PMMA", (0.0, 0.0, 0.0), 0.8)
    zero = torch.zeros(1, dtype=torch.float64)
    s = torch.linspace(-0.7, 0.7, 9, dtype=torch.float64)
    expected = 2 * (0.64 - s**2).sqrt()
    assert torch.allclose(ball.chord(12.0, s, zero)[0], expected)
    assert torch.allclose(ball.chord_gradient(12.0, s, zero)[0][0], -4 * s / expected)


@pytest.mark.parametrize("angle", [0.0, 30.0, 135.0, 300.0])
def test_a_solid_lands_where_the_geometry_says(angle):
    x, y = 0.3, -0.5
    column = float(detector_coordinate(angle, x, y))
    s = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    chord = sphere("a", "PMMA", (x, y, 0.0), 0.1).chord(angle, s, torch.zeros(1, dtype=torch.float64))[0]
    assert float((s * chord).sum() / chord.sum()) == pytest.approx(column, abs=3e-5)  # sampled every 1e-3


def test_beam_along_a_cylinder():
    rod = cylinder("a", "PMMA", (0.0, 0.0, 0.0), 0.3, axis=(0.0, 1.0, 0.0), half_length=0.5)
    zero = torch.zeros(1, dtype=torch.float64)
    s = torch.tensor([-0.31, -0.29, 0.0, 0.29, 0.31], dtype=torch.float64)
    assert rod.chord(0.0, s, zero)[0].tolist() == pytest.approx([0, 1, 1, 1, 0])


def test_reach():
    assert SOLIDS["ellipsoid"].reach((1.0, 0.0, 0.0)) == pytest.approx(0.6)
    assert SOLIDS["rod"].reach((0.6, 0.8, 0.0)) == pytest.approx(0.3)
    assert math.isinf(SOLIDS["rod"].reach((0.0, 0.0, 1.0)))


def test_a_capped_cylinder_ends_at_both_ends():
    """Along its axis it is as long as it was given, and cut at right angles."""
    rod = cylinder("a", "PMMA", (0.0, 0.1, 0.0), 0.4, axis=(1.0, 0.5, 0.3), half_length=0.5)
    axis = np.array([1.0, 0.5, 0.3]) / math.sqrt(1.34)
    across = np.cross(axis, (0.0, 0.0, 1.0))
    across /= np.linalg.norm(across)
    for end in (-1, 1):
        for side in (-0.39, 0.0, 0.39):
            for along, inside in ((0.49, True), (0.51, False)):
                place = end * along * axis + side * across
                held = all(np.dot(normal, place) <= height for normal, height in rod.planes)
                assert held == inside
