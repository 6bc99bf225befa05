"""The published structure equals the published code's outputs, and its helpers do what the paper says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speckleflow.retrieval.espinnet import weights
from speckleflow.retrieval.espinnet.layers import cost_volume, pad_to_multiple, unpad
from speckleflow.retrieval.espinnet.published import Espinnet
from speckleflow.retrieval.espinnet.retriever import Espinnet as Method
from speckleflow.retrieval.espinnet.scaling import scale_positions, scaling_matrix
from speckleflow.retrieval.espinnet.settings import EspinnetSettings
from speckleflow.retrieval.sampling import pull, warp


@pytest.fixture(scope="module")
def parity(shared_data):
    folder = shared_data("espinnet-parity")
    network = Espinnet()
    weights.load(network, folder / "random_model_001500.pt")
    return network.eval(), np.load(folder / "input_output.npz")


def test_parameters():
    assert sum(p.numel() for p in Espinnet().parameters()) == 4_133_334


@pytest.mark.parametrize("refiners", [False, True])
def test_parity_with_the_published_code(parity, refiners):
    network, truth = parity
    stacks = torch.from_numpy(truth["input"])[None]
    with torch.inference_mode():
        found = network(stacks[:, :20], stacks[:, 20:], refiners)
    state = "on" if refiners else "off"
    for field, name in zip(found, ("flow", "T", "D"), strict=True):
        np.testing.assert_allclose(field[0].squeeze(0), truth[f"refiner_{state}_{name}"], atol=1e-4)


def test_method_pads_scales_and_returns_on_the_reference_grid(shared_data, parity):
    path = shared_data("espinnet-parity") / "random_model_001500.pt"
    method = Method(EspinnetSettings(weights=str(path)))
    generator = torch.Generator().manual_seed(1)
    reference = 1 + 0.3 * torch.rand(5, 70, 90, generator=generator)
    sample = 1 + 0.3 * torch.rand(2, 5, 70, 90, generator=generator)
    fields = method(sample, method.prepare(reference))
    assert fields.ux is not None
    assert fields.ux.shape == (2, 70, 90)
    padded, padding = pad_to_multiple(torch.cat([reference[None], sample]) / reference.mean(), 64)
    stack = scale_positions(padded, 20, "nearest")
    with torch.inference_mode():
        landing = unpad(parity[0](stack[:1].expand(2, -1, -1, -1), stack[1:]).displacement, padding)
    # what the network says at y = x + u belongs to x
    again = pull(landing, torch.stack([fields.ux, fields.uy], 1))
    inside = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(again[inside], torch.stack([fields.ux, fields.uy], 1)[inside], atol=5e-3)


def test_warp_moves_and_pull_brings_back():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1
    u = torch.zeros(1, 2, 9, 9)
    u[:, 0], u[:, 1] = 2, -1  # to the right and up
    assert warp(image, u)[0, 0, 3, 6] == pytest.approx(1)
    assert pull(warp(image, u), u)[0, 0, 4, 4] == pytest.approx(1)


def test_cost_volume_order_and_zero_padding():
    fixed, moving = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)
    fixed[:, :, 4, 4], moving[:, :, 5, 2] = 2, 3  # y shift +1, x shift -2
    volume = cost_volume(fixed, moving, 3)
    assert volume.shape == (1, 49, 8, 8)
    assert volume[0, (1 + 3) * 7 + (-2 + 3), 4, 4] == pytest.approx(6)
    assert volume.sum() == pytest.approx(6)


def test_scaling():
    frames = torch.arange(10.0).view(10, 1, 1).expand(-1, 2, 3)
    doubled = scale_positions(frames, 20, "nearest")[:, 0, 0]
    assert doubled.tolist() == [float(i // 2) for i in range(20)]
    linear = scale_positions(frames, 20, "linear")[:, 0, 0]
    np.testing.assert_allclose(linear, np.linspace(0, 9, 20), atol=1e-5)
    cubes = scale_positions(frames**3, 20, "spline")[:, 0, 0]
    np.testing.assert_allclose(cubes, np.linspace(0, 9, 20) ** 3, atol=1e-3)  # a cubic spline is exact here
    many = torch.arange(30.0).view(30, 1, 1)
    assert scale_positions(many, 20, "spline").flatten().tolist() == list(range(20))
    for how in ("nearest", "linear", "spline"):
        for n in (1, 2, 3, 7):
            np.testing.assert_allclose(scaling_matrix(n, 20, how).sum(1), 1, atol=1e-5)
