"""The photon limit of the phase, and the phase of a displacement, against closed solutions and another program."""

import importlib.util
import math

import numpy as np
import pytest
import torch
from tests.conftest import SHARED_DATA

from speckleflow.evaluate.limit import displacement_information, phase_limit
from speckleflow.evaluate.phase import least_squares_phase, without_any_curl

SIDE = 64


def masks(side):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    radius = np.hypot(y, x) / side
    return radius < 0.42, radius > 0.45


def pattern(n, rng):
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.stack(
        [
            1
            + 0.2
            * np.sin(2 * np.pi * x / 7 + rng.uniform(0, 6))
            * np.cos(2 * np.pi * y / 9 + rng.uniform(0, 6))
            for _ in range(n)
        ]
    )


@pytest.mark.slow
def test_of_white_information_the_limit_is_proportional_to_the_noise():
    """1.13 s for displacement noise s on 256 x 256 pixels (the sum over 1 / k^2 of the modes)."""
    information = np.zeros((256, 256, 2, 2))
    information[..., 0, 0] = information[..., 1, 1] = 1 / 0.02**2
    assert phase_limit(information, *masks(256), draws=3) / 0.02 == pytest.approx(1.13, rel=0.12)


def test_information_of_a_known_pattern():
    """At T = 0.5, D = 0.6: the sum of squared derivatives over the variance of both frames."""
    rng = np.random.default_rng(1)
    stack = pattern(12, rng)
    t, d = np.full((SIDE, SIDE), 0.5), np.full((SIDE, SIDE), 0.6)
    information = displacement_information(stack, t, d, 1000.0, window_px=6.0)[20:-20, 20:-20].mean((0, 1))
    # mean square of the central differences of 0.2 sin cos: 0.04 / 4 sin^2 k; variance close to T + (T D)^2
    for axis, period in ((0, 7), (1, 9)):
        expected = 12 * 1000 * 0.3**2 * 0.01 * np.sin(2 * np.pi / period) ** 2 / (0.5 + 0.09)
        assert information[axis, axis] == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("n", [1, 4])
def test_the_limit_is_that_of_another_program(n):
    path = SHARED_DATA.parent / "tools" / "phase_limit.py"
    if not path.exists():
        pytest.skip("no other program's limit to compare with")
    spec = importlib.util.spec_from_file_location("phase_limit", path)
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    rng = np.random.default_rng(2)
    stack = pattern(n, rng)
    y, x = np.mgrid[:SIDE, :SIDE]
    t, d = 0.6 + 0.3 * np.sin(x / 11), 0.7 + 0.2 * np.cos(y / 13)
    ours = displacement_information(stack, t, d, 2000.0)
    theirs = other.information(stack, np.ones_like(stack), t, d, 2000.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
    assert phase_limit(ours, *masks(SIDE)) == pytest.approx(other.limit(theirs, *masks(SIDE)), rel=1e-2)


def test_the_phase_of_a_displacement_and_its_curl():
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    # cosines that the mirrored borders keep
    ky, kx = 2 * math.pi / 48, 3 * math.pi / 64
    phase = torch.cos(ky * y) * torch.cos(kx * x)
    u = torch.stack(
        [-kx * torch.cos(ky * y) * torch.sin(kx * x), -ky * torch.sin(ky * y) * torch.cos(kx * x)]
    )
    # a stream function that vanishes at the borders adds curl alone
    stream = 5 * torch.sin(ky * y) * torch.sin(kx * x * 2)
    swirl = torch.stack(
        [
            5 * ky * torch.cos(ky * y) * torch.sin(2 * kx * x),
            -10 * kx * torch.sin(ky * y) * torch.cos(2 * kx * x),
        ]
    )
    assert float(stream.abs().max()) > 4
    found = least_squares_phase((u + swirl)[None])[0]
    assert float((found - phase).abs().max()) < 1e-4
    assert float((without_any_curl((u + swirl)[None])[0] - u).abs().max()) < 1e-5
