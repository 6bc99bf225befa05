"""What stands around the networks: grids, flags, blur, precision, what goes in and comes out."""

from __future__ import annotations

import pytest
import torch

from speckleflow.evaluate.held_out import Cell, scenes
from speckleflow.retrieval.base import FLAG_EDGE, FLAG_FOLD, Fields
from speckleflow.retrieval.espinnet import published
from speckleflow.retrieval.espinnet.fast import FastEspinnet
from speckleflow.retrieval.espinnet.layers import pad_to_multiple, unpad
from speckleflow.retrieval.espinnet.retriever import Espinnet
from speckleflow.retrieval.espinnet.scaling import scale_positions
from speckleflow.retrieval.espinnet.settings import EspinnetSettings
from speckleflow.retrieval.espinnet.structures import flagged
from speckleflow.retrieval.tiles import make_tiles
from speckleflow.train.checkpoint import save_weights

Y, X = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
INSIDE = (slice(8, -8), slice(8, -8))


@pytest.fixture(scope="module")
def scene():
    return scenes(Cell("mask", 4, 5000.0), count=2, size=64)


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "published.safetensors"
    save_weights(published.Espinnet(), path, {"network": "espinnet"})
    return str(path)


def fields_of_ours(ux, uy):
    one = torch.ones_like(ux)[None]
    return Espinnet(EspinnetSettings()).structure.fields([ux[None], uy[None], one, one, one, one])


def fields_of_a_published_one(ux, uy):
    return flagged(Fields(transmission=torch.ones_like(ux)[None], ux=ux[None], uy=uy[None]))


@pytest.mark.parametrize(("fields_of", "half"), [(fields_of_ours, 6), (fields_of_a_published_one, 1)])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_crossing_rays_and_rays_that_leave_are_flagged(fields_of, half, axis):
    """Where u falls by 0.7 px per pixel, and where a ray's place or its window is not in the image."""
    along = X if axis == "x" else Y
    fold, other = -0.7 * (along - 46).clamp(0, 6), torch.full_like(X, -3.0)
    fields = fields_of(fold, other) if axis == "x" else fields_of(other, fold)
    flags = fields.flags[0]
    assert torch.equal((flags & FLAG_FOLD) > 0, (along > 46) & (along < 52))
    x, y = X + fields.ux[0], Y + fields.uy[0]
    near = torch.minimum(torch.minimum(X, 127 - X), torch.minimum(Y, 95 - Y))
    lands = torch.minimum(torch.minimum(x, 127 - x), torch.minimum(y, 95 - y))
    edge = (flags & FLAG_EDGE) > 0
    assert bool(edge[torch.minimum(near, lands) < half - 0.01].all())
    assert not edge[torch.minimum(near, lands) > half + 0.01].any()


def test_the_published_structures_fields_change_their_grid(weight_file):
    """Everything it says is said on the detector's grid: f(x) = f'(x + u(x))."""
    method = Espinnet(EspinnetSettings(weights=weight_file))
    maps = (
        lambda x, y: 3 * torch.sin(y / 18) + 2,
        lambda x, y: 2.5 * torch.cos(x / 16) - 1,
        lambda x, y: 0.7 + 0.2 * torch.sin(x / 9),
        lambda x, y: 0.6 + 0.2 * torch.cos(y / 8),
    )
    fields = method.structure.fields([f(X, Y)[None] for f in maps])
    place = X + fields.ux[0], Y + fields.uy[0]
    found = (fields.ux, fields.uy, fields.transmission, fields.darkfield)
    for field, truth in zip(found, maps, strict=True):
        torch.testing.assert_close(field[0][INSIDE], truth(*place)[INSIDE], atol=1e-3, rtol=0)


def test_a_known_blur_is_taken_off_the_published_structures_displacement(weight_file):
    """s^2 = 4 px^2 times the slopes of ln T and ln D; nothing where the blur is not known."""
    t, d = torch.exp(0.02 * (X - 64) - 0.01 * (Y - 48)), torch.exp(0.01 * (X - 64) + 0.02 * (Y - 48))
    nothing = torch.zeros(2, 96, 128)
    for blur, variance in ((None, 0.0), (2.0, 4.0)):
        method = Espinnet(EspinnetSettings(weights=weight_file, detector_blur_px=blur))
        # two projections, of which the second absorbs the other way
        fields = method.structure.fields([nothing, nothing, torch.stack((t, 1 / t)), torch.stack((d, 1 / d))])
        for sign, ux, uy in ((1, fields.ux[0], fields.uy[0]), (-1, fields.ux[1], fields.uy[1])):
            assert float((ux - sign * variance * 0.03)[INSIDE].abs().max()) < 1e-4
            assert float((uy - sign * variance * 0.01)[INSIDE].abs().max()) < 1e-4


