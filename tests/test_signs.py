"""The sign chain from light to volume in full wave optics, which knows nothing of our conventions.

A sphere of PMMA shows the signs. How exact the chain is, it cannot show: of the phase of a sphere of R pixels the
part sqrt(2 / R) is gathered within the last pixel of its edge, a third of it here, where the displacement has no
bound and one modulator cell in four sees it (over eight patterns the phase scattered by 9 % with 8 diffuser
positions, by 3.5 % with 20, about means of -1.5 and -2.5 %). A smooth ball of Gaussian profile has its whole phase
in displacements that pixel, blur and windows resolve: what they and the edges' absence leave is of the order of
4 s^2 / sigma^2, 2.5 % for a point spread of s = 1.1 pixels and a ball of sigma = 14.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from speckleflow.config.models import Simulate
from speckleflow.phase import integrate_displacement
from speckleflow.retrieval.base import Fields
from speckleflow.retrieval.umpa.retriever import Umpa
from speckleflow.retrieval.umpa.settings import UmpaSettings
from speckleflow.simulate.detector import seeded
from speckleflow.simulate.forward import ProjectedFields, propagated_sample
from speckleflow.simulate.materials import material
from speckleflow.simulate.modulators import Modulator, modulated_wave, thickness_for_visibility
from speckleflow.simulate.optics import Beam, blur_matrix, shift_wave
from speckleflow.simulate.phantoms import phantom
from speckleflow.simulate.scene import Scene
from speckleflow.simulate.trajectories import trajectory
from speckleflow.tomo.single import reconstruct_sinogram
from speckleflow.tomo.units import scale

ENERGY_KEV, PIXEL_M, DISTANCE_M, BLUR_PX = 20.0, 6.5e-6, 0.5, 0.5
WAVENUMBER = 2 * np.pi / 6.19920990e-11

ROWS, COLUMNS, RADIUS = 64, 80, 22  # the sphere's detector, and its radius in pixels
SIDE, SIGMA, LARGEST_PX = 112, 14.0, 0.4  # the ball's detector, its width in pixels, its largest displacement
RIGHT, DOWN = 5.0, -3.0  # of the ball's centre from the middle of its detector, in pixels


class Retrieved(NamedTuple):
    fields: Fields
    phase: NDArray[np.float32]


def retrieve(sample: Tensor, reference: Tensor, air: tuple[int, int, int, int]) -> Retrieved:
    """From noise-free stacks: 10,000 photons a pixel, and ten times that in the reference."""
    generator = seeded(1, 2)
    sample, reference = (
        (torch.poisson(image * n, generator=generator) / n).float()
        for image, n in ((sample, 1e4), (reference, 1e5))
    )
    umpa = Umpa(UmpaSettings(detector_blur_px=BLUR_PX))
    fields = umpa(sample[None], umpa.prepare(reference))
    phase = integrate_displacement(
        fields.ux.numpy(),
        fields.uy.numpy(),
        energy_kev=ENERGY_KEV,
        pixel_size_m=PIXEL_M,
        distance_m=DISTANCE_M,
        air=air,
        sigma=fields.displacement_std.numpy(),
    )
    return Retrieved(fields, phase[0])


def volume_of_a_round_object(row: NDArray, axis_px: float) -> NDArray:
    """Slice of delta of an object about the axis, which looks the same from everywhere, from its middle row."""
    sinogram = np.repeat(-row[None], 60, axis=0)
    return reconstruct_sinogram(sinogram, np.arange(60) * 3.0, axis_px) * scale("delta", PIXEL_M, ENERGY_KEV)


def distance_px(side: int, right: float = 0.0, down: float = 0.0) -> NDArray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.hypot(y - down, x - right)


@pytest.fixture(scope="module")
def sphere() -> Retrieved:
    settings = Simulate(
        phantom="sphere",
        rows=ROWS,
        columns=COLUMNS,
        positions=20,
        model="wave",
        axis_offset_px=0.0,
        drift_px=0.0,
    )
    scene = Scene(settings, seeded(1, 1))
    sample, _ = scene.sample(phantom("sphere", PIXEL_M, ROWS, COLUMNS), 0.0)
    reference = torch.stack([scene.reference(n) for n in range(settings.positions)])
    return retrieve(sample, reference, (8, 8, 4, 4))


@pytest.fixture(scope="module")
def ball() -> Retrieved:
    """delta = delta_0 exp(-r^2 / 2 sigma^2), behind a coded mask; nothing is absorbed."""
    samples, generator = 4, seeded(1, 1)
    beam = Beam(ENERGY_KEV, PIXEL_M, DISTANCE_M, 2e-6)
    mask = Modulator.usual("mask", 4 * PIXEL_M, 1e-6)
    mask = thickness_for_visibility(mask, beam, 0.25, generator, BLUR_PX, samples)
    wave = modulated_wave(mask, beam, (SIDE, SIDE), generator, samples)
    wave = shift_wave(wave, trajectory("random", 8, 6.0, generator, jitter=0.1).tolist(), samples)
    wave = wave / wave.abs().square().mean().sqrt()
    place = (torch.arange(wave.shape[-1]) + 0.5) / samples - SIDE / 2
    x, y = place - RIGHT, place[:, None] - DOWN
    bell = torch.exp(-(y**2 + x**2) / (2 * SIGMA**2))
    height = LARGEST_PX * SIGMA * math.exp(0.5)  # of the phase, in units of the phase of 1 px of displacement
    one = torch.ones_like(bell)
    empty = ProjectedFields(0 * one, one, one, 0 * one, 0 * one)
    refracting = ProjectedFields(
        -height * beam.phase_per_px * bell,
        one,
        one,
        height * x / SIGMA**2 * bell,
        height * y / SIGMA**2 * bell,
    )
    detector = blur_matrix(SIDE, samples, 0, BLUR_PX * samples, bell)
    sample, reference = (
        (detector @ propagated_sample(wave, fields, beam, samples) @ detector.T)[:, :SIDE, :SIDE]
        for fields in (refracting, empty)
    )
    return retrieve(sample, reference, (6, 6, 6, 6))


def test_the_sphere_sends_rays_outward(sphere):
    ux, uy = sphere.fields.ux[0].numpy(), sphere.fields.uy[0].numpy()
    right, left = ux[24:40, 50:58], ux[24:40, 22:30]
    below, above = uy[42:50, 32:48], uy[14:22, 32:48]
    assert right.mean() > 0.05
    assert left.mean() < -0.05
    assert below.mean() > 0.05
    assert above.mean() < -0.05


def test_its_phase_is_negative_and_its_delta_positive(sphere):
    delta = material("PMMA").delta(ENERGY_KEV)
    assert sphere.phase[32, 40] == pytest.approx(-WAVENUMBER * delta * 2 * RADIUS * PIXEL_M, rel=0.05)
    found = volume_of_a_round_object(sphere.phase[31:33].mean(0), (COLUMNS - 1) / 2)
    r = distance_px(COLUMNS)
    assert found[r < RADIUS - 4].mean() == pytest.approx(delta, rel=0.06)
    # edge fringes and the border are in there: this is a test of signs, not of the background
    assert abs(found[(r > RADIUS + 6) & (r < 36)].mean()) < 0.25 * delta


def test_the_smooth_ball_is_right_to_three_per_cent(ball):
    """Displacement, phase and delta, from waves; as measured within 1.5 %."""
    height = LARGEST_PX * SIGMA * math.exp(0.5)
    delta = height * PIXEL_M / (DISTANCE_M * SIGMA * math.sqrt(2 * np.pi))
    line = np.arange(SIDE) - (SIDE - 1) / 2
    bell = np.exp(-(distance_px(SIDE, RIGHT, DOWN) ** 2) / (2 * SIGMA**2))
    inner = np.s_[8:-8, 8:-8]
    for u, place in (
        (ball.fields.ux[0].numpy(), line - RIGHT),
        (ball.fields.uy[0].numpy(), line[:, None] - DOWN),
    ):
        expected = height * place / SIGMA**2 * bell
        assert np.sum((u * expected)[inner]) / np.sum(expected[inner] ** 2) == pytest.approx(1, abs=0.03)
    phase = -WAVENUMBER * delta * SIGMA * math.sqrt(2 * np.pi) * PIXEL_M * bell
    core = bell > 0.5
    assert np.sum((ball.phase * phase)[core]) / np.sum(phase[core] ** 2) == pytest.approx(1, abs=0.03)
    # the middle row, and the axis, pass through the ball's centre; the slice has the axis in its own
    row = ball.phase[52:54].mean(0)
    found = volume_of_a_round_object(row, (SIDE - 1) / 2 + RIGHT)
    bell = np.exp(-(distance_px(SIDE) ** 2) / (2 * SIGMA**2))
    core = bell > 0.5
    assert np.sum((found * bell)[core]) / np.sum(bell[core] ** 2) == pytest.approx(delta, rel=0.03)
    assert abs(found[(bell < 0.05) & (distance_px(SIDE) < SIDE / 2 - RIGHT)].mean()) < 0.03 * delta
