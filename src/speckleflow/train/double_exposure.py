"""Training of the double exposure's generator: a conditional adversarial network (Yu et al., secs. 2.2 and 2.3)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.data import Dataset

from speckleflow.errors import ConfigError, InputError
from speckleflow.io.stack import read_stack
from speckleflow.retrieval.double_exposure.network import (
    MULTIPLE,
    Discriminators,
    Generator,
    from_transmission,
    to_input,
    to_transmission,
)
from speckleflow.retrieval.espinnet import weights
from speckleflow.settings import NonNegative, Positive, Section
from speckleflow.simulate.cellular import SAMPLES, SampleKind, SpeckleSetup, counted, random_exposures
from speckleflow.simulate.optics import Beam
from speckleflow.train.config import Count, Fraction, Range
from speckleflow.train.perceptual import Vgg19
from speckleflow.train.run import Learner, RunConfig, Stateful
from speckleflow.train.stream import TRAINING, VALIDATION, generator

#: fewest pairs of a user's own; below, a network learns them by heart
FEWEST_PAIRS = 20
#: share of a user's pairs that is held out
HELD_OUT = 0.1


class Samples(Section):
    """Simulated pairs."""

    kinds: tuple[SampleKind, ...] = Field(SAMPLES, description="foam, sponge, spheres (in a tube).")
    exposures: Count = Field(2880, description="Samples simulated at the start.")
    size_px: Annotated[int, Field(ge=64)] = Field(640, description="Side of their images in pixels.")
    energy_kev: Positive = Field(15.0, description="Photon energy in keV.")
    pixel_size_um: Positive = Field(3.25, description="Effective pixel size in um.")
    distance_m: Positive = Field(0.6, description="Distance from sample to detector in m.")
    grain_um: Positive = Field(8.6, description="Mean diameter of the sandpaper's grains in um.")
    height_um: Positive = Field(5.0, description="Mean height of the grains in um (silicon carbide).")
    psf_px: Positive = Field(0.5, description="Point spread of the detector in px (standard deviation).")
    photons: Range = Field((1e3, 2e4), description="Photons per pixel in the empty beam, log-uniform.")

    @property
    def setup(self) -> SpeckleSetup:
        """The simulator's beam, sandpaper and detector."""
        um = 1e-6
        beam = Beam(
            self.energy_kev, self.pixel_size_um * um, self.distance_m, SpeckleSetup().beam.source_blur_m
        )
        return SpeckleSetup(beam, self.grain_um * um, self.height_um * um, self.psf_px)


class OwnPairs(Section):
    """Measured pairs."""

    folder: str = Field(
        description="Folder with the stacks speckle (with sample), inline (with sample, without diffuser) and "
        "reference (without sample; one frame, or one each), corrected and over the beam: .npy or TIFF files, or "
        "folders of images, of these names."
    )
    energy_kev: Positive = Field(description="Photon energy in keV, for the card.")
    pixel_size_um: Positive = Field(description="Effective pixel size in um, for the card.")


class DoubleExposureConfig(RunConfig):
    """A training run of the double exposure's generator; the defaults are the paper's where it gives them."""

    network: Literal["double_exposure"] = Field(description="double_exposure: pix2pixHD.")
    width: Positive = Field(
        1.0, description="Channels of generator and discriminators over those of the paper."
    )
    inputs: Literal[1, 2] = Field(
        1, description="1: difference of the frames, as in the paper; 2: the frame without sample beside it."
    )
    samples: Samples = Field(default_factory=Samples, description="Simulated pairs.")
    own_pairs: OwnPairs | None = Field(None, description="Measured pairs in place of simulated ones.")
    crop_px: Annotated[int, Field(ge=64, multiple_of=MULTIPLE)] = Field(
        512, description="Side of the crops in pixels."
    )
    batch: Count = Field(1, description="Pairs per step.")
    steps: Count = Field(288_000, description="Optimiser steps (100 epochs of 2880 pairs).")
    learning_rate: Positive = Field(2e-4, description="Learning rate of Adam (pix2pixHD's).")
    beta: Fraction = Field(0.5, description="Adam's decay of the gradients (pix2pixHD's).")
    perceptual: Literal["features", "vgg19"] = Field(
        "features",
        description="features: L1 of the discriminators' own features (pix2pixHD's); vgg19: of VGG-19, the paper's.",
    )
    vgg19: str | None = Field(
        None, description="Weight file of VGG-19 (torchvision's names), for perceptual: vgg19."
    )
    perceptual_weight: NonNegative = Field(10.0, description="Weight of the perceptual loss.")
    pixel_weight: NonNegative = Field(
        0.0, description="Weight of the L1 error of the image; the paper has none."
    )

    @model_validator(mode="after")
    def _vgg(self) -> DoubleExposureConfig:
        if self.perceptual == "vgg19" and self.vgg19 is None:
            raise ValueError("perceptual: vgg19 needs vgg19: (the path of its weights)")
        return self

    def learner(self) -> Learner:
        """Generator, discriminators, optimisers and pairs."""
        return DoubleExposureLearner(self)


