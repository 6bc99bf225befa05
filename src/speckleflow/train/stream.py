"""The endless stream of training scenes: made on the fly, and a function of (seed, step) alone.

So a run that is killed and resumed sees exactly the scenes it would have seen, whatever the number of
workers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from speckleflow.retrieval.espinnet.refinement import TYPICAL_BLUR_PX
from speckleflow.retrieval.flux import level_flux
from speckleflow.simulate.fields import SceneRanges, random_batch
from speckleflow.simulate.patterns import PatternBank
from speckleflow.train.config import Scenes, TrainConfig

#: streams that must never share a random number (kept apart by their place in the seed)
TRAINING, VALIDATION = 0, 1


class Batch(NamedTuple):
    """Stacks (B, N, y, x), divided by the mean of the reference, and the truth on the reference grid.

    ``displacement`` (B, 2, y, x) in px, channel 0 = x; ``transmission`` and ``darkfield`` (B, 1, y, x).
    ``blur_px`` (B): what the method is told of the detector's blur.
    """

    reference: Tensor
    sample: Tensor
    displacement: Tensor
    transmission: Tensor
    darkfield: Tensor
    blur_px: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(t.to(device, non_blocking=True) for t in self))

    def positions(self, chosen: Tensor) -> Batch:
        """The same scenes with the chosen diffuser positions only."""
        return self._replace(reference=self.reference[:, chosen], sample=self.sample[:, chosen])


def generator(device: str, *key: int) -> torch.Generator:
    """A generator whose seed depends on every integer of ``key``."""
    seed = 0
    for part in key:
        seed = (seed * 0x9E3779B97F4A7C15 + part + 1) & (
            2**63 - 1
        )  # Weyl's odd constant: keys do not collide
    return torch.Generator(device).manual_seed(seed)


def ranges(scenes: Scenes) -> SceneRanges:
    """The simulator's limits from the configuration."""
    names = {field.name for field in dataclasses.fields(SceneRanges)}
    return SceneRanges(**{key: value for key, value in scenes if key in names})


def pattern_bank(key: torch.Generator, scenes: Scenes, patterns: int) -> PatternBank:
    """Patterns of the configured pitches."""
    return PatternBank(key, patterns, scenes.pattern_px, scenes.pitch_px)


def make_batch(
    key: torch.Generator, batch: int, n: int, size: int, bank: PatternBank, scenes: Scenes
) -> Batch:
    """One batch of scenes, normalised as the methods normalise.

    The detector's blur is known in a third of the scenes, known badly in a third, and assumed in the others.
    """
    scene = random_batch(key, batch, n, size, bank, ranges(scenes))
    knowledge = torch.rand(batch, generator=key, device=key.device)
    error = scenes.blur_error_px * torch.randn(batch, generator=key, device=key.device)
    assumed = torch.full_like(scene.blur_px, TYPICAL_BLUR_PX)
    told = torch.where(knowledge < 1 / 3, scene.blur_px, (scene.blur_px + error).clamp_min(0))
    scale = scene.reference.mean((1, 2, 3), keepdim=True)
    return Batch(
        scene.reference / scale,
        level_flux(scene.reference, scene.sample) / scale,
        torch.stack([scene.ux, scene.uy], 1),
        scene.transmission[:, None],
        scene.darkfield[:, None],
        torch.where(knowledge < 2 / 3, told, assumed),
    )


class SceneStream(Dataset[Batch]):
    """Batch number i of a run; process ``rank`` of ``world`` gets its own."""

    def __init__(self, config: TrainConfig, rank: int = 0, world: int = 1) -> None:
        self.config, self.rank, self.world = config, rank, world
        #: worker processes make scenes on CPUs; without any, scenes are made where the network is
        self.device = "cpu" if config.workers else config.device
        self._bank: PatternBank | None = None

    @property
    def bank(self) -> PatternBank:
        """Made at the first use, so that a worker process makes its own copy of the same patterns."""
        if self._bank is None:
            torch.set_num_threads(1)
            scenes = self.config.scenes
            key = generator(self.device, self.config.seed, TRAINING, -1)
            self._bank = pattern_bank(key, scenes, scenes.patterns)
        return self._bank

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> Batch:
        config = self.config
        bank = self.bank
        # N from a generator of its own, so that all processes take the same N in the same step
        chooser = generator("cpu", config.seed, TRAINING, step, -1)
        choice = int(torch.randint(len(config.scenes.positions), (), generator=chooser))
        key = generator(self.device, config.seed, TRAINING, step, self.rank)
        n = config.scenes.positions[choice]
        return make_batch(key, config.batch, n, config.crop_px, bank, config.scenes)

    def from_step(self, first: int) -> Iterator[Batch]:
        """Batches from number ``first`` to the end of the run."""
        steps = range(first, self.config.steps)
        workers = self.config.workers
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=list(steps),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=workers > 0 and self.config.device == "cuda",
        )
        return iter(loader)
