"""The state of a run, on disk: complete or absent, and enough to go on bit for bit."""

from __future__ import annotations

import csv
import io
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from speckleflow.errors import InputError, OutputError
from speckleflow.io.atomic import atomic_path

NAME = "checkpoint.pt"


class Average:
    """Exponential moving average of a network's weights; young averages follow faster."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for mine, theirs in zip(
            self.network.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


@dataclass
class Progress:
    """What a run has behind it."""

    step: int = 0
    pixels: float = 0.0  #: pixels of sample frames that the network was shown
    seconds: float = 0.0  #: of wall time, over all legs
    curve: list[dict[str, float]] = field(default_factory=list)  #: rows of curve.csv
    losses: list[float] = field(default_factory=list)  #: since the last row


def save(
    folder: Path,
    progress: Progress,
    network: nn.Module,
    average: Average,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    config: dict[str, Any],
) -> None:
    """Write the checkpoint of ``folder``; the one before it stays until the new one is complete."""
    content = {
        "progress": vars(progress),
        "network": network.state_dict(),
        "average": average.network.state_dict(),
        "average_updates": average.updates,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": torch.get_rng_state(),
        "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "config": config,
    }
    write(folder / NAME, content)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; the one before it stays until the new one is complete."""
    with atomic_path(path) as private:
        torch.save(content, private)


def restore(
    folder: Path,
    network: nn.Module,
    average: Average,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    config: dict[str, Any],
    device: torch.device,
) -> Progress:
    """Load the checkpoint of ``folder`` into everything that trains.

    Raises
    ------
    InputError
        It is damaged, or belongs to a run of another configuration (what may differ: where and how long it
        runs).
    """
    content = read(folder / NAME, config, device)
    network.load_state_dict(content["network"])
    average.network.load_state_dict(content["average"])
    average.updates = content["average_updates"]
    optimizer.load_state_dict(content["optimizer"])
    scheduler.load_state_dict(content["scheduler"])
    rng: Tensor = content["rng"]
    torch.set_rng_state(rng.cpu())
    if torch.cuda.is_available() and content["rng_cuda"]:
        torch.cuda.set_rng_state_all([state.cpu() for state in content["rng_cuda"]])
    return Progress(**content["progress"])


def read(path: Path, config: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The content of a checkpoint.

    Raises
    ------
    InputError
        It is damaged, or belongs to a run of another configuration.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # the unpickler raises anything on damaged bytes
        raise InputError(
            path, expected="a checkpoint of a training run", found=f"something else ({error})"
        ) from error
    different = sorted(k for k, v in config.items() if content["config"].get(k) != v)
    if different:
        key = different[0]
        raise InputError(
            path,
            expected=f"a run with {key} = {config[key]!r}",
            found=f"{content['config'].get(key)!r}",
            hint="resume with the configuration that the run was started with, or choose another folder",
        )
    return content


def write_curve(folder: Path, rows: list[dict[str, float]]) -> None:
    """Write ``curve.csv``, one row a validation; no rows, no file."""
    if not rows:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)
    with atomic_path(folder / "curve.csv") as private:
        private.write_text(text.getvalue())


def save_weights(network: nn.Module, path: str | Path, about: dict[str, str]) -> None:
    """Write the weights as safetensors, with ``about`` (all strings) in the file's header."""
    tensors = {name: value.detach().contiguous().cpu() for name, value in network.state_dict().items()}
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise OutputError(f"{path}: not written, the weights contain values that are not finite")
    with atomic_path(path) as private:
        private.write_bytes(save_tensors(tensors, about))
