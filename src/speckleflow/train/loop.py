"""The training loop: one function, a folder, and nothing that a kill at any moment could spoil."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from speckleflow.errors import ConfigError, OutputError
from speckleflow.retrieval.espinnet import weights
from speckleflow.train import checkpoint
from speckleflow.train.config import TrainConfig
from speckleflow.train.networks import Trainable, trainable
from speckleflow.train.run import RunConfig, run
from speckleflow.train.stream import Batch, SceneStream, generator
from speckleflow.train.validate import sigma_factor, validate

#: keys that say where and how long a run goes, not what it computes: a resumed leg may change them
FREE = {"folder", "minutes", "checkpoint_minutes", "workers", "threads", "device", "start_from"}


def train(config: TrainConfig | RunConfig, resume: bool = False, say: Callable[[str], None] = print) -> Path:
    """Train a network and return the path of its averaged weights (safetensors).

    ``config.folder`` receives ``checkpoint.pt``, ``curve.csv`` (one row a validation) and
    ``weights.safetensors``. With ``resume`` the run goes on after its last checkpoint, on the CPU bit for
    bit as if it had never stopped. Started by torchrun, the processes share the work (each with its own
    scenes, gradients averaged).

    Raises
    ------
    ConfigError
        There is no GPU where one is asked for; there is already a run in the folder and ``resume`` is not
        given; the network has no such part.
    InputError
        The checkpoint or the weights to start from do not fit.
    OutputError
        The loss is not finite: the run stops, and its last checkpoint stays.
    """
    if isinstance(config, RunConfig):
        return run(config, resume, say)
    rank, world, device = _place(config)
    folder = Path(config.folder)
    if (folder / checkpoint.NAME).exists() and not resume:
        raise ConfigError(f"{folder}: there is a run in this folder already; give --resume or another folder")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    kind = trainable(config)
    network = kind.build().to(device)
    if config.start_from:
        weights.load(network, config.start_from, partial=True)
    if device.type == "cuda":
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(kind.trains))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, one_cycle(config.steps, config.warm_up))
    average = checkpoint.Average(network, config.average)
    fixed = config.model_dump(mode="json", exclude=FREE)
    progress = checkpoint.Progress()
    if resume and (folder / checkpoint.NAME).exists():
        progress = checkpoint.restore(folder, network, average, optimizer, scheduler, fixed, device)
        say(f"resumed after step {progress.step} of {config.steps}")

    def keep(last: bool) -> None:
        if rank == 0:
            about = _about(config, progress)
            if (
                last
                and config.part != "pyramid"
                and (factor := sigma_factor(average.network, config, device)) is not None
            ):
                about["sigma_factor"] = f"{factor:.4f}"
            checkpoint.save(folder, progress, network, average, optimizer, scheduler, fixed)
            checkpoint.write_curve(folder, progress.curve)
            checkpoint.save_weights(average.network, folder / "weights.safetensors", about)

    started = kept = time.monotonic()
    before = progress.seconds
    for batch in SceneStream(config, rank, world).from_step(progress.step):
        network.train()
        loss, _ = _step(config, kind, network, batch.to(device), progress.step, world)
        optimizer.step()
        scheduler.step()
        average.update(network)
        progress.losses.append(float(loss))
        progress.step += 1
        progress.pixels += world * batch.sample.numel() / batch.sample.shape[1]
        progress.seconds = before + time.monotonic() - started
        last = progress.step == config.steps
        if progress.step % config.validate_every == 0 or last:
            mean = sum(progress.losses) / len(progress.losses)
            progress.losses.clear()
            if rank == 0:
                row: dict[str, float] = {
                    "step": progress.step,
                    "pixels": progress.pixels,
                    "learning_rate": float(scheduler.get_last_lr()[0]),
                    "training_loss": mean,
                    **validate(average.network, config, device),
                }
                progress.curve.append(row)
                say(" ".join(f"{k}={v:.4g}" for k, v in row.items()) + f" {progress.seconds:.0f} s")
        now = time.monotonic()
        stop = config.minutes is not None and now - started > 60 * config.minutes
        if last or stop or now - kept > 60 * config.checkpoint_minutes:
            keep(last)
            kept = now
        if stop and not last:
            say(f"stopped after {config.minutes:g} minutes at step {progress.step}; resume continues")
            break
    if world > 1:
        distributed.destroy_process_group()
    return folder / "weights.safetensors"


def one_cycle(steps: int, warm_up: float) -> Callable[[int], float]:
    """Learning rate over its peak: a linear rise, then half a cosine down to a hundredth."""
    rise = max(1, round(warm_up * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        fall = min(1.0, (step - rise) / max(1, steps - rise))
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall))

    return factor


def _place(config: TrainConfig) -> tuple[int, int, torch.device]:
    """Rank, number of processes and device of this process."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda was asked for, but this machine has no usable GPU; use device: cpu")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    if world > 1:
        distributed.init_process_group("nccl" if config.device == "cuda" else "gloo")
    if config.device == "cuda":
        torch.cuda.set_device(local)
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return rank, world, torch.device(config.device, local) if config.device == "cuda" else torch.device("cpu")


def _step(
    config: TrainConfig, kind: Trainable, network: nn.Module, batch: Batch, step: int, world: int
) -> tuple[Tensor, Tensor]:
    """Gradients of one step, over all processes; the loss and the RMSE of the whole stacks."""
    progress = 1.0 if not config.coarse_first else step / config.steps / config.coarse_first
    n = batch.sample.shape[1]
    passes = [batch]
    chooser = generator("cpu", config.seed, 2, step)  # 2: neither training nor validation scenes
    least = min(config.scenes.positions)
    for _ in range(config.subsets if n > least else 0):
        fewer = int(torch.randint(least, n, (), generator=chooser))
        passes.append(batch.positions(torch.randperm(n, generator=chooser)[:fewer].sort().values))
    network.zero_grad(set_to_none=True)
    losses, errors = [], []
    device = batch.sample.device.type
    for part in passes:
        precise = config.precision == "float32" or device != "cuda"
        with nullcontext() if precise else torch.autocast(device, torch.bfloat16):
            loss, error = kind.loss(network, part, progress)
        (loss / len(passes)).backward()
        losses.append(loss.detach())
        errors.append(error)
    mean = torch.stack(losses).mean()
    if not bool(torch.isfinite(mean)):
        raise OutputError(
            f"{config.folder}: the loss of step {step} is not finite; the last checkpoint stays, "
            "start again from it with a lower learning_rate"
        )
    if world > 1:
        for parameter in network.parameters():
            if parameter.grad is not None:
                distributed.all_reduce(parameter.grad)
                parameter.grad /= world
    nn.utils.clip_grad_norm_(network.parameters(), config.gradient_norm)
    return mean, errors[0]


def _about(config: TrainConfig, progress: checkpoint.Progress) -> dict[str, str]:
    """What the header of a weight file says."""
    return {
        "network": config.network,
        "steps": str(progress.step),
        "megapixels": f"{progress.pixels / 1e6:.1f}",
        "hours": f"{progress.seconds / 3600:.3f}",
        "device": config.device,
        "seed": str(config.seed),
    }
