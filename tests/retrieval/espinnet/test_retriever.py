"""The networks as retrieval methods: what comes with the package, tiles, scarce memory, weights by path."""

from __future__ import annotations

import logging
import time

import pytest
import torch

from speckleflow.errors import InputError, SpeckleflowError
from speckleflow.evaluate.held_out import Cell, scenes
from speckleflow.evaluate.metrics import errors
from speckleflow.retrieval.espinnet import retriever
from speckleflow.retrieval.espinnet.retriever import Espinnet
from speckleflow.retrieval.espinnet.settings import EspinnetSettings
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.spinnet import published
from speckleflow.retrieval.spinnet.retriever import Spinnet
from speckleflow.retrieval.spinnet.settings import SpinnetSettings
from speckleflow.train.checkpoint import save_weights


@pytest.fixture(scope="module")
def scene():
    return scenes(Cell("mask", 5, 5000.0), count=1, size=128)


def test_shipped_weights_meet_their_card(scene):
    method = Espinnet(EspinnetSettings())
    fields = method(scene.sample, method.prepare(scene.reference[0]))
    found = errors(fields, scene.ux, scene.uy, scene.transmission, scene.darkfield)
    # fields that vary over 8 px; other weights may be a little better or worse than these: 0.082, 0.057, 0.054
    assert found.rmse < 0.12
    assert found.rmse_transmission < 0.09
    assert found.rmse_darkfield < 0.09
    assert 0.6 < found.within_sigma < 0.85  # 0.75; of a normal error 0.683
    assert abs(found.bias) < 0.055  # -0.036


def test_without_refinement_the_displacement_is_the_pyramids(scene):
    """Less exact by a factor of two, with an expected error of its own; T and D are as before."""
    with_steps, without = (Espinnet(EspinnetSettings(refine=refine)) for refine in (True, False))
    refined, coarse = (
        method(scene.sample, method.prepare(scene.reference[0])) for method in (with_steps, without)
    )
    assert torch.equal(coarse.transmission, refined.transmission)
    assert torch.equal(coarse.darkfield, refined.darkfield)
    inner = (..., slice(8, -8), slice(8, -8))
    error = torch.stack((coarse.ux - scene.ux, coarse.uy - scene.uy))[inner].square().mean().sqrt()
    assert 0.1 < float(error) < 0.25  # measured: 0.166
    assert float(error / coarse.displacement_std[inner].square().mean().sqrt()) == pytest.approx(
        1.39, rel=0.3
    )


def test_spinnet_takes_one_position_and_says_so(scene):
    method = Spinnet(SpinnetSettings())
    fields = method(scene.sample[:, :1], method.prepare(scene.reference[0, :1]))
    assert fields.darkfield is None
    assert errors(fields, scene.ux, scene.uy, scene.transmission, scene.darkfield).rmse < 0.33  # 0.219
    with pytest.raises(InputError, match=r"expected 1 diffuser position.* for method 'spinnet'"):
        method.prepare(scene.reference[0])


def test_tiled_equals_whole():
    generator = torch.Generator().manual_seed(8)
    pattern = filter_xy(torch.randn(2, 64, 704, generator=generator), gaussian(1.2), gaussian(1.2), "mirror")
    reference = 1 + 0.3 * pattern / pattern.std()
    noise = 0.02 * torch.randn(reference.shape, generator=generator)
    sample = (0.8 * reference.roll((2, -1), (2, 1)) + noise)[None]
    method = Espinnet(EspinnetSettings())
    state = method.prepare(reference)
    whole = method(sample, state)
    state.side, state.prepared = 128, {}
    assert len(state.tiles(method.halo, method.structure.multiple)) > 2
    tiled = method(sample, state)
    for name, value in whole.items():
        other = dict(tiled.items())[name]
        if name == "flags":  # rounding may carry single pixels over a limit
            assert float((other != value).float().mean()) < 1e-3
            continue
        # the fields to 1e-4 px; the expected error, itself an estimate, to a per mille of a pixel
        near = 1e-3 if name == "displacement_std" else 1e-4
        torch.testing.assert_close(other, value, atol=near, rtol=0, msg=name)


@pytest.mark.slow
def test_out_of_memory_goes_on_in_smaller_parts(monkeypatch, caplog, scene):
    method = Espinnet(EspinnetSettings())
    wide = scene.sample[:, :3, 16:80].repeat(1, 1, 1, 6), scene.reference[0, :3, 16:80].repeat(1, 1, 6)
    state = method.prepare(wide[1])
    whole = method(wide[0], state)
    run = method.structure.run_tile

    def scarce(sample, prepared, guess=None):
        if sample.shape[-1] > 600:
            raise torch.OutOfMemoryError("out of memory")
        return run(sample, prepared, guess)

    monkeypatch.setattr(method.structure, "run_tile", scarce)
    with caplog.at_level(logging.WARNING):
        again = method(wide[0], state)
    assert "smaller tiles" in caplog.text
    assert state.side == 384  # half of the image
    assert not state.prepared  # with their halos, kept tiles would need more memory than the whole image
    # rounding, which the seams of the repeated scene amplify in a pixel in ten thousand
    change = (again.ux - whole.ux).abs()
    assert float((change > 1e-4).double().mean()) < 1e-4
    assert float(change.square().mean().sqrt()) < 2e-5
    assert float(change.max()) < 5e-4

    def none(sample, prepared, guess=None):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(method.structure, "run_tile", none)
    with pytest.raises(SpeckleflowError, match="give the job more memory"):
        method(wide[0], state)


