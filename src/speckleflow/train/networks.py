"""The networks that can be trained, behind one small interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speckleflow.errors import ConfigError
from speckleflow.retrieval.espinnet.fast import FastEspinnet, Scale
from speckleflow.retrieval.espinnet.published import POSITIONS, Espinnet, Output
from speckleflow.retrieval.espinnet.scaling import scale_positions
from speckleflow.retrieval.sampling import pull
from speckleflow.retrieval.spinnet.published import Spinnet
from speckleflow.train.config import TrainConfig
from speckleflow.train.loss import (
    broad_loss,
    contrast_loss,
    displacement_loss,
    phase_loss,
    quantile_loss,
    relative_error,
    scene_loss,
)
from speckleflow.train.stream import Batch

#: beta of eq. (3) for transmission and dark field
BETA = 10.0
#: weight of a scale over that of the next finer one: of six scales the coarsest keeps a sixth, or capture
#: not be learned
FADING = 0.7
#: of the published network's six, those below full resolution
COARSE_SCALES = 5
#: share of the broad part of the displacement's error in the fast network's loss
BROAD = 1.0
#: share of the phase's error in the fast network's loss
PHASE = 1.0
#: share of T and of D in the fast network's loss; they touch little but their own weights, so any such
#: number does
CONTRASTS = 0.3


@dataclass(frozen=True)
class Trainable:
    """A structure and how it is trained.

    ``loss(network, batch, progress)`` gives the loss of one batch and its RMSE in px at full resolution;
    ``progress`` (0 to 1) counts through the coarse-first stage and says how many scales take part.
    """

    build: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Batch, float], tuple[Tensor, Tensor]]
    trains: tuple[str, ...] = ("",)  #: what the names of the trained parameters begin with


def rmse(found: Tensor, truth: Tensor) -> Tensor:
    """Root mean square error in px over both components."""
    return (found.detach().float() - truth).square().mean().sqrt()


def scale_weights(scales: int, progress: float) -> list[float]:
    """Weights of the scales, coarsest first: the finest counts most, by FADING from each to the next coarser.

    While ``progress`` is below 1 the finer scales join one by one.
    """
    joined = scales if progress >= 1 else max(1, min(scales, 1 + int(progress * scales)))
    return [FADING ** (joined - 1 - k) if k < joined else 0.0 for k in range(scales)]


def pyramid_loss(network: nn.Module, batch: Batch, progress: float) -> tuple[Tensor, Tensor]:
    """Loss over all scales of the fast network, without refinement."""
    assert isinstance(network, FastEspinnet)
    scales, _ = network(network.reference(batch.reference, refined=False), batch.sample, refined=False)
    return _scales_loss(scales, batch, progress), rmse(scales[-1].displacement, batch.displacement)


def fusion_loss(network: nn.Module, batch: Batch, progress: float) -> tuple[Tensor, Tensor]:
    """Loss of the fast network's last fields."""
    return _fast_losses(network, batch)[1:]


def fast_loss(network: nn.Module, batch: Batch, progress: float) -> tuple[Tensor, Tensor]:
    """Loss over all scales of the fast network, and of its last fields."""
    scales, loss, error = _fast_losses(network, batch)
    return _scales_loss(scales, batch, progress) + loss, error


def _scales_loss(scales: list[Scale], batch: Batch, progress: float) -> Tensor:
    loss = torch.zeros((), device=batch.sample.device)
    for weight, scale in zip(scale_weights(len(scales), progress), scales, strict=True):
        if weight:
            part = displacement_loss(scale.displacement.float(), scale.log_sigma.float(), batch.displacement)
            loss = loss + weight * part
    return loss


def _fast_losses(network: nn.Module, batch: Batch) -> tuple[list[Scale], Tensor, Tensor]:
    assert isinstance(network, FastEspinnet)
    reference = network.reference(batch.reference, blur_px=batch.blur_px.tolist())
    scales, last = network(reference, batch.sample)
    u = last.displacement.float()
    truth = batch.displacement
    loss = scene_loss(u, truth) + BROAD * broad_loss(u, truth) + PHASE * phase_loss(u, truth)
    loss = loss + quantile_loss(u, truth, last.log_sigma.float())
    loss = loss + CONTRASTS * contrast_loss(last.transmission, batch.transmission)
    loss = loss + CONTRASTS * contrast_loss(last.darkfield, batch.darkfield)
    return scales, loss, rmse(u, truth)