@pytest.mark.parametrize("scaling", ["nearest", "linear"])
@pytest.mark.parametrize("refiners", [False, True])
def test_the_published_structure_is_given_twenty_frames(weight_file, monkeypatch, scaling, refiners):
    method = Espinnet(EspinnetSettings(weights=weight_file, scaling=scaling, refiners=refiners))
    seen = []

    def infer(reference, sample, refined):
        seen.append((reference, sample, refined))
        maps = torch.ones(len(sample), 1, *sample.shape[-2:])
        return torch.cat((0 * maps, 0 * maps), 1), 3 * maps, 4 * maps

    monkeypatch.setattr(method.structure, "infer", infer)
    reference = 500 * (1 + 0.2 * torch.rand(5, 64, 70, generator=torch.Generator().manual_seed(2)))
    fields = method(0.5 * reference[None], method.prepare(reference))
    torch.testing.assert_close(fields.transmission, torch.full((1, 64, 70), 3.0))
    torch.testing.assert_close(fields.darkfield, torch.full((1, 64, 70), 4.0))
    ((of_reference, of_sample, refined),) = seen
    level = scale_positions(reference / reference.mean(), 20, scaling)
    torch.testing.assert_close(of_reference[0, :, :, 29:-29], level)
    torch.testing.assert_close(of_sample[0, :, :, 29:-29], 0.5 * level)
    assert refined is refiners


def test_the_expected_error_is_calibrated_by_the_weight_file(tmp_path, scene):
    """``sigma_factor`` of the header multiplies the network's own; 1 where the header has none."""
    torch.manual_seed(3)
    network, found = FastEspinnet(), {}
    for factor in (None, 1.0, 2.5):
        path = tmp_path / f"{factor}.safetensors"
        save_weights(network, path, {} if factor is None else {"sigma_factor": str(factor)})
        method = Espinnet(EspinnetSettings(weights=str(path)))
        fields = method(scene.sample[:1], method.prepare(scene.reference[0]))
        found[factor] = fields.displacement_std
        with torch.inference_mode():
            prepared = method.structure.prepare_tile(
                (scene.reference[0] / scene.reference[0].mean()),
                *_whole(method, scene.reference[0] / scene.reference[0].mean()),
            )
            own = network.eval()(
                prepared,
                method.structure.levelled(scene.reference[:1], scene.sample[:1]) / scene.reference[0].mean(),
            )[1]
        torch.testing.assert_close(
            fields.displacement_std, (factor or 1.0) * own.log_sigma[:, 0].exp(), rtol=1e-3, atol=1e-5
        )
    torch.testing.assert_close(found[None], found[1.0])
    torch.testing.assert_close(found[2.5], 2.5 * found[1.0])


def _whole(method, reference):
    (tile,) = make_tiles(64, 64, 64, 8, 8)
    return tile, method.structure.prepare_whole(reference)


def test_flux_is_normalised_over_whole_images(scene):
    """One frame of the sample 3 % brighter than its reference frame changes nothing."""
    method = Espinnet(EspinnetSettings())
    state = method.prepare(scene.reference[0])
    brighter = torch.tensor([1.0, 1.03, 1.0, 1.0])[:, None, None] * scene.sample[:1]
    one, other = method(scene.sample[:1], state), method(brighter, state)
    for name in ("ux", "uy"):
        off = getattr(other, name) - getattr(one, name)
        assert float(off.square().mean().sqrt()) < 5e-3  # measured: 2.5e-3; 0.044 as they come


def test_precision_is_that_of_the_settings(monkeypatch):
    """auto is float32 on a CPU; bfloat16 is of the convolutions alone."""
    for precision, expected in (
        ("auto", torch.float32),
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
    ):
        method = Espinnet(EspinnetSettings(precision=precision))
        monkeypatch.setattr(
            method.structure.network,
            "forward",
            lambda image: torch.nn.functional.conv2d(image, torch.ones(1, 1, 1, 1)),
        )
        assert method.structure.infer(torch.ones(1, 1, 4, 4)).dtype == expected


def test_padding_is_shared_by_both_sides():
    """13 x 10 px to multiples of 8: three columns and six rows; the edge is repeated, and cut off again."""
    image = torch.arange(130.0).reshape(1, 1, 10, 13)
    padded, padding = pad_to_multiple(image, 8)
    assert padding == (1, 2, 3, 3)
    assert padded.shape == (1, 1, 16, 16)
    assert torch.equal(padded[..., 3:13, 1:14], image)
    assert torch.equal(padded[0, 0, 0, 1:14], image[0, 0, 0])
    assert torch.equal(padded[0, 0, 3:13, -1], image[0, 0, :, -1])
    assert torch.equal(unpad(padded, padding), image)
    assert pad_to_multiple(padded, 8)[0] is padded
