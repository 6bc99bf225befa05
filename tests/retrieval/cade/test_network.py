"""StrainNet-f: parameters and shapes of the published structure, reach, normalisation."""

from __future__ import annotations

import pytest
import torch

from speckleflow.retrieval.cade.network import (
    DISPLACEMENT_SCALE_PX,
    HALO,
    MULTIPLE,
    StrainNetF,
    normalised,
)

# Shi et al., Fig. 2, with FlowNetS's channels: kernel^2 x in x out + out
CONVOLUTIONS = {
    "conv1": 7 * 7 * 2 * 64 + 64,
    "conv2": 5 * 5 * 64 * 128 + 128,
    "conv3": 5 * 5 * 128 * 256 + 256,
    "conv3_1": 3 * 3 * 256 * 256 + 256,
    "conv4": 3 * 3 * 256 * 512 + 512,
    "conv4_1": 3 * 3 * 512 * 512 + 512,
    "conv5": 3 * 3 * 512 * 512 + 512,
    "conv5_1": 3 * 3 * 512 * 512 + 512,
    "conv6": 3 * 3 * 512 * 1024 + 1024,
    "conv6_1": 3 * 3 * 1024 * 1024 + 1024,
}
#: what each prediction sees: the skipped features, the enlarged ones, the enlarged displacement
SEEN = (1024, 512 + 512 + 2, 512 + 256 + 2, 256 + 128 + 2, 128 + 64 + 2)
PREDICTIONS = sum(3 * 3 * seen * 2 + 2 for seen in SEEN)
TRANSPOSED = sum(4 * 4 * seen * out + out for seen, out in zip(SEEN, (512, 256, 128, 64), strict=False))
OF_DISPLACEMENT = 4 * (4 * 4 * 2 * 2 + 2)


def test_parameters_are_those_of_the_published_structure():
    network = StrainNetF()
    count = sum(p.numel() for p in network.parameters())
    assert count == sum(CONVOLUTIONS.values()) + PREDICTIONS + TRANSPOSED + OF_DISPLACEMENT == 38_663_970
    kinds = [type(m).__name__ for m in network.modules()]
    assert kinds.count("Conv2d") == 10 + 5
    assert kinds.count("ConvTranspose2d") == 8
    assert [c.kernel_size[0] for c in network.convolutions] == [7, 5, 5] + 7 * [3]
    assert [c.stride[0] for c in network.convolutions].count(2) == 4


def test_scales_are_a_sixteenth_to_full_resolution():
    scales = StrainNetF(1 / 32).scales(torch.zeros(3, 2, 48, 80))
    assert [tuple(s.shape) for s in scales] == [(3, 2, 48 // k, 80 // k) for k in (16, 8, 4, 2, 1)]


def test_reach_is_the_halo():
    torch.manual_seed(0)
    network = StrainNetF(1 / 64).double()
    for parameter in network.parameters():  # nothing may cancel
        parameter.data = parameter.data.abs() + 0.1
    farthest = 0
    for offset in range(MULTIPLE):
        pair = torch.ones(1, 2, 16, 480, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(pair)[0, 0, 8, 240 + offset], pair)
        columns = gradient[0].abs().amax((0, 1)).nonzero()[:, 0]
        farthest = max(farthest, *(abs(int(edge) - 240 - offset) for edge in (columns[0], columns[-1])))
    assert farthest == HALO


def test_predictions_count_in_units_of_two_pixels():
    network = StrainNetF(1 / 32)
    with torch.no_grad():
        network.predict[-1].weight.zero_()
        network.predict[-1].bias.copy_(torch.tensor([0.25, -0.5]))
    u = network(torch.zeros(1, 2, 16, 16))
    assert DISPLACEMENT_SCALE_PX == 2.0
    assert u[0, 0].eq(0.5).all()
    assert u[0, 1].eq(-1.0).all()


def test_normalised_pairs_do_not_depend_on_beam_absorption_and_visibility():
    generator = torch.Generator().manual_seed(1)
    pattern = torch.randn(1, 1, 120, 144, generator=generator)
    beam = torch.linspace(0.8, 1.2, 144).expand(1, 1, 120, 144)
    plain = normalised(1 + 0.2 * pattern, 1 + 0.2 * pattern)
    assert plain[0, 0].square().mean() == pytest.approx(1.0, rel=1e-5)
    faint = normalised(7 * beam * (1 + 0.05 * pattern), 3 * beam * (1 + 0.05 * pattern))
    inner = (..., slice(37, -37), slice(37, -37))  # where the mean's window is whole
    # the local means divide noise by noise: the difference of 0.2 and 0.05 times it, measured 0.008
    assert (faint - plain)[inner].abs().mean() < 0.025
    assert (faint[:, :1] - faint[:, 1:])[inner].abs().max() < 1e-4
