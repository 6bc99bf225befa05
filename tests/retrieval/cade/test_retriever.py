"""CADE as a method: sub-pixel displacements, range, sizes, tiles, weights, export."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speckleflow.errors import InputError
from speckleflow.retrieval.base import FLAG_BOUND
from speckleflow.retrieval.cade.network import StrainNetF, normalised
from speckleflow.retrieval.cade.retriever import REACH_PX, Cade, common_displacement
from speckleflow.retrieval.cade.settings import CadeSettings
from speckleflow.retrieval.espinnet.fast import FastEspinnet
from speckleflow.testing.patterns import make_pair, rms
from speckleflow.train.checkpoint import save_weights

#: root mean square errors in px that the shipped weights are held to below: measured 0.017 and 0.030
UX, UY = 0.04, 0.06


@pytest.fixture(scope="module")
def method():
    return Cade(CadeSettings())


def bump(amplitude):
    """A displacement that is largest off the middle, and different along x and y."""
    return lambda x, y: amplitude * np.exp(-0.5 * ((x - 70) / 22) ** 2 - 0.5 * ((y - 45) / 15) ** 2)


def test_sub_pixel_displacement_and_transmission_of_a_smooth_sample(method):
    pair = make_pair(
        (96, 128), 1, ux=bump(0.5), uy=bump(-0.3), transmission=lambda x, y: 0.8 + 0 * x, photons=1e5
    )
    fields = method(pair.sample[None], method.prepare(pair.reference))
    zero = float(np.sqrt(np.mean(pair.ux[12:-12, 12:-12] ** 2)))  # 0.186 px
    assert zero > 0.15
    assert rms(fields.ux, pair.ux) < UX
    assert rms(fields.uy, pair.uy) < UY
    assert rms(fields.transmission, pair.transmission) < 0.02  # measured 0.009: photons in a window of 50 px


def test_light_that_refraction_gathers_is_in_the_measured_transmission_alone(method):
    pair = make_pair((96, 128), 1, ux=bump(0.9), uy=bump(0.9), conserve=True)
    fields = method(pair.sample[None], method.prepare(pair.reference))
    fringes = rms(fields.transmission_measured, pair.transmission)
    assert fringes > 0.015
    assert rms(fields.transmission, pair.transmission) < 0.5 * fringes


def test_a_common_displacement_is_taken_off_before_and_put_back_after(method):
    pair = make_pair((96, 128), 1)
    state = method.prepare(pair.reference)
    moved = torch.roll(pair.reference, (-7, 12), (-2, -1))[None]
    fields = method(torch.cat([moved, moved.flip(0)]), state)
    inner = (..., slice(24, -24), slice(24, -24))
    assert float((fields.ux - 12)[inner].abs().max()) < 0.05
    assert float((fields.uy + 7)[inner].abs().max()) < 0.05
    assert not (fields.flags[inner] & FLAG_BOUND).any()


def test_common_displacement_is_the_shift_of_most_of_the_image():
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(80, 120, generator=generator)
    samples = torch.stack([reference.roll(s, (0, 1)) for s in ((0, 0), (5, -9), (-REACH_PX, REACH_PX))])
    samples[1, :30] = reference[:30]  # three eighths are not displaced
    assert common_displacement(reference, samples).tolist() == [[0, 0], [-9, 5], [REACH_PX, -REACH_PX]]


def test_displacements_beyond_the_training_are_flagged(tmp_path):
    network = StrainNetF(1 / 64)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.predict[-1].bias.copy_(torch.tensor([0.3, 0.0]))  # 0.6 px whatever it is shown
    save_weights(
        network,
        tmp_path / "w.safetensors",
        {"network": "cade", "width": repr(1 / 64), "displacement_px": "0.5"},
    )
    pair = make_pair((64, 80), 1)
    method = Cade(CadeSettings(weights=str(tmp_path / "w.safetensors"), both_ways=False))
    fields = method(pair.reference[None], method.prepare(pair.reference))
    assert torch.allclose(fields.ux, torch.tensor(0.6))
    assert (fields.flags & FLAG_BOUND).all()
    # tracked both ways, what does not depend on the order of the frames is no displacement
    both = Cade(CadeSettings(weights=str(tmp_path / "w.safetensors")))
    fields = both(pair.reference[None], both.prepare(pair.reference))
    assert fields.ux.abs().max() < 1e-6
    assert not (fields.flags & FLAG_BOUND).any()


def transparent(path):
    """Weights that hand on the sample's own pixels as u_x."""
    network = StrainNetF(1 / 64)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.convolutions[0].weight[0, 1, 3, 3] = 1.0
        network.convolutions[1].weight[0, 0, 2, 2] = 1.0
        network.predict[-1].weight[0, 0, 1, 1] = 1.0
    save_weights(network, path, {"network": "cade", "width": repr(1 / 64)})
    return str(path)


