"""ESPINNet as published: Qiao, Yao et al., J. Synchrotron Rad. (2026), sec. 2.2-2.3 and Fig. 2."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speckleflow.retrieval.espinnet.layers import conv_block, cost_volume, estimator
from speckleflow.retrieval.sampling import warp

CHANNELS = (20, 32, 64, 96, 128, 192)
WIDTHS = (64, 128, 96, 64, 32)
REACH = 3
POSITIONS = CHANNELS[0]  #: N_net, the number of frames that the network takes
MULTIPLE = 64  #: height and width must be multiples of this
#: farthest pixel that a result depends on: estimator (5), search (3), feature extraction (3) and enlargement
#: (2) at each of the scales 1/32 to 1, and the refiners (5)
HALO = 13 * (32 + 16 + 8 + 4 + 2 + 1) + 5


class Output(NamedTuple):
    """Displacement (B, 2, y, x) in px on the DETECTOR grid, channel 0 = x; transmission and dark field (B, 1,
    y, x).
    """

    displacement: Tensor
    transmission: Tensor
    darkfield: Tensor


class Upsample2x(nn.Module):
    """Upsampling by 2: nearest neighbour, then a learned depth-wise 3x3 convolution that starts as
    bilinear.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        kernel = torch.tensor([1.0, 2.0, 1.0])
        with torch.no_grad():
            self.conv.weight.copy_((kernel[:, None] * kernel / 16).expand_as(self.conv.weight))
            assert self.conv.bias is not None
            self.conv.bias.zero_()

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(F.interpolate(image, scale_factor=2.0, mode="nearest"))


class Espinnet(nn.Module):
    """The published structure, 4,133,334 parameters with its refiners (which are built always).

    ``forward`` takes reference and sample stacks (B, 20, y, x), divided by the mean of the reference stack,
    y and x multiples of 64.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(conv_block(a, b, 2), conv_block(b, b)) for a, b in pairwise(CHANNELS)
        )
        self.encoder_full = nn.Sequential(conv_block(POSITIONS, POSITIONS), conv_block(POSITIONS, POSITIONS))
        self.upsample = Upsample2x(2)
        correlations = (2 * REACH + 1) ** 2
        self.displacement = nn.ModuleList(estimator(2 + correlations, 2, WIDTHS) for _ in CHANNELS)
        self.transmission = estimator(2, 1, WIDTHS)
        self.darkfield = estimator(2, 1, WIDTHS)
        self.refine_displacement = estimator(2 * POSITIONS + 4, 2, WIDTHS)
        self.refine_transmission = estimator(2 * POSITIONS + 6, 1, WIDTHS)
        self.refine_darkfield = estimator(2 * POSITIONS + 6, 1, WIDTHS)

    def features(self, stack: Tensor) -> list[Tensor]:
        """Features of all scales, coarsest (1/32) first, full resolution last."""
        full, features = self.encoder_full(stack), []
        for level in self.encoder:
            stack = level(stack)
            features.append(stack)
        return [*features[::-1], full]

    def pyramid(self, reference: list[Tensor], sample: list[Tensor], scales: int = 6) -> list[Tensor]:
        """Displacement (B, 2, y, x) of each scale from the coarsest, in pixels of that scale."""
        displacements: list[Tensor] = []
        for r, s, estimate in zip(reference[:scales], sample, self.displacement, strict=False):
            u = 2 * self.upsample(displacements[-1]) if displacements else torch.zeros_like(r[:, :2])
            correlation = F.leaky_relu(cost_volume(s, warp(r, u), REACH), 0.01)
            displacements.append(estimate(torch.cat([u, correlation], 1)))
        return displacements

    def contrasts(self, reference: Tensor, sample: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Transmission and dark field (B, 1, y, x) for the displacement ``u`` at full resolution."""
        warped = warp(reference, u)
        t = self.transmission(torch.cat([sample.mean(1, True), warped.mean(1, True)], 1))
        d = self.darkfield(torch.cat([sample.std(1, keepdim=True), (warped * t).std(1, keepdim=True)], 1))
        return t, d

    def refine(
        self, reference: Tensor, sample: Tensor, features: tuple[Tensor, Tensor], fields: Output
    ) -> Output:
        """The refiners: each adds a correction to its field."""
        u, t, d = fields
        u = u + self.refine_displacement(torch.cat([*features, u, t, d], 1))
        warped = warp(reference, u)
        mean = warped.mean(1, True)
        model = t * (mean + d * (warped - mean))
        means = [sample.mean(1, True), model.mean(1, True)]
        t = t + self.refine_transmission(torch.cat([model, sample, *means, u, t, d], 1))
        model = t * (mean + d * (warped - mean))
        # the population formula here, the sample formula in `contrasts`: so are the published weights trained
        spreads = [stack.var(1, correction=0, keepdim=True).sqrt() for stack in (sample, model)]
        d = d + self.refine_darkfield(torch.cat([model, sample, *spreads, u, t, d], 1))
        return Output(u, t, d)

    def forward(self, reference: Tensor, sample: Tensor, refiners: bool = False) -> Output:
        """Fields of a batch at full resolution."""
        of_reference, of_sample = self.features(reference), self.features(sample)
        u = self.pyramid(of_reference, of_sample)[-1]
        fields = Output(u, *self.contrasts(reference, sample, u))
        return (
            self.refine(reference, sample, (of_reference[-1], of_sample[-1]), fields) if refiners else fields
        )