def published_loss(network: nn.Module, batch: Batch, progress: float) -> tuple[Tensor, Tensor]:
    """Eq. (3) at full resolution and the displacement's part of it on the coarser scales, refiners included.

    The published network works on the detector grid; it is compared there.
    """
    assert isinstance(network, Espinnet)
    reference, sample = (scale_positions(s, POSITIONS, "nearest") for s in (batch.reference, batch.sample))
    truth = to_detector_grid(torch.cat([batch.displacement, batch.transmission, batch.darkfield], 1))
    u, t, d = truth[:, :2], truth[:, 2:3], truth[:, 3:]
    of_reference, of_sample = network.features(reference), network.features(sample)
    scales = network.pyramid(of_reference, of_sample)
    weights = scale_weights(len(scales), progress)
    loss = torch.zeros((), device=u.device)
    for weight, scale in zip(weights, scales, strict=True):
        if weight:
            side = u.shape[-1] // scale.shape[-1]
            loss = loss + weight * displacement_loss(scale * side, None, u)
    if progress >= 1:
        plain = network.contrasts(reference, sample, scales[-1])
        refined = network.refine(
            reference, sample, (of_reference[-1], of_sample[-1]), Output(scales[-1], *plain)
        )
        loss = loss + displacement_loss(refined.displacement, None, u)
        for found, true in ((plain[0], t), (plain[1], d), (refined.transmission, t), (refined.darkfield, d)):
            loss = loss + BETA * relative_error(found, true)
        return loss, rmse(refined.displacement, u)
    return loss, rmse(F.interpolate(scales[-1], size=u.shape[-2:]), u)


def coarse_loss(network: nn.Module, batch: Batch, progress: float) -> tuple[Tensor, Tensor]:
    """The displacement's part of eq. (3) on the published network's scales below full resolution, which are a small
    part of its work: what a CPU can train of it.
    """
    assert isinstance(network, Espinnet)
    reference, sample = (scale_positions(s, POSITIONS, "nearest") for s in (batch.reference, batch.sample))
    u = to_detector_grid(batch.displacement)
    weights = [w for w in scale_weights(COARSE_SCALES, progress) if w]
    scales = network.pyramid(network.features(reference), network.features(sample), len(weights))
    loss = torch.zeros((), device=u.device)
    for weight, scale in zip(weights, scales, strict=True):
        loss = loss + weight * displacement_loss(scale * (u.shape[-1] // scale.shape[-1]), None, u)
    return loss, rmse(enlarged(scales[-1], u.shape[-1]), u)


def enlarged(scale: Tensor, width: int) -> Tensor:
    """Displacement (B, 2, y, x) in pixels of its scale, brought to full resolution of ``width`` bilinearly."""
    side = width // scale.shape[-1]
    return side * F.interpolate(scale, scale_factor=float(side), mode="bilinear", align_corners=False)


def spinnet_loss(network: nn.Module, batch: Batch, progress: float) -> tuple[Tensor, Tensor]:
    """Eq. (4) of Qiao et al., arXiv:2201.07232, on every level and at full resolution, on the detector grid."""
    assert isinstance(network, Spinnet)
    reference, sample = batch.reference[:, :1], batch.sample[:, :1]
    u = to_detector_grid(batch.displacement)
    levels = network.levels(reference, sample)
    weights = scale_weights(len(levels), progress)
    loss = torch.zeros((), device=u.device)
    for weight, level in zip(weights, levels, strict=True):
        if weight:
            side = u.shape[-1] // level.displacement.shape[-1]
            t = F.avg_pool2d(batch.transmission, side)
            part = displacement_loss(level.displacement * side, None, u)
            loss = loss + weight * (part + relative_error(level.transmission, t))
    last = network.refine(reference, sample, levels[-1])
    if progress >= 1:
        loss = loss + displacement_loss(last.displacement, None, u)
        loss = loss + relative_error(last.transmission, batch.transmission)
    return loss, rmse(last.displacement, u)


def to_detector_grid(fields: Tensor) -> Tensor:
    """Fields (B, C, y, x), the displacement first, from the reference to the detector grid, by fixed point."""
    u = fields[:, :2]
    v = u
    for _ in range(
        12
    ):  # displacement gradients below 0.85: the remaining error is below 0.15 of the first one
        v = pull(u, -v)
    return pull(fields, -v)


_FAST = {
    "all": Trainable(FastEspinnet, fast_loss),
    "pyramid": Trainable(FastEspinnet, pyramid_loss, ("convolutions.", "last.", "enlarge.")),
    "fusion": Trainable(FastEspinnet, fusion_loss, ("fusion.",)),
}
NETWORKS: dict[str, dict[str, Trainable]] = {
    "espinnet-fast": _FAST,
    "spinnet": _FAST,  # its scenes have N = 1
    "espinnet": {
        "all": Trainable(Espinnet, published_loss),
        "coarse": Trainable(Espinnet, coarse_loss, ("encoder.", "upsample.", "displacement.")),
    },
    "spinnet-published": {"all": Trainable(Spinnet, spinnet_loss)},
}


def trainable(config: TrainConfig) -> Trainable:
    """The structure of a run and how the chosen part of it is trained.

    Raises
    ------
    ConfigError
        The structure has no such part.
    """
    parts = NETWORKS[config.network]
    if config.part not in parts:
        raise ConfigError(
            f"part: expected one of {', '.join(parts)} for the network {config.network}, found '{config.part}'"
        )
    return parts[config.part]
