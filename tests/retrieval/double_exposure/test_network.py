"""Generator and discriminators: parameters and shapes of the published structure, meaning of input and output."""

from __future__ import annotations

import pytest
import torch

from speckleflow.retrieval.double_exposure.network import (
    Discriminators,
    Generator,
    from_transmission,
    to_input,
    to_transmission,
)


def conv(kernel: int, inputs: int, outputs: int) -> int:
    return kernel * kernel * inputs * outputs + outputs


# Yu et al., sec. 2.2: 7x7 to 64; four 3x3 of stride 2; nine blocks of two 3x3; four transposed 3x3; 7x7 to the image
GENERATOR = (
    conv(7, 1, 64)
    + sum(conv(3, c, 2 * c) for c in (64, 128, 256, 512))
    + 9 * 2 * conv(3, 1024, 1024)
    + sum(conv(3, c, c // 2) for c in (1024, 512, 256, 128))
    + conv(7, 64, 1)
)
# two of: five blocks of 4x4 and stride 2, then 4x4 to the logit; they see the input and the image
DISCRIMINATOR = (
    conv(4, 2, 64)
    + sum(conv(4, a, b) for a, b in ((64, 128), (128, 256), (256, 512), (512, 512)))
    + conv(4, 512, 1)
)


def kinds(network: torch.nn.Module, name: str) -> int:
    return sum(type(m).__name__ == name for m in network.modules())


def test_parameters_are_those_of_the_published_structure():
    with torch.device("meta"):  # 182 million
        generator, discriminators = Generator(), Discriminators()
    assert sum(p.numel() for p in generator.parameters()) == GENERATOR == 182_430_721
    assert sum(p.numel() for p in discriminators.parameters()) == 2 * DISCRIMINATOR == 13_917_058
    assert kinds(generator, "ConvTranspose2d") == 4
    assert kinds(generator, "Residual") == 9
    assert kinds(generator, "InstanceNorm2d") == 1 + 4 + 2 * 9 + 4
    assert kinds(discriminators, "InstanceNorm2d") == 2 * 4
    assert isinstance(generator.layers[-1], torch.nn.Tanh)


def test_images_keep_their_size_and_discriminators_halve_five_times():
    x, y = torch.randn(2, 2, 64, 96), torch.randn(2, 1, 64, 96)
    assert Generator(1 / 32, inputs=2)(x).shape == (2, 1, 64, 96)
    full, half = Discriminators(2, 1 / 32)(x, y)
    assert [len(full), len(half)] == [6, 6]
    assert [tuple(f.shape[-2:]) for f in full] == [(33, 49), (17, 25), (9, 13), (5, 7), (3, 4), (4, 5)]
    assert half[0].shape[-2:] == (17, 25)


def test_input_is_the_difference_of_the_frames():
    reference = torch.tensor([[[[1.25, 0.5]]]])
    speckle = torch.tensor([[[[1.0, 1.5]]]])
    assert to_input(reference, speckle, 1).tolist() == [[[[-0.25, 1.0]]]]
    assert to_input(reference, speckle, 2)[0, :, 0].tolist() == [[-0.25, 1.0], [0.25, -0.5]]


def test_output_is_the_logarithm_of_the_image_to_the_base_of_four():
    inline = torch.tensor([0.25, 0.5, 1.0, 2.0, 4.0])
    y = from_transmission(inline)
    assert y.tolist() == pytest.approx([-1, -0.5, 0, 0.5, 1])
    assert to_transmission(y).tolist() == pytest.approx(inline.tolist())
    assert from_transmission(torch.tensor([0.0, 100.0])).tolist() == pytest.approx([-1, 1])
