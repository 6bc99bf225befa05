"""Training of CADE's network: sandpaper patterns, deformed pairs, multi-scale end-point error (secs. II-A to II-C)."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import Dataset

from speckleflow.retrieval.cade.network import MULTIPLE, StrainNetF, normalised
from speckleflow.retrieval.espinnet import weights
from speckleflow.settings import NonNegative, Positive, Section
from speckleflow.simulate.sandpaper import (
    DeformationRanges,
    DivergentBeam,
    SandpaperRanges,
    Speckle,
    deformed_pair,
    draw_speckle,
)
from speckleflow.train.config import Count, Fraction, Range, Share
from speckleflow.train.run import Learner, RunConfig, Stateful
from speckleflow.train.stream import TRAINING, VALIDATION, generator

#: of the scales 1, 1/2, ... 1/16 in the loss (the paper's Table 1)
SCALE_WEIGHTS = (0.005, 0.01, 0.02, 0.08, 0.32)


class SandpaperPatterns(Section):
    """Wave-optical patterns: sandpapers in a divergent beam."""

    patterns: Count = Field(364, description="Patterns simulated at the start.")
    pattern_px: Annotated[int, Field(ge=64)] = Field(256, description="Side of a pattern in pixels.")
    energy_kev: Positive = Field(30.0, description="Photon energy in keV.")
    source_um: Positive = Field(10.0, description="Full width at half maximum of the focal spot in um.")
    diffuser_distance_m: Positive = Field(1.0, description="Distance from source to diffuser in m.")
    detector_distance_m: Positive = Field(3.0, description="Distance from source to detector in m.")
    pixel_size_um: Positive = Field(12.0, description="Pixel size of the detector in um.")
    psf_px: Positive = Field(
        1 / 2.355, description="Point spread of the detector in px (standard deviation)."
    )
    layers: Count = Field(10, description="Sheets of sandpaper (aluminium oxide grains).")
    grain_px: Range = Field((1.5, 45.0), description="Diameter of the grains in pixels, log-uniform.")
    height: Range = Field((0.25, 1.2), description="Height of the grains over their diameter.")
    fwhm_px: Range = Field((2.0, 10.0), description="Speckle sizes that are kept, in pixels.")
    visibility: Fraction = Field(0.2, description="Lowest visibility that is kept.")

    @property
    def beam(self) -> DivergentBeam:
        """The simulator's beam."""
        um = 1e-6
        return DivergentBeam(
            self.energy_kev,
            self.source_um * um,
            self.diffuser_distance_m,
            self.detector_distance_m,
            self.pixel_size_um * um,
            self.psf_px,
        )


class Deformations(Section):
    """Pairs of frames from a pattern."""

    patch_px: tuple[Count, ...] = Field(
        (4, 8, 16, 32, 64, 128), description="Sizes of the patches in pixels."
    )
    displacement_px: Positive = Field(
        1.0, description="Largest displacement in pixels (3 standard deviations)."
    )
    constant: Share = Field(0.02, description="Share of pairs with one displacement everywhere, or none.")
    constant_px: NonNegative = Field(0.15, description="Largest displacement of those, in pixels.")
    transmission_min: Positive = Field(0.5, description="Lowest transmission.")
    photons: Range = Field((1e3, 1e5), description="Photons per pixel in the empty beam, log-uniform.")


class CadeConfig(RunConfig):
    """A training run of CADE's network; the defaults are the paper's."""

    network: Literal["cade"] = Field(description="cade: StrainNet-f.")
    width: Positive = Field(1.0, description="Channels of every layer over those of the paper.")
    patterns: SandpaperPatterns = Field(default_factory=SandpaperPatterns, description="The patterns.")
    pairs: Deformations = Field(default_factory=Deformations, description="Their deformation.")
    crop_px: Annotated[int, Field(ge=32, multiple_of=MULTIPLE)] = Field(
        256, description="Side of the frames in pixels."
    )
    epochs: Count = Field(350, description="Epochs.")
    epoch_steps: Count = Field(1365, description="Optimiser steps of an epoch (21841 pairs, 16 a batch).")
    milestones: tuple[Count, ...] = Field(
        (40, 80, 120, 160, 200, 240), description="Epochs after which the learning rate is halved."
    )
    learning_rate: Positive = Field(1e-3, description="First learning rate of Adam.")
    beta: Fraction = Field(0.999, description="Adam's decay of the squared gradients.")
    weight_decay: NonNegative = Field(4e-4, description="Weight decay of Adam; biases have none.")

    def learner(self) -> Learner:
        """The network, its optimiser and its pairs."""
        return CadeLearner(self)


