"""StrainNet-f for speckle: Shi et al., "Convolutional neural network-based single-shot speckle tracking", sec. II-C.

FlowNetS whose first two convolutions keep the full resolution: ten convolutions (7x7, 5x5, 5x5, 3x3 ...), four of
them of stride 2, and on the way back four steps of a transposed convolution of the features and one of the
displacement. Displacements are predicted on five scales, 1/16 to 1. What the paper leaves open is as in FlowNetS
(leaky ReLU 0.1, 4x4 transposed convolutions of stride 2, no normalisation of layers).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speckleflow.retrieval.filters import filter_xy, gaussian

#: (kernel, channels at full width, stride) of the ten convolutions
CONVOLUTIONS = (
    (7, 64, 1),
    (5, 128, 1),
    (5, 256, 2),
    (3, 256, 1),
    (3, 512, 2),
    (3, 512, 1),
    (3, 512, 2),
    (3, 512, 1),
    (3, 1024, 2),
    (3, 1024, 1),
)
#: number of the convolutions after which a scale is complete, finest scale first
SCALE_ENDS = (2, 4, 6, 8, 10)
#: channels at full width of the transposed convolutions of features, coarsest first
ENLARGED = (512, 256, 128, 64)
#: The network predicts the displacement over this ("div flow" of the paper's Table 1).
DISPLACEMENT_SCALE_PX = 2.0
#: Frames are divided by their mean over a Gaussian of this standard deviation in px: wide beside a speckle (2-10 px
#: full width), narrow beside the shape of a beam.
MEAN_SIGMA_PX = 12.0
_MEAN = gaussian(MEAN_SIGMA_PX, truncate=3.0)
#: sides of what goes in are multiples of this
MULTIPLE = 16
#: farthest pixel that a displacement depends on
HALO = 112


class StrainNetF(nn.Module):
    """The network; ``width`` multiplies the channels of every layer (1: as published, 38.66 million parameters)."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = width
        channels = [2, *(scaled_channels(c, width) for _, c, _ in CONVOLUTIONS)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, kernel, stride, kernel // 2)
            for (a, b), (kernel, _, stride) in zip(pairwise(channels), CONVOLUTIONS, strict=True)
        )
        skipped = [channels[end] for end in SCALE_ENDS][::-1]  # coarsest first
        enlarged = [scaled_channels(c, width) for c in ENLARGED]
        inputs = [skipped[0], *(s + e + 2 for s, e in zip(skipped[1:], enlarged, strict=True))]
        predictions = [nn.Conv2d(c, 2, 3, 1, 1) for c in inputs]
        self.predict = nn.ModuleList(predictions)
        self.enlarge_features = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(inputs[:-1], enlarged, strict=True)
        )
        self.enlarge_displacement = nn.ModuleList(nn.ConvTranspose2d(2, 2, 4, 2, 1) for _ in enlarged)
        for layer in (*self.convolutions, *self.enlarge_features):
            nn.init.kaiming_normal_(layer.weight, a=0.1)
            nn.init.zeros_(layer.bias)
        for layer in predictions:  # so that training begins near zero displacement
            nn.init.normal_(layer.weight, std=1e-3)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def scales(self, pair: Tensor) -> list[Tensor]:
        """Displacements (B, 2, y, x) in pixels of full resolution, at 1/16, 1/8, 1/4, 1/2 and 1 of it."""
        features, x = [], pair
        for number, convolution in enumerate(self.convolutions, start=1):
            x = F.leaky_relu(convolution(x), 0.1)
            if number in SCALE_ENDS:
                features.append(x)
        features.reverse()
        x, found = features[0], [self.predict[0](features[0])]
        steps = zip(
            features[1:], self.enlarge_features, self.enlarge_displacement, self.predict[1:], strict=True
        )
        for skipped, of_features, of_displacement, predict in steps:
            wider = F.leaky_relu(of_features(x), 0.1)
            x = torch.cat([skipped, wider, of_displacement(found[-1])], 1)
            found.append(predict(x))
        return [DISPLACEMENT_SCALE_PX * u for u in found]

    def forward(self, pair: Tensor) -> Tensor:
        """Displacement (B, 2, y, x) in px on the reference grid of a :func:`normalised` pair (B, 2, y, x)."""
        return self.scales(pair)[-1]


def scaled_channels(channels: int, width: float) -> int:
    """Channels of a layer that has ``channels`` at full width."""
    return max(1, round(channels * width))


def flattened(images: Tensor) -> Tensor:
    """Images (..., y, x) over their local mean, less 1."""
    height, width = images.shape[-2:]
    flat = images.reshape(-1, height, width)
    smooth = filter_xy(flat, _MEAN, _MEAN, "zero") / filter_xy(
        torch.ones_like(flat[:1]), _MEAN, _MEAN, "zero"
    )
    return (flat / smooth.clamp_min(1e-6) - 1).reshape(images.shape)


def normalised(reference: Tensor, sample: Tensor) -> Tensor:
    """What the network is shown, (B, 2, y, x), of references and samples (B, 1, y, x).

    Each frame over its local mean, less 1; both over the standard deviation of the reference. The shape of the beam
    and most of the sample's absorption are gone, and patterns of every visibility have the same contrast.
    """
    pattern = flattened(reference)
    contrast = pattern.square().mean((-1, -2), keepdim=True).sqrt().clamp_min(1e-6)
    return torch.cat([pattern, flattened(sample)], 1) / contrast
