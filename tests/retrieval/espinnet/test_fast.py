"""The fast structure: what it must not depend on, what its closed forms give, tiles and scarce memory."""

from __future__ import annotations

import logging

import pytest
import torch

from speckleflow.config.models import EspinnetFastSettings, SpinnetSettings
from speckleflow.errors import InputError, SpeckleflowError
from speckleflow.evaluate.held_out import Cell, scenes
from speckleflow.evaluate.metrics import errors
from speckleflow.retrieval.bspline import warp
from speckleflow.retrieval.espinnet import fast, polish
from speckleflow.retrieval.espinnet.retriever import EspinnetFast
from speckleflow.retrieval.espinnet.tiles import make_tiles
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.normal import spline_coefficients
from speckleflow.retrieval.spinnet.retriever import Spinnet


@pytest.fixture(scope="module")
def scene():
    return scenes(Cell("mask", 5, 5000.0), count=1, size=128)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return fast.FastEspinnet().eval()


def _run(network, reference, sample):
    with torch.inference_mode():
        return network(network.reference(reference), sample)[1][-1]


def test_size(network):
    assert sum(p.numel() for p in network.parameters()) < 200_000


def test_order_of_positions_and_brightness_do_not_matter(network, scene):
    found = _run(network, scene.reference, scene.sample)
    order = torch.tensor([3, 0, 4, 1, 2])
    other = _run(network, scene.reference[:, order], scene.sample[:, order])
    torch.testing.assert_close(other.displacement, found.displacement, atol=1e-3, rtol=0)
    # the same positions twice say nothing new
    twice = _run(network, scene.reference.repeat(1, 2, 1, 1), scene.sample.repeat(1, 2, 1, 1))
    torch.testing.assert_close(twice.transmission, found.transmission, atol=2e-2, rtol=0)


def test_reference_is_prepared_once_for_a_batch(network, scene):
    pair = torch.cat([scene.sample, scene.sample.flip(1)])
    with torch.inference_mode():
        prepared = network.reference(scene.reference)
        together = network(prepared, pair)[1][-1].displacement
        alone = network(prepared, pair[1:])[1][-1].displacement
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=0)


def test_proposals_are_accurate_as_predicted_and_calm_the_noise_of_their_start():
    """Window solutions on a smooth field: error near the prediction, whatever pixel noise the start had."""
    generator = torch.Generator().manual_seed(5)
    pattern = filter_xy(torch.randn(5, 160, 160, generator=generator), gaussian(1.3), gaussian(1.3), "mirror")
    reference = 1 + 0.25 * pattern / pattern.std()
    y = torch.arange(160.0)[:, None].expand(160, 160)
    u = torch.stack([1.5 * torch.sin(y / 25), 0.8 * torch.cos(y.T / 30)])
    # eq. (1) the other way round: r(x) = s(x + u), exactly, with D = 1 and T = 0.7
    coefficients = spline_coefficients(reference, (1.0,))
    x, yy = torch.meshgrid(torch.arange(160.0), torch.arange(160.0), indexing="xy")
    landing = warp(coefficients, x - u[0], yy - u[1])  # u varies slowly: u(x - u) is u within 0.05 px
    truth = u.clone()
    for _ in range(20):
        truth = torch.stack([1.5 * torch.sin((yy + truth[1]) / 25), 0.8 * torch.cos((x + truth[0]) / 30)])
    noise = 0.01
    reference = reference + noise * torch.randn(reference.shape, generator=generator)
    sample = 0.7 * landing + noise * torch.randn(reference.shape, generator=generator)
    fixed = polish.fix(reference)
    start = truth + 0.1 * torch.randn(truth.shape, generator=generator)
    before = torch.stack([torch.full_like(x, -0.3), torch.full_like(x, 0.7)])
    found = polish.propose(fixed, spline_coefficients(sample, polish.LOW_PASS), start, before)
    inside = (slice(None), slice(16, -16), slice(16, -16))
    rms = [float((start + step - truth)[inside].square().mean().sqrt()) for step in found.step]
    predicted = [float(s.exp()[16:-16, 16:-16].mean()) for s in found.log_sigma]
    assert rms[0] > rms[1]
    assert rms[1] < 0.02  # the start had 0.1 px
    assert 0.5 < rms[1] / predicted[1] < 2.0
    assert float((found.transmission[1][16:-16, 16:-16] - 0.7).abs().mean()) < 0.01


def test_shipped_weights_meet_their_card(scene):
    method = EspinnetFast(EspinnetFastSettings())
    fields = method(scene.sample, method.prepare(scene.reference[0]))
    found = errors(fields, scene.ux, scene.uy, scene.transmission, scene.darkfield)
    assert found.rmse < 0.15
    assert found.rmse_transmission < 0.03
    assert found.rmse_darkfield < 0.15


def test_spinnet_takes_one_position_and_says_so(scene):
    method = Spinnet(SpinnetSettings())
    fields = method(scene.sample[:, :1], method.prepare(scene.reference[0, :1]))
    assert fields.darkfield is None
    assert errors(fields, scene.ux, scene.uy, scene.transmission, scene.darkfield).rmse < 0.2
    with pytest.raises(InputError, match="at most 1 for method"):
        method.prepare(scene.reference[0])


def test_tiles_cover_once():
    count = torch.zeros(96, 160)
    for tile in make_tiles(96, 160, 32, 16, 8):
        count[tile.inner] += 1
        assert tile.core(tile.cut(count)).shape == count[tile.inner].shape
    assert bool((count == 1).all())
    assert len(make_tiles(96, 160, 200, 16, 8)) == 1


def test_tiled_equals_whole():
    generator = torch.Generator().manual_seed(8)
    pattern = filter_xy(torch.randn(2, 64, 704, generator=generator), gaussian(1.2), gaussian(1.2), "mirror")
    reference = 1 + 0.3 * pattern / pattern.std()
    noise = 0.02 * torch.randn(reference.shape, generator=generator)
    sample = (0.8 * reference.roll((2, -1), (2, 1)) + noise)[None]
    method = EspinnetFast(EspinnetFastSettings())
    state = method.prepare(reference)
    whole = method(sample, state)
    state.side, state.prepared = 128, {}
    assert len(state.tiles(method.halo, method.multiple)) > 2
    tiled = method(sample, state)
    for name, value in whole.items():
        other = dict(tiled.items())[name]
        torch.testing.assert_close(other.float(), value.float(), atol=1e-4, rtol=0, msg=name)


def test_out_of_memory_goes_on_in_smaller_parts(monkeypatch, caplog, scene):
    method = EspinnetFast(EspinnetFastSettings())
    wide = scene.sample.repeat(1, 1, 1, 6), scene.reference[0].repeat(1, 1, 6)
    state = method.prepare(wide[1])
    whole = method(wide[0], state)
    run = method._run_tile

    def scarce(sample, prepared):
        if sample.shape[-1] > 600:
            raise torch.OutOfMemoryError("out of memory")
        return run(sample, prepared)

    monkeypatch.setattr(method, "_run_tile", scarce)
    with caplog.at_level(logging.WARNING):
        again = method(wide[0], state)
    assert "smaller tiles" in caplog.text
    torch.testing.assert_close(again.ux, whole.ux, atol=1e-4, rtol=0)

    def none(sample, prepared):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(method, "_run_tile", none)
    with pytest.raises(SpeckleflowError, match="give the job more memory"):
        method(wide[0], state)
