"""Periodic patterns: displacements beyond half a period are found by continuity, and flagged where it is lost."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage

from speckleflow.retrieval.base import FLAG_PERIOD
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.harmonics import find_harmonics, guess_displacement
from speckleflow.retrieval.single import retrieve_stack
from speckleflow.retrieval.spectrum import spectrum

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "wavepy-lens"
SIDE, PERIOD = 256, 6.3


def pattern(x: np.ndarray, y: np.ndarray, n: int, turned: float = 0.2) -> np.ndarray:
    """A crossed cosine of period 6.3 px under a beam that is brighter on one side, at diffuser position n."""
    a, b = math.cos(turned) * x + math.sin(turned) * y, math.cos(turned) * y - math.sin(turned) * x
    cosines = np.cos(2 * math.pi * a / PERIOD + 2.1 * n) + np.cos(2 * math.pi * b / PERIOD + 1.3 * n)
    return (1 + 0.15 * cosines) * (1 + 0.3 * x / SIDE)


def stacks(ux: np.ndarray, uy: np.ndarray, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Reference and sample (N, y, x) of a displacement on the reference grid, 10,000 photons."""
    rng = np.random.default_rng(positions)
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    vx, vy = ux, uy  # on the detector grid: v(y) = u(y - v)
    for _ in range(20):
        vx, vy = (ndimage.map_coordinates(u, (y - vy, x - vx), order=3, mode="nearest") for u in (ux, uy))
    frames = []
    for shift_x, shift_y in ((0, 0), (vx, vy)):
        light = np.stack([pattern(x - shift_x, y - shift_y, n) for n in range(positions)])
        frames.append(torch.from_numpy(rng.poisson(1e4 * light) / 1e4).float())
    return frames[0], frames[1]


def lens(height_px: float, radius: float = 90.0) -> tuple[np.ndarray, np.ndarray]:
    """A displacement that grows to ``height_px`` at 0.58 of a radius and ends smoothly in the air."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    shape = np.exp(-((np.hypot(x, y) / radius) ** 4))
    scale = height_px / np.max(np.hypot(x, y) * shape)
    return -scale * x * shape, -scale * y * shape


@pytest.mark.parametrize(("method", "positions"), [("umpa", 1), ("umpa", 3), ("spinnet", 1), ("espinnet", 3)])
@pytest.mark.parametrize("periods", [0.3, 1.2])
def test_a_lens_is_found_beyond_half_a_period(method, positions, periods):
    ux, uy = lens(periods * PERIOD)
    fields = retrieve_stack(*stacks(ux, uy, positions), method=method)
    wrong = np.hypot(fields.ux[0].numpy() - ux, fields.uy[0].numpy() - uy) > 0.5
    inner = (slice(16, -16), slice(16, -16))
    assert wrong[inner].mean() < 1e-3
    assert (fields.flags[0].numpy()[inner] & FLAG_PERIOD > 0).mean() < 0.02


def test_the_guess_alone_is_good_to_a_fraction_of_a_pixel():
    ux, uy = lens(1.2 * PERIOD)
    reference, sample = stacks(ux, uy, 1)
    harmonics = find_harmonics(reference, spectrum(reference))
    assert harmonics is not None
    lengths = harmonics.waves.norm(dim=1)
    assert 2 * math.pi / lengths.numpy() == pytest.approx(PERIOD, rel=0.01)  # a bin of the spectrum is 2.5 %
    guess = guess_displacement(harmonics, torch.stack((sample, 0.5 * sample)))
    # measured 0.04 px; half the light changes nothing
    error = guess.displacement - torch.from_numpy(np.stack((ux, uy))).float()
    assert float(error[..., 16:-16, 16:-16].square().mean().sqrt()) < 0.12
    assert torch.allclose(guess.displacement[0], guess.displacement[1], atol=1e-3)
    assert bool(guess.certain.all())


@pytest.mark.parametrize("method", ["umpa", "spinnet"])
def test_a_step_by_half_a_period_is_flagged(method):
    """Continuity does not tell on which side of half a period a sharp step lies."""
    ux = np.zeros((SIDE, SIDE))
    ux[60:200, 90:170] = 0.5 * PERIOD
    reference, sample = stacks(ux, np.zeros_like(ux), 1)
    flags = retrieve_stack(reference, sample, method=method).flags[0].numpy() & FLAG_PERIOD > 0
    near = ndimage.binary_dilation(np.abs(np.gradient(ux)).sum(0) > 0, iterations=4)
    assert flags[near].mean() > 0.3
    assert flags[:40].mean() < 0.01  # far from the step
    assert flags[-40:].mean() < 0.01


def test_where_nothing_is_left_of_the_pattern_nothing_is_guessed():
    reference, _ = stacks(*lens(1.0), 1)
    harmonics = find_harmonics(reference, spectrum(reference))
    guess = guess_displacement(harmonics, torch.ones(1, 1, SIDE, SIDE))
    assert bool((guess.displacement == 0).all())
    assert not bool(guess.maps[:, 2].any())


@pytest.mark.parametrize("size", [1.0, 2.5])
def test_speckle_has_no_harmonics(size):
    white = torch.randn(4, 200, 200, generator=torch.Generator().manual_seed(3))
    speckle = 1 + 0.1 * size * filter_xy(white, gaussian(size), gaussian(size), "mirror")
    assert find_harmonics(speckle, spectrum(speckle)) is None


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the simulated lens of Argonne is not beside this repository")
@pytest.mark.parametrize("method", ["umpa", "spinnet"])
def test_the_lens_of_argonne(method):
    """Be lens behind a checkerboard of 6 px, u to 4.3 px, made by another program: R = 50 um (two paraboloids)."""
    names = ("image", "ref", "dark")
    image, reference, dark = (
        tifffile.imread(SHARED / f"{name}_8000eV_d_93p0mm_pixel_0p400um_grPeriod_4p8um.tif").astype(
            np.float32
        )
        for name in names
    )
    fields = retrieve_stack((reference - dark)[None], (image - dark)[None], method=method)
    y, x = np.mgrid[:1024, :1024] - 511.5
    slope = -2 * 5.3277e-6 * 0.093 / 50e-6
    inside = np.hypot(x, y) < 200
    ux, uy = fields.ux[0].numpy(), fields.uy[0].numpy()
    middle = np.hypot(x, y) < 60
    errors = [u - slope * place - np.median((u - slope * place)[middle]) for u, place in ((ux, x), (uy, y))]
    assert (np.hypot(*errors)[inside] > 0.5).mean() < 1e-4  # measured: none
    radius_um = 50 * slope / np.polyfit(x[inside], ux[inside], 1)[0]
    assert radius_um == pytest.approx(50, abs=0.2)  # measured 50.04 and 50.06
