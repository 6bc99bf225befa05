"""Losses: what a network's fields are compared with, on every scale."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from speckleflow.evaluate.phase import least_squares_phase
from speckleflow.retrieval.filters import gaussian, smooth

#: displacements below this (px) count as this in the relative error of eq. (3): smaller ones are drowned by
#: noise
SMALLEST_PX = 0.1
#: predicted standard deviations are kept above this (px): interpolation alone costs as much
LEAST_SIGMA_PX = 1e-3
#: share of Gaussian errors within one standard deviation
ONE_SIGMA = 0.6827
#: pixels next to the border whose rays mostly leave the image
BORDER_PX = 8
#: standard deviation of the windows in which the broad part of an error is seen: wider than any that a method averages
BROAD_PX = 6.0
#: broad errors below this (px) are good enough: a twentieth of LEAST_SIGMA_PX, as many independent pixels have it
LEAST_BROAD_PX = 5e-5
#: phase errors below this (px^2) are good enough: 5e-4 rad at 14 keV, 0.65 um and 0.33 m
LEAST_PHASE_PX2 = 1e-3
_WIDE = gaussian(BROAD_PX, truncate=3.0)


def relative_error(found: Tensor, truth: Tensor, floor: float = 0.0) -> Tensor:
    """Mean over the batch of |found - truth|^2 / |truth|^2 (eq. 3 of Qiao et al., J. Synchrotron Rad., 2026)."""
    sums = ((found - truth) ** 2).mean((1, 2, 3)) / ((truth**2).mean((1, 2, 3)) + floor**2)
    return sums.mean()


def laplace(found: Tensor, truth: Tensor, log_sigma: Tensor) -> Tensor:
    """Negative log likelihood of Laplace errors of standard deviation exp(log_sigma), without its constant.

    Laplace, because a displacement that locks on to the wrong speckle is an outlier, not a Gaussian error.
    Pixels are weighted by the root of their own predicted error (Seitzer et al., ICLR 2022): else the
    gradient falls with 1 / sigma and edges, which are hard and few, are given up.
    """
    log_sigma = log_sigma.clamp(math.log(LEAST_SIGMA_PX), math.log(30.0))
    weight = (0.5 * log_sigma.detach()).exp()
    each = math.sqrt(2) * (found - truth).abs() * torch.exp(-log_sigma) + log_sigma
    return (weight * each).mean() / weight.mean()


def displacement_loss(found: Tensor, log_sigma: Tensor | None, truth: Tensor) -> Tensor:
    """Loss of a displacement (B, 2, y, x) in px at any scale; the truth is averaged over the pixels of that
    scale.

    The sum of the Laplace likelihood (where the network predicts its error), the L1 error in px and the
    relative error of eq. (3); the weights keep the last two at a few tenths of the first on average scenes.
    """
    side = truth.shape[-1] // found.shape[-1]
    truth = F.avg_pool2d(truth, side) if side > 1 else truth
    loss = 0.5 * F.l1_loss(found, truth) + 0.1 * relative_error(found, truth, SMALLEST_PX).clamp_max(10)
    if log_sigma is not None:
        loss = loss + laplace(found, truth, log_sigma)
    return loss


def scene_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Log of the RMSE of each scene's displacement (B, 2, y, x), mean over the batch, without the border.

    The log makes all scenes count alike, whatever their photons and contrast: it is the geometric mean of a
    table's cells that falls. Within a scene it is squares that count: absolute errors are least for the median,
    which at an edge, where the displacement's distribution is skewed, is less than the mean, and so is its integral.
    """
    error = (found - truth)[..., BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    return 0.5 * (error.square().mean((1, 2, 3)) + LEAST_SIGMA_PX**2).log().mean()


def broad_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Log of the RMS of the error of each scene's displacement (B, 2, y, x) averaged over Gaussians of BROAD_PX, mean
    over the batch, without the border.

    Phase is an integral of the displacement: what is taken off edges and put nowhere else, a few hundredths of a
    pixel over ten, is missing in all that lies behind, and no pixel's error tells.
    """
    error = smooth(found - truth, _WIDE)[..., BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    return 0.5 * (error.square().mean((1, 2, 3)) + LEAST_BROAD_PX**2).log().mean()


def phase_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Log of the RMS error of each scene's phase in px^2, mean over the batch, without the border.

    ``found`` and ``truth``: displacements (B, 2, y, x); the mean of the phase is free.
    """
    error = (found - truth)[..., BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    phase = least_squares_phase(error)
    return 0.5 * (phase.square().mean((1, 2)) + LEAST_PHASE_PX2**2).log().mean()


def quantile_loss(found: Tensor, truth: Tensor, log_sigma: Tensor) -> Tensor:
    """Pinball loss of log sigma: least where ONE_SIGMA of the errors are within sigma, whatever their distribution.

    The displacement is taken as it is: its errors teach sigma, sigma does not teach it.
    """
    above = ((found.detach() - truth).abs() + 1e-5).log() - log_sigma
    return torch.maximum(ONE_SIGMA * above, (ONE_SIGMA - 1) * above).mean()


def contrast_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Log of the root mean square error of a scene's T or D (B, 1, y, x), mean over the batch.

    The log makes a clean and a noisy scene count alike; errors below 1e-3 are good enough for anybody.
    """
    return 0.5 * ((found - truth).square().mean((1, 2, 3)) + 1e-6).log().mean()
