"""Preconditioned Wirtinger flow and wave-optical refinement on frames by Fresnel optics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.retrieval.wave_optics.beads import PIXEL_M, Beads, beads, phase_error

from speckleflow.config.load import parse_config
from speckleflow.errors import ConfigError, InputError
from speckleflow.retrieval import registry
from speckleflow.retrieval.pwf.retriever import Pwf
from speckleflow.retrieval.pwf.settings import PwfSettings
from speckleflow.retrieval.wave.refine import WaveRefined
from speckleflow.retrieval.wave.solver import solve

SHAPE = (80, 104)


@pytest.fixture(scope="module")
def weak() -> Beads:
    """Beads a tenth as strong as silica, the diffuser behind them."""
    return beads(SHAPE, 4, 0.1)


def _pwf(scene: Beads, positions: int, **settings: object) -> tuple[float, float]:
    """Errors of phase in rad and attenuation."""
    method = Pwf(PwfSettings(**settings))
    fields = method(
        scene.sample[None, :positions], method.prepare(scene.reference[:positions], scene.acquisition)
    )
    assert fields.phase is not None
    assert fields.attenuation is not None
    error = (fields.attenuation[0].numpy() - scene.attenuation)[8:-8, 8:-8]
    assert torch.allclose(fields.transmission, torch.exp(-fields.attenuation))
    return phase_error(fields.phase[0], scene.phase), float(np.sqrt((error**2).mean()))


def test_four_shots_give_phase_and_attenuation(weak: Beads) -> None:
    spread = phase_error(torch.zeros(SHAPE), weak.phase)
    phase, attenuation = _pwf(weak, 4, iterations=60)
    # measured 0.045 of 0.159 rad, and 0.0013
    assert phase < 0.09 < 0.6 * spread
    assert attenuation < 0.003


def test_a_diffuser_upstream_is_the_other_geometry() -> None:
    scene = beads(SHAPE, 4, 0.1, behind=False)
    right, _ = _pwf(scene, 4, iterations=60)
    mistaken = replace(scene.acquisition, diffuser_distance_m=-3e-3)
    wrong, _ = _pwf(scene._replace(acquisition=mistaken), 4, iterations=60)
    # measured 0.045 and 0.063 rad
    assert right < 0.85 * wrong


def test_the_preconditioner_needs_ten_times_fewer_iterations(weak: Beads) -> None:
    """The paper's claim: iterations to the loss that preconditioned flow has after 20."""
    plain, quick = (Pwf(PwfSettings(preconditioner=p)) for p in (False, True))
    losses = []
    for method, iterations in ((quick, 20), (plain, 200)):
        state = method.prepare(weak.reference[:1], weak.acquisition)
        rules = replace(state.rules, iterations=iterations, tolerance=0.0)
        losses.append(solve(state.scan.optics, state.scan.grid.forth(weak.sample[None, :1]), rules).course)
    assert float(losses[1][-1]) > float(losses[0][-1])
    assert float(losses[0][-1]) < 0.3 * float(losses[0][0])


@pytest.mark.parametrize(("scale", "ratio"), [(1.0, 0.85), (0.1, 0.95)])
def test_refinement_lowers_the_error_of_tracking(scale: float, ratio: float) -> None:
    """Measured 0.146 -> 0.107 rad and 0.0405 -> 0.0352 rad; attenuation 0.024 -> 0.0047 and 0.0031 -> 0.0010."""
    scene = beads(SHAPE, 4, scale, seed=2)
    tracking = registry.get("umpa")(registry.default_settings("umpa"))
    refined = WaveRefined(tracking)
    state = refined.prepare(scene.reference, scene.acquisition)
    fields = refined(scene.sample[None], state)
    plain = tracking(scene.sample[None], state.tracking)
    assert fields.phase is not None
    assert fields.attenuation is not None
    start = refined._phase(plain, [torch.zeros(1), torch.zeros(1)], scene.acquisition)
    before, after = phase_error(start[0], scene.phase), phase_error(fields.phase[0], scene.phase)
    errors = [
        float((-t.log()[0] - torch.from_numpy(scene.attenuation)).square().mean().sqrt())
        for t in (plain.transmission, fields.transmission)
    ]
    assert after < ratio * before
    assert errors[1] < 0.5 * errors[0]
    assert torch.equal(fields.ux, plain.ux)
    assert {name for name, _ in fields.items()} == refined.spec.output_fields


def test_a_shift_of_the_diffuser_is_a_plane_of_phase() -> None:
    """2 pi p^2 u / (lambda d) a pixel, with d from the diffuser on; u = 0.5 px along x."""
    still, moved = (beads(SHAPE, 3, 0.1, seed=3, shift_px=shift) for shift in (0.0, 0.5))
    method = WaveRefined(registry.get("umpa")(registry.default_settings("umpa")))
    phases = []
    for scene in (still, moved):
        fields = method(scene.sample[None], method.prepare(scene.reference, scene.acquisition))
        assert fields.phase is not None
        phases.append(fields.phase[0].double().numpy())
    slope = 2 * np.pi * PIXEL_M**2 / (1.23984198e-10 * 20e-3) * 0.5
    difference = (phases[1] - phases[0])[10:-10, 10:-10]
    found = np.polyfit(np.arange(difference.shape[1]), difference.mean(0), 1)[0]
    assert found == pytest.approx(slope, rel=0.03)


def test_dark_field_of_the_method_is_in_the_prediction(weak: Beads) -> None:
    """Where half of the visibility is gone, a prediction without it would bend the phase to explain the frames."""
    scattered = beads(SHAPE, 4, 0.1, visibility=0.5)
    method = WaveRefined(registry.get("umpa")(registry.default_settings("umpa")))
    errors = []
    for scene in (weak, scattered):
        fields = method(scene.sample[None], method.prepare(scene.reference, scene.acquisition))
        assert fields.phase is not None
        errors.append(phase_error(fields.phase[0], scene.phase))
    # measured 0.048 and 0.037 rad
    assert errors[1] < 1.5 * errors[0]


@pytest.mark.parametrize("method", ["absorption", "pwf"])
def test_what_has_no_displacement_is_not_refined(method: str) -> None:
    config = parse_config({"retrieval": {"method": method, "refine": "wave"}}, "test")
    with pytest.raises(
        ConfigError, match=f"retrieval.refine: 'wave' refines the displacement .*'{method}' gives none"
    ):
        _ = config.retrieval.spec


def test_geometry_that_is_missing_is_named(weak: Beads) -> None:
    method = Pwf(PwfSettings())
    with pytest.raises(InputError, match=r"method 'pwf': expected geometry.distance_m, found none"):
        method.prepare(weak.reference, replace(weak.acquisition, distance_m=None))
    with pytest.raises(InputError, match=r"field of view of at least lambda d / p"):
        method.prepare(weak.reference, replace(weak.acquisition, distance_m=5.0))