class Frames(NamedTuple):
    """Frames (y, x) of one pair, in units of the beam."""

    speckle: Tensor
    reference: Tensor
    inline: Tensor


class PairPool(Dataset[tuple[Tensor, Tensor]]):
    """Batch i of a run: inputs (B, inputs, y, x) and wanted outputs (B, 1, y, x), a function of (seed, i)."""

    def __init__(self, config: DoubleExposureConfig, kind: int = TRAINING, seed: int | None = None) -> None:
        self.config, self.kind = config, kind
        self.seed = config.seed if seed is None else seed

    @cached_property
    def pool(self) -> list[Frames]:
        """All pairs; made, or read, at the first use."""
        torch.set_num_threads(self.config.threads)
        if self.config.own_pairs is not None:
            pairs = read_pairs(self.config.own_pairs.folder, self.config.crop_px)
            held = max(1, round(HELD_OUT * len(pairs)))
            return pairs[:-held] if self.kind == TRAINING else pairs[-held:]
        of = self.config.samples
        count = of.exposures if self.kind == TRAINING else max(len(of.kinds), self.config.validation_pairs)
        frames = []
        for k in range(count):
            key = generator("cpu", self.seed, self.kind, -1 - k)
            made = random_exposures(key, of.kinds[k % len(of.kinds)], of.size_px, of.setup)
            frames.append(Frames(made.speckle, made.reference, made.inline))
        return frames

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        config = self.config
        key = generator("cpu", self.seed, self.kind, step)
        drawn = [self._draw(key) for _ in range(config.batch)]
        speckle, reference, inline = (torch.stack(parts)[:, None] for parts in zip(*drawn, strict=True))
        return to_input(reference, speckle, config.inputs), from_transmission(inline)

    def _draw(self, key: torch.Generator) -> Frames:
        """A crop of a random pair, mirrored and turned at random, with new noise where it is simulated."""
        size = self.config.crop_px

        def integer(high: int) -> int:
            return int(torch.randint(high, (), generator=key))

        frames = torch.stack(self.pool[integer(len(self.pool))])
        top, left = (integer(n - size + 1) for n in frames.shape[-2:])
        frames = torch.rot90(frames[:, top : top + size, left : left + size], integer(4), (1, 2))
        frames = frames.flip(1) if integer(2) else frames
        if self.config.own_pairs is None:
            low, high = self.config.samples.photons
            photons = low * (high / low) ** float(torch.rand((), generator=key))
            frames = torch.cat([counted(key, frames[:2], photons), frames[2:]])
        level = frames[1].mean()
        return Frames(frames[0] / level, frames[1] / level, frames[2] / level)


def read_pairs(folder: str, least_px: int) -> list[Frames]:
    """A user's pairs.

    Raises
    ------
    ConfigError
        There are fewer than :data:`FEWEST_PAIRS`.
    InputError
        A stack is missing, or does not fit the others.
    """
    stacks = {}
    for name in Frames._fields:
        there = sorted(p for p in Path(folder).glob(f"{name}*") if p.name.split(".")[0] == name)
        if len(there) != 1:
            raise InputError(
                folder,
                expected=f"one stack '{name}' (.npy, TIFF, or a folder of images)",
                found=f"{len(there)}",
                hint="own_pairs.folder holds the stacks speckle, reference and inline",
            )
        stacks[name] = torch.from_numpy(read_stack(str(there[0])).astype("float32"))
    count, height, width = stacks["speckle"].shape
    if count < FEWEST_PAIRS:
        raise ConfigError(
            f"{folder}: expected at least {FEWEST_PAIRS} pairs to train with, found {count}; record more projections"
        )
    if len(stacks["reference"]) == 1:
        stacks["reference"] = stacks["reference"].expand(count, -1, -1)
    for name, stack in stacks.items():
        if stack.shape != stacks["speckle"].shape:
            raise InputError(
                f"{folder}/{name}",
                expected=f"shape {(count, height, width)} as of 'speckle'",
                found=f"shape {tuple(stack.shape)}",
            )
    if min(height, width) < least_px:
        raise InputError(
            folder, expected=f"images of at least crop_px = {least_px} pixels", found=f"{height} x {width}"
        )
    return [Frames(*each) for each in zip(*stacks.values(), strict=True)]


