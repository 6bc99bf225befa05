"""SPINNet as published: Qiao, Shi et al., arXiv:2201.07232, sec. 2.2 and Fig. S2.

What the paper leaves open is chosen as in its successor (ESPINNet): two convolutions a level, the cost
volume's leaky ReLU, bilinear enlargement of displacement and transmission from level to level, and refiners
at full resolution that see both images beside the fields.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speckleflow.retrieval.espinnet.layers import conv_block, cost_volume, estimator
from speckleflow.retrieval.sampling import pull, warp

CHANNELS = (1, 16, 32, 64, 96, 128)  #: levels 1 (the image) to 6
WIDTHS = (128, 128, 96, 64, 32)
REACH = 3
MULTIPLE = 32
#: farthest pixel that a result depends on: estimator (6), search (3), extraction (3), enlargement (1) at the
#: scales 1/32 to 1/2, and the refiners (5)
HALO = 13 * (32 + 16 + 8 + 4 + 2) + 5


class Output(NamedTuple):
    """Displacement (B, 2, y, x) in px on the DETECTOR grid, transmission (B, 1, y, x) on the REFERENCE
    grid.
    """

    displacement: Tensor
    transmission: Tensor


class Spinnet(nn.Module):
    """The published structure; ``forward`` takes one reference and one sample image (B, 1, y, x) each."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_reference, self.encoder_sample = (
            nn.ModuleList(nn.Sequential(conv_block(a, b, 2), conv_block(b, b)) for a, b in pairwise(CHANNELS))
            for _ in range(2)
        )
        correlations = (2 * REACH + 1) ** 2
        levels = len(CHANNELS) - 1
        self.displacement = nn.ModuleList(estimator(2 + correlations, 2, WIDTHS, 3) for _ in range(levels))
        self.transmission = nn.ModuleList(estimator(3, 1, WIDTHS, 3) for _ in range(levels))
        self.refine_displacement = estimator(5, 2, WIDTHS)
        self.refine_transmission = estimator(5, 1, WIDTHS)

    def levels(self, reference: Tensor, sample: Tensor) -> list[Output]:
        """Displacement (in pixels of the level) and transmission of the levels 6 to 2, coarsest first."""
        images, features = [(reference, sample)], [(reference, sample)]
        for of_reference, of_sample in zip(self.encoder_reference, self.encoder_sample, strict=True):
            images.append((F.avg_pool2d(images[-1][0], 2), F.avg_pool2d(images[-1][1], 2)))
            features.append((of_reference(features[-1][0]), of_sample(features[-1][1])))
        outputs: list[Output] = []
        estimators = zip(self.displacement, self.transmission, strict=True)
        for (p_r, p_s), (i_r, i_s), (phase, t_net) in zip(
            features[:0:-1], images[:0:-1], estimators, strict=True
        ):
            if outputs:
                u, t = 2 * upsample2x(outputs[-1].displacement), upsample2x(outputs[-1].transmission)
            else:
                u, t = torch.zeros_like(p_r[:, :2]), torch.ones_like(p_r[:, :1])
            correlation = F.leaky_relu(cost_volume(p_s, warp(p_r, u), REACH), 0.01)
            u = phase(torch.cat([u, correlation], 1))
            t = t_net(torch.cat([i_r, pull(i_s, u), t], 1))
            outputs.append(Output(u, t))
        return outputs

    def refine(self, reference: Tensor, sample: Tensor, coarse: Output) -> Output:
        """Full-resolution fields from those of level 2, refined."""
        u, t = 2 * upsample2x(coarse.displacement), upsample2x(coarse.transmission)
        u = u + self.refine_displacement(torch.cat([reference, sample, u, t], 1))
        t = t + self.refine_transmission(torch.cat([reference, pull(sample, u), u, t], 1))
        return Output(u, t)

    def forward(self, reference: Tensor, sample: Tensor) -> Output:
        return self.refine(reference, sample, self.levels(reference, sample)[-1])


def upsample2x(image: Tensor) -> Tensor:
    """Bilinear enlargement by 2."""
    return F.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)
