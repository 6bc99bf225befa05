"""The fast structure: what it must not depend on, what its closed forms give, tiles and scarce memory."""

from __future__ import annotations

import logging

import pytest
import torch

from speckleflow.config.models import EspinnetFastSettings, SpinnetSettings
from speckleflow.errors import InputError, SpeckleflowError
from speckleflow.evaluate.held_out import Cell, scenes
from speckleflow.evaluate.metrics import errors
from speckleflow.retrieval.espinnet import fast, polish
from speckleflow.retrieval.espinnet.retriever import EspinnetFast
from speckleflow.retrieval.espinnet.tiles import make_tiles
from speckleflow.retrieval.filters import filter_xy, gaussian
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
        return network(network.reference(reference), sample)[1]


def test_size(network):
    assert sum(p.numel() for p in network.parameters()) < 200_000


def test_order_of_positions_does_not_matter(network, scene):
    found = _run(network, scene.reference, scene.sample)
    order = torch.tensor([3, 0, 4, 1, 2])
    other = _run(network, scene.reference[:, order], scene.sample[:, order])
    # not to rounding: the noise is characterised on the first frames
    torch.testing.assert_close(other.displacement, found.displacement, atol=1e-2, rtol=0)
    assert float((other.displacement - found.displacement).abs().mean()) < 1e-3


def test_reference_is_prepared_once_for_a_batch(network, scene):
    pair = torch.cat([scene.sample, scene.sample.flip(1)])
    with torch.inference_mode():
        prepared = network.reference(scene.reference)
        together = network(prepared, pair)[1].displacement
        alone = network(prepared, pair[1:])[1].displacement
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=0)


def test_polish_starts_as_the_maximum_a_posteriori(scene):
    """Untrained, the polish is umpa's steps averaged with the prior: a good prior helps, a vague one does no harm."""
    torch.manual_seed(4)
    head = polish.Polish(fast.HIDDEN)
    reference, sample = scene.reference[0, :2], scene.sample[:, :2]
    fixed = [polish.fix(reference, polish.characterise(reference))]
    truth = torch.stack([scene.ux, scene.uy], 1)
    start = truth + 0.2 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(6))
    hidden = torch.zeros(1, fast.HIDDEN, 128, 128)

    def run(prior, log_sigma):
        with torch.inference_mode():
            found = polish.polish(
                head, fixed, sample, prior, torch.full_like(truth[:, :1], log_sigma), hidden
            )
        return float((found.displacement - truth)[..., 8:-8, 8:-8].square().mean().sqrt())

    vague = run(start, 2.0)
    assert vague < 0.1  # it started from 0.2
    assert run(truth, -6.0) < 0.5 * vague


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
        # the fields to 1e-4 px; the expected error, itself an estimate, to a per mille of a pixel
        near = 1e-3 if name == "quality" else 1e-4
        torch.testing.assert_close(other.float(), value.float(), atol=near, rtol=0, msg=name)


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