@pytest.mark.parametrize("shape", [(80, 96), (81, 97), (95, 111)])
def test_odd_sizes_are_padded_and_cut_to_the_pixel(tmp_path, shape):
    pair = make_pair(shape, 1, ux=bump(0.5), uy=bump(-0.3))
    method = Cade(CadeSettings(weights=transparent(tmp_path / "w.safetensors"), both_ways=False))
    fields = method(pair.sample[None], method.prepare(pair.reference))
    # two leaky ReLUs, and displacements in units of 2 px
    shown = normalised(pair.reference[None], pair.sample[None])[:, 1]
    expected = 2 * torch.where(shown < 0, 0.01 * shown, shown)
    assert fields.ux.shape == (1, *shape)
    # the contrast is taken over the padding, too: one factor
    factor = float((fields.ux * expected).sum() / expected.square().sum())
    assert factor == pytest.approx(1, abs=0.05)
    assert float((fields.ux - factor * expected).abs().max()) < 1e-4


def test_tiles_give_the_whole(method):
    pair = make_pair((48, 720), 1, ux=bump(0.5), uy=bump(-0.3))
    whole, tiled = (method.prepare(pair.reference) for _ in range(2))
    tiled.side = 256
    structure = method.structure
    assert len(tiled.tiles(structure.halo, structure.multiple)) == 3
    one, many = (method(pair.sample[None], state) for state in (whole, tiled))
    # at the border a ray that lands within 1e-7 px of the last but one pixel counts or not
    inner = (..., slice(8, -8), slice(8, -8))
    for name, field in one.items():
        assert float((field.float() - dict(many.items())[name].float())[inner].abs().max()) < 2e-5, name


def test_weights_of_another_structure_are_refused(tmp_path):
    path = tmp_path / "fast.safetensors"
    save_weights(FastEspinnet(), path, {})
    with pytest.raises(InputError, match=r"fast.safetensors: expected the 46 tensors of StrainNetF, found "):
        Cade(CadeSettings(weights=str(path)))
    save_weights(StrainNetF(1 / 32), path, {"network": "cade", "width": "0.125"})
    with pytest.raises(InputError, match=r"StrainNetF with 'convolutions.0.weight' of shape \(8, 2, 7, 7\)"):
        Cade(CadeSettings(weights=str(path)))


@pytest.mark.slow
def test_the_exported_graph_gives_what_the_method_gives(tmp_path):
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name, reason="ONNX is written by onnx and onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX files are run by onnxruntime")
    from speckleflow.stages.export_network import export_network

    pair = make_pair((75, 91), 1, ux=bump(0.5), uy=bump(-0.3))
    np.save(tmp_path / "reference.npy", 700 * pair.reference.numpy())
    output = tmp_path / "cade.onnx"
    export_network(method="cade", reference=str(tmp_path / "reference.npy"), output=output, weights=None)
    session = runtime.InferenceSession(output)
    given = {"reference": 500 * pair.reference.numpy(), "sample": 500 * pair.sample[None].numpy()}
    names = [entry.name for entry in session.get_outputs()]
    assert names == ["ux", "uy", "transmission_measured", "beyond_range"]
    found = dict(zip(names, session.run(None, given), strict=True))
    method = Cade(CadeSettings())
    fields = dict(method(pair.sample[None], method.prepare(pair.reference)).items())
    for name in names[:3]:
        assert np.abs(found[name] - fields[name].numpy()).max() < 5e-4, name
    assert session.get_modelmeta().custom_metadata_map["speckleflow.grid"] == "reference"