def multiscale_loss(scales: list[Tensor], truth: Tensor) -> Tensor:
    """Sum over the scales (coarsest first) of weight times end-point error, summed over the scale's pixels, per pair.

    ``truth``: (B, 2, y, x) in px; a coarser scale is compared with its mean over the pixels of that scale.
    """
    loss = truth.new_zeros(())
    for weight, u in zip(SCALE_WEIGHTS, reversed(scales), strict=True):
        side = truth.shape[-1] // u.shape[-1]
        wanted = F.avg_pool2d(truth, side) if side > 1 else truth
        loss = loss + weight * end_point_error(u, wanted).sum() / len(truth)
    return loss


def end_point_error(found: Tensor, truth: Tensor) -> Tensor:
    """Length of the error of a displacement (B, 2, y, x) at each pixel, (B, y, x)."""
    # the root has no derivative at 0; 1e-6 px is below float32's resolution of a displacement
    return ((found - truth).square().sum(1) + 1e-12).sqrt()


class PairStream(Dataset[tuple[Tensor, Tensor]]):
    """Batch i of a run: normalised pairs (B, 2, y, x) and true displacements (B, 2, y, x), a function of (seed, i)."""

    def __init__(self, config: CadeConfig, kind: int = TRAINING, seed: int | None = None) -> None:
        self.config, self.kind = config, kind
        self.seed = config.seed if seed is None else seed

    @cached_property
    def bank(self) -> list[Speckle]:
        """The patterns; made at the first use, so that a worker process makes its own copy."""
        torch.set_num_threads(self.config.threads)
        of = self.config.patterns
        count = of.patterns if self.kind == TRAINING else max(2, of.patterns // 8)
        ranges = SandpaperRanges(of.layers, of.grain_px, of.height, of.fwhm_px, of.visibility)
        keys = (generator("cpu", self.seed, self.kind, -1 - k) for k in range(count))
        return [draw_speckle(key, of.beam, of.pattern_px, ranges) for key in keys]

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        config = self.config
        key = generator("cpu", self.seed, self.kind, step)
        of = config.pairs
        ranges = DeformationRanges(
            of.patch_px, of.displacement_px, of.constant, of.constant_px, of.transmission_min, of.photons
        )
        chosen = torch.randint(len(self.bank), (config.batch,), generator=key).tolist()
        beam = config.patterns.beam
        pairs = [deformed_pair(key, self.bank[k].image, beam, config.crop_px, ranges) for k in chosen]
        reference, sample, u, _ = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        return normalised(reference[:, None], sample[:, None]), u


class CadeLearner(Learner):
    """StrainNet-f under Adam."""

    def __init__(self, config: CadeConfig) -> None:
        self.config = config
        self.steps = config.epochs * config.epoch_steps
        self.network: StrainNetF = StrainNetF(config.width)
        if config.start_from:
            weights.load(self.network, config.start_from)
        self.network = self.network.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        biases = [p for name, p in self.network.named_parameters() if name.endswith("bias")]
        others = [p for name, p in self.network.named_parameters() if not name.endswith("bias")]
        groups: list[dict[str, Any]] = [
            {"params": others, "weight_decay": config.weight_decay},
            {"params": biases},
        ]
        self.optimizer = torch.optim.Adam(groups, lr=config.learning_rate, betas=(0.9, config.beta))
        milestones = [epoch * config.epoch_steps for epoch in config.milestones]
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, milestones, 0.5)
        self.batches = PairStream(config)

    @cached_property
    def held_out(self) -> list[tuple[Tensor, Tensor]]:
        """Batches of patterns that training never sees, the same for every run."""
        stream = PairStream(self.config, VALIDATION, seed=0)
        return [stream[i] for i in range(-(-self.config.validation_pairs // self.config.batch))]

    def parts(self) -> dict[str, Stateful]:
        """Network, optimiser and schedule."""
        return {"network": self.network, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def step(self, batch: tuple[Tensor, Tensor]) -> float:
        """One step of Adam; the loss."""
        pair, truth = (t.to(self.config.device, non_blocking=True) for t in batch)
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = multiscale_loss(self.network.scales(pair), truth)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        return float(loss.detach())

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """End-point error and RMSE in px on held-out pairs, and the end-point error of zero displacement."""
        errors, squares, zeros = [], [], []
        for pair, truth in self.held_out:
            truth = truth.to(self.config.device)
            u = network(pair.to(self.config.device))
            errors.append(end_point_error(u, truth).mean())
            squares.append((u - truth).square().mean())
            zeros.append(end_point_error(torch.zeros_like(truth), truth).mean())
        epe, square, zero = (float(torch.stack(values).mean()) for values in (errors, squares, zeros))
        return {"epe": epe, "rmse": square**0.5, "epe_of_zero": zero}

    def about(self) -> dict[str, str]:
        """Width, and pixel size and energy of the training patterns."""
        of = self.config.patterns
        return {
            "width": repr(self.config.width),
            "displacement_px": repr(self.config.pairs.displacement_px),
            "energy_kev": repr(of.energy_kev),
            "pixel_size_um": repr(of.pixel_size_um),
        }