class DoubleExposureLearner(Learner):
    """Generator and discriminators, each with its Adam."""

    def __init__(self, config: DoubleExposureConfig) -> None:
        self.config, self.steps = config, config.steps
        self.batches = PairPool(config)
        if config.own_pairs is not None:
            _ = (
                self.batches.pool
            )  # what is wrong with them is said here, not by a worker, and each is read once
        self.network = Generator(config.width, config.inputs)
        if config.start_from:
            weights.load(self.network, config.start_from)
        self.network.to(config.device)
        self.discriminators = Discriminators(config.inputs, config.width).to(config.device)
        self.vgg = Vgg19.load(config.vgg19).to(config.device) if config.vgg19 else None
        self.optimizers = {
            name: torch.optim.Adam(part.parameters(), lr=config.learning_rate, betas=(config.beta, 0.999))
            for name, part in (("generator", self.network), ("discriminators", self.discriminators))
        }

    @cached_property
    def held_out(self) -> list[tuple[Tensor, Tensor]]:
        """Batches of pairs that training never sees, the same for every run."""
        pool = PairPool(self.config, VALIDATION, seed=0)
        return [pool[i] for i in range(-(-self.config.validation_pairs // self.config.batch))]

    def parts(self) -> dict[str, Stateful]:
        """Networks and optimisers."""
        return {
            "network": self.network,
            "discriminators": self.discriminators,
            **{f"optimizer of the {name}": optimizer for name, optimizer in self.optimizers.items()},
        }

    def step(self, batch: tuple[Tensor, Tensor]) -> float:
        """One step of the generator, then one of the discriminators; the generator's loss."""
        x, wanted = (t.to(self.config.device, non_blocking=True) for t in batch)
        self.network.train()
        made = self.network(x)
        of_made, of_wanted = self.discriminators(x, made), self.discriminators(x, wanted)
        loss = sum((adversarial(each[-1], real=True) for each in of_made), made.new_zeros(()))
        vgg = self.vgg
        perceived = vgg.distance(made, wanted) if vgg else feature_distance(of_made, of_wanted)
        loss = loss + self.config.perceptual_weight * perceived
        loss = loss + self.config.pixel_weight * F.l1_loss(made, wanted)
        self._descend("generator", loss)
        judged = zip(self.discriminators(x, made.detach()), self.discriminators(x, wanted), strict=True)
        self._descend(
            "discriminators",
            sum(
                (adversarial(a[-1], real=False) + adversarial(b[-1], real=True) for a, b in judged),
                made.new_zeros(()),
            ),
        )
        return float(loss.detach())

    def _descend(self, name: str, loss: Tensor) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[name].step()

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """RMSE of the in-line image on held-out pairs, and that of an empty one (1 everywhere)."""
        squares, empty = [], []
        for x, wanted in self.held_out:
            truth = to_transmission(wanted.to(self.config.device))
            squares.append((to_transmission(network(x.to(self.config.device))) - truth).square().mean())
            empty.append((1 - truth).square().mean())
        rmse, of_empty = (float(torch.stack(values).mean().sqrt()) for values in (squares, empty))
        return {"rmse": rmse, "rmse_of_empty": of_empty}

    def about(self) -> dict[str, str]:
        """Width, inputs, and what the pairs were taken with: the range of the weights."""
        of: Any = self.config.own_pairs or self.config.samples
        kinds = "own" if self.config.own_pairs else " ".join(self.config.samples.kinds)
        return {
            "width": repr(self.config.width),
            "inputs": str(self.config.inputs),
            "energy_kev": repr(of.energy_kev),
            "pixel_size_um": repr(of.pixel_size_um),
            "samples": kinds,
        }


def adversarial(logits: Tensor, *, real: bool) -> Tensor:
    """Mean of -log of the probability that the patches are real (or, with ``real`` False, made): eq. (2)."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def feature_distance(made: list[list[Tensor]], wanted: list[list[Tensor]]) -> Tensor:
    """Mean L1 distance of the blocks' outputs over both discriminators; those of the wanted image are fixed."""
    distances = [
        F.l1_loss(a, b.detach())
        for of_made, of_wanted in zip(made, wanted, strict=True)
        for a, b in zip(of_made[:-1], of_wanted[:-1], strict=True)
    ]
    return torch.stack(distances).mean()