def test_weights_decide_the_structure(shared_data, tmp_path):
    ours = Espinnet(EspinnetSettings())
    assert type(ours.structure).__name__ == "Fast"
    theirs = Espinnet(
        EspinnetSettings(weights=str(shared_data("espinnet-parity") / "random_model_001500.pt"))
    )
    assert type(theirs.structure).__name__ == "Published"
    with pytest.raises(InputError, match="of another structure"):  # one of SPINNet's published ones
        save_weights(published.Spinnet(), tmp_path / "other.safetensors", {})
        Espinnet(EspinnetSettings(weights=str(tmp_path / "other.safetensors")))


def test_one_position_is_sent_to_spinnet(scene):
    with pytest.raises(InputError, match=r"at least 2 .* for method 'espinnet', found 1; .*'spinnet'"):
        Espinnet(EspinnetSettings()).prepare(scene.reference[0, :1])


def test_known_blur_is_taken_off(scene):
    """The detector's point spread moves the pattern to the stronger side of an absorbing edge."""
    x = torch.arange(128.0)
    strength = (-((x / 128) ** 2)).exp() * 0.9
    kernel = gaussian(1.0)
    reference = filter_xy(scene.reference[0], kernel, kernel, "mirror")
    sample = filter_xy(scene.reference[0] * strength, kernel, kernel, "mirror")[None]
    slope = -2 * x / 128**2  # of the logarithm
    found = {}
    for blur in (0.0, 1.0):
        method = Espinnet(EspinnetSettings(detector_blur_px=blur))
        found[blur] = method(sample, method.prepare(reference)).ux[0]
    inside = (slice(16, -16), slice(16, -16))
    change = (found[1.0] - found[0.0])[inside]
    torch.testing.assert_close(change.mean(0), slope[inside[1]], atol=4e-3, rtol=0)  # measured 2.5e-3


@pytest.mark.slow
def test_threads_take_projections_and_change_nothing(scene):
    method = Espinnet(EspinnetSettings())
    batch = torch.cat([scene.sample, 0.9 * scene.sample, scene.sample.flip(-1)])
    state = method.prepare(scene.reference[0])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = method(batch, state)
        torch.set_num_threads(2)
        together = method(batch, state)
    finally:
        torch.set_num_threads(before)
    for (name, one), (_, two) in zip(alone.items(), together.items(), strict=True):
        torch.testing.assert_close(two, one, atol=0, rtol=0, msg=name)


def test_every_projection_of_a_batch_keeps_its_place(monkeypatch, scene):
    """Three on two threads, of which the first takes longer: every projection is what it is alone."""
    batch = torch.cat([scene.sample, 0.9 * scene.sample.flip(-1), 0.8 * scene.sample.flip(-2)])
    method = Espinnet(EspinnetSettings())
    state = method.prepare(scene.reference[0])
    alone = [method(batch[k : k + 1], state) for k in range(3)]
    run, level = method.structure.run_tile, float(batch[0].mean() / scene.reference[0].mean())

    def run_slowly(sample, prepared, guess=None):
        maps = run(sample, prepared, guess)
        time.sleep(0.5 if float(sample.mean()) > 0.95 * level else 0)
        return maps

    monkeypatch.setattr(method.structure, "run_tile", run_slowly)
    monkeypatch.setattr(method, "_at_once", lambda state: 3)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = method(batch, state)
    finally:
        torch.set_num_threads(before)
    for k, one in enumerate(alone):
        for name, field in one.items():
            torch.testing.assert_close(getattr(together, name)[k : k + 1], field, atol=0, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("threads", "side", "images", "expected"),
    [
        (4, 4096, 9.0, 4),  # as many as threads, where there is memory for them
        (4, 4096, 2.5, 2),  # else as many as there is memory for
        (4, 4096, 0.5, 1),
        (2, 4096, 9.0, 2),
        (4, 32, 2.5, 2),  # tiles of 32 px with their halos: the image is smaller
    ],
)
def test_projections_at_once_are_as_many_as_memory_and_threads(
    monkeypatch, scene, threads, side, images, expected
):
    method = Espinnet(EspinnetSettings())
    state = method.prepare(scene.reference[0])
    state.side = side
    image = 128 * 128 * method.structure.bytes_per_pixel(5)
    monkeypatch.setattr(retriever, "free_memory", lambda device: images * image / 0.6 + 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert method._at_once(state) == expected


def test_short_convolutions_change_little(scene):
    found = []
    for precision in ("float32", "bfloat16"):
        method = Espinnet(EspinnetSettings(precision=precision, refine=False))
        found.append(method(scene.sample, method.prepare(scene.reference[0])).ux)
    change = float((found[1] - found[0]).square().mean().sqrt())
    assert 0 < change < 2e-3
    assert found[1].dtype == torch.float32


@pytest.mark.slow
def test_out_of_memory_halves_the_batch(monkeypatch, caplog, scene):
    method = Espinnet(EspinnetSettings())
    batch = scene.sample[:, :3, 16:80, 16:96].expand(4, -1, -1, -1)
    state = method.prepare(scene.reference[0, :3, 16:80, 16:96])
    whole = method(batch, state)
    monkeypatch.setattr(method, "_at_once", lambda state: 4)
    run = method._run_tile

    def scarce(sample, prepared, guess=None):
        if len(sample) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return run(sample, prepared, guess)

    monkeypatch.setattr(method, "_run_tile", scarce)
    with caplog.at_level(logging.WARNING):
        again = method(batch, state)
    assert ["batches of 2" in line or "batches of 1" in line for line in caplog.messages] == [True, True]
    torch.testing.assert_close(again.ux, whole.ux, atol=1e-4, rtol=0)
