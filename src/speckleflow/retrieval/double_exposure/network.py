"""Generator and discriminators of pix2pixHD as in Yu et al., IUCrJ (2024), "Dynamic X-ray speckle-tracking imaging",
sec. 2.2.

The generator makes the in-line image, which the sample gives without a diffuser, from the speckle frame with sample
less the one without. What the paper leaves open is as in pix2pixHD: mirrored borders of 3 and 1 px, instance
normalisation without weights, padding of 2 px in the discriminators.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: channels of the generator's first layer at full width; each of its four halvings doubles them
GENERATOR_CHANNELS = 64
HALVINGS, BLOCKS = 4, 9
#: channels of the discriminators' five blocks at full width
DISCRIMINATOR_CHANNELS = (64, 128, 256, 512, 512)
#: sides of what goes into the generator are multiples of this
MULTIPLE = 2**HALVINGS
#: The generator's output y in (-1, 1) is the in-line image SPAN ** y: 1/4 to 4 times the beam, fringes and shadows
#: alike.
SPAN = 4.0


class Generator(nn.Module):
    """Generator; ``width`` multiplies the channels of every layer (1: as published, 182 million parameters).

    ``inputs``: 1 for the difference of the frames as in the paper, 2 with the frame without sample beside it.
    """

    def __init__(self, width: float = 1.0, inputs: int = 1) -> None:
        super().__init__()
        self.width, self.inputs = width, inputs
        channels = max(1, round(GENERATOR_CHANNELS * width))
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(inputs, channels, 7),
            *_normalised(channels),
        ]
        for _ in range(HALVINGS):
            layers += [nn.Conv2d(channels, 2 * channels, 3, 2, 1), *_normalised(2 * channels)]
            channels *= 2
        layers += [Residual(channels) for _ in range(BLOCKS)]
        for _ in range(HALVINGS):
            layers += [
                nn.ConvTranspose2d(channels, channels // 2, 3, 2, 1, output_padding=1),
                *_normalised(channels // 2),
            ]
            channels //= 2
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(channels, 1, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Output y (B, 1, y, x) in (-1, 1) of an input (B, inputs, y, x) whose sides are multiples of 16."""
        y: Tensor = self.layers(x)
        return y


class Residual(nn.Module):
    """Two convolutions whose result is added to what went in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            *_normalised(channels),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Sum."""
        y: Tensor = x + self.layers(x)
        return y


def _normalised(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(channels), nn.ReLU()


class Discriminator(nn.Module):
    """Judges patches of (input, in-line image) pairs: real or made."""

    def __init__(self, inputs: int, width: float = 1.0) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for number, full in enumerate(DISCRIMINATOR_CHANNELS):
            channels = max(1, round(full * width))
            layers: list[nn.Module] = [nn.Conv2d(inputs, channels, 4, 2, 2)]
            if number:
                layers.append(nn.InstanceNorm2d(channels))
            blocks.append(nn.Sequential(*layers, nn.LeakyReLU(0.2)))
            inputs = channels
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Conv2d(inputs, 1, 4, 1, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Outputs of the five blocks, and last the logit of every patch."""
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return [*outputs, self.last(x)]


class Discriminators(nn.Module):
    """One for the images, one for the images at half their resolution."""

    def __init__(self, inputs: int = 1, width: float = 1.0) -> None:
        super().__init__()
        self.each = nn.ModuleList(Discriminator(inputs + 1, width) for _ in range(2))

    def forward(self, x: Tensor, y: Tensor) -> list[list[Tensor]]:
        """What each makes of the input x (B, inputs, y, x) and an in-line image y (B, 1, y, x)."""
        pair = torch.cat([x, y], 1)
        return [self.each[0](pair), self.each[1](F.avg_pool2d(pair, 2))]


def to_input(reference: Tensor, speckle: Tensor, inputs: int) -> Tensor:
    """Input (B, inputs, y, x) from frames (B, 1, y, x) without and with sample, in units of the reference's mean."""
    difference = speckle - reference
    return difference if inputs == 1 else torch.cat([difference, reference - 1], 1)


def to_transmission(y: Tensor) -> Tensor:
    """In-line image from the generator's output."""
    return SPAN**y


def from_transmission(inline: Tensor) -> Tensor:
    """What the generator should put out for an in-line image; what is beyond 1/SPAN ... SPAN is cut."""
    return (inline.clamp(1 / SPAN, SPAN).log() / torch.log(inline.new_tensor(SPAN))).clamp(-1, 1)
