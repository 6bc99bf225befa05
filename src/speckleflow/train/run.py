"""Runs of several networks or optimisers: one loop, a folder, and exact resume (see :mod:`.loop` for ESPINNet's)."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import nn
from torch.utils.data import DataLoader, Dataset

from speckleflow.errors import ConfigError, OutputError
from speckleflow.settings import Positive, Section
from speckleflow.train import checkpoint
from speckleflow.train.config import Count, Fraction, NonNegativeInt

#: keys that say where and how long a run goes, not what it computes: a resumed leg may change them
FREE = {"folder", "minutes", "checkpoint_minutes", "workers", "threads", "device", "start_from"}


class RunConfig(Section, ABC):
    """Keys that every run has."""

    network: str = Field(description="Structure to train.")
    folder: str = Field("runs/train", description="Folder of checkpoint, curve and weights.")
    start_from: str | None = Field(None, description="Weights to begin with; null: random ones.")
    seed: int = Field(1, description="Seed of every random number.")
    batch: Count = Field(16, description="Pairs per step.")
    average: Fraction = Field(0.999, description="Decay of the exponential moving average of the weights.")
    validate_every: Count = Field(250, description="Steps between validations.")
    validation_pairs: Count = Field(16, description="Held-out pairs of a validation.")
    checkpoint_minutes: Positive = Field(3.0, description="Minutes between checkpoints.")
    minutes: Positive | None = Field(
        None,
        description="Stop (with a checkpoint) after so many minutes; resume continues. null: until the end.",
    )
    device: str = Field("cpu", pattern="^(cpu|cuda)$", description="Where to train: cpu or cuda.")
    threads: Count = Field(1, description="CPU threads of the network's process.")
    workers: NonNegativeInt = Field(
        1, description="Processes that make pairs ahead; 0: the training process."
    )

    @abstractmethod
    def learner(self) -> Learner:
        """What the run trains."""


class Stateful(Protocol):
    """A network, an optimiser or a schedule."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


class Learner(ABC):
    """What is trained, and how one step goes."""

    #: network that is averaged, validated and saved
    network: nn.Module
    #: steps of the whole run
    steps: int
    #: number i is the batch of step i, whatever came before
    batches: Dataset[Any]

    @abstractmethod
    def parts(self) -> dict[str, Stateful]:
        """All whose state a checkpoint must hold."""

    @abstractmethod
    def step(self, batch: Any) -> float:
        """One step of all optimisers and schedules; the loss."""

    @abstractmethod
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Numbers of the averaged network on held-out pairs."""

    @abstractmethod
    def about(self) -> dict[str, str]:
        """What the header of the weight file says, beside steps, hours, device and seed."""


def run(config: RunConfig, resume: bool = False, say: Callable[[str], None] = print) -> Path:
    """Train until the end, or until the time is up, and return the path of the averaged weights.

    The folder receives ``checkpoint.pt``, ``curve.csv`` and ``weights.safetensors``; with ``resume`` a run goes on
    after its last checkpoint, on the CPU bit for bit as if it had never stopped.

    Raises
    ------
    ConfigError
        There is no GPU where one is asked for, or there is a run in the folder and ``resume`` is not given.
    InputError
        The checkpoint does not fit.
    OutputError
        The loss is not finite: the last checkpoint stays.
    """
    folder = Path(config.folder)
    path = folder / checkpoint.NAME
    if path.exists() and not resume:
        raise ConfigError(f"{folder}: there is a run in this folder already; give --resume or another folder")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda was asked for, but this machine has no usable GPU; use device: cpu")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    learner = config.learner()
    average = checkpoint.Average(learner.network, config.average)
    fixed = config.model_dump(mode="json", exclude=FREE)
    progress = checkpoint.Progress()
    parts = {**learner.parts(), "average": average.network}
    if path.exists():
        content = checkpoint.read(path, fixed, torch.device(config.device))
        for name, part in parts.items():
            part.load_state_dict(content[name])
        average.updates = content["average_updates"]
        progress = checkpoint.Progress(**content["progress"])
        say(f"resumed after step {progress.step} of {learner.steps}")

    def keep() -> None:
        states: dict[str, Any] = {name: part.state_dict() for name, part in parts.items()}
        states |= {"progress": vars(progress), "average_updates": average.updates, "config": fixed}
        checkpoint.write(path, states)
        checkpoint.write_curve(folder, progress.curve)
        about = {
            "network": config.network,
            "steps": str(progress.step),
            "hours": f"{progress.seconds / 3600:.3f}",
            "device": config.device,
            "seed": str(config.seed),
        }
        checkpoint.save_weights(average.network, folder / "weights.safetensors", about | learner.about())

    started = kept = time.monotonic()
    before = progress.seconds
    for batch in _loader(config, learner, progress.step):
        loss = learner.step(batch)
        if not loss - loss == 0:
            raise OutputError(
                f"{config.folder}: the loss of step {progress.step} is not finite; the last checkpoint stays, "
                "start again from it with a lower learning_rate"
            )
        average.update(learner.network)
        progress.losses.append(loss)
        progress.step += 1
        now = time.monotonic()
        progress.seconds = before + now - started
        last = progress.step == learner.steps
        if progress.step % config.validate_every == 0 or last:
            row = {
                "step": progress.step,
                "training_loss": sum(progress.losses) / len(progress.losses),
                **learner.validate(average.network),
            }
            progress.losses.clear()
            progress.curve.append(row)
            say(" ".join(f"{k}={v:.4g}" for k, v in row.items()) + f" {progress.seconds:.0f} s")
        stop = config.minutes is not None and now - started > 60 * config.minutes
        if last or stop or now - kept > 60 * config.checkpoint_minutes:
            keep()
            kept = now
        if stop and not last:
            say(f"stopped after {config.minutes:g} minutes at step {progress.step}; resume continues")
            break
    return folder / "weights.safetensors"


def _loader(config: RunConfig, learner: Learner, first: int) -> DataLoader[Any]:
    return DataLoader(
        learner.batches,
        batch_size=None,
        sampler=range(first, learner.steps),
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
        pin_memory=config.workers > 0 and config.device == "cuda",
    )
