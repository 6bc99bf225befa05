"""Held-out scenes: the curve that decides, not the training loss."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn

from speckleflow.retrieval.espinnet.fast import FastEspinnet
from speckleflow.train.config import TrainConfig
from speckleflow.train.loss import ONE_SIGMA
from speckleflow.train.networks import trainable
from speckleflow.train.stream import VALIDATION, Batch, generator, make_batch, pattern_bank


@lru_cache(maxsize=2)
def held_out(config: TrainConfig) -> dict[int, list[Batch]]:
    """Validation batches by N, from patterns and random numbers that training never sees.

    The same scenes for every N, the first N positions of each, so that the columns can be compared.
    """
    scenes = config.scenes
    # its own key, independent of the run's seed: all runs are judged on the same scenes
    bank = pattern_bank(generator("cpu", VALIDATION, -1), scenes, max(6, scenes.patterns // 4))
    counts = sorted({n for n in scenes.positions if n in (1, 2, 3, 5, 10, 20)} or {min(scenes.positions)})
    largest = [
        make_batch(generator("cpu", VALIDATION, i), 1, counts[-1], config.crop_px, bank, scenes)
        for i in range(config.validation_scenes)
    ]
    return {n: [b.positions(torch.arange(n)) for b in largest] for n in counts}


@torch.no_grad()
def validate(network: nn.Module, config: TrainConfig, device: torch.device) -> dict[str, float]:
    """Loss and median over the scenes of the RMSE in px, for each N: ``loss_N2``, ``rmse_N2``, ..."""
    found: dict[str, float] = {}
    loss_of = trainable(config).loss
    was_training = network.training
    network.eval()
    for n, batches in held_out(config).items():
        results = [loss_of(network, batch.to(device), 1.0) for batch in batches]
        found[f"loss_N{n}"] = float(torch.stack([r[0] for r in results]).mean())
        found[f"rmse_N{n}"] = float(torch.stack([r[1] for r in results]).median())
    network.train(was_training)
    return found


@torch.no_grad()
def sigma_factor(network: nn.Module, config: TrainConfig, device: torch.device) -> float | None:
    """Factor for the predicted standard deviations with which 68 % of the held-out errors are within one.

    All scenes and all N count alike; None for a network that predicts none.
    """
    if not isinstance(network, FastEspinnet):
        return None
    ratios = []
    for batches in held_out(config).values():
        for batch in (b.to(device) for b in batches):
            last = network(network.reference(batch.reference, blur_px=batch.blur_px.tolist()), batch.sample)[
                1
            ]
            ratio = (last.displacement - batch.displacement).abs() / last.log_sigma.exp()
            ratios.append(ratio[..., 8:-8, 8:-8].flatten()[::5])
    return float(torch.cat(ratios).sort().values[int(ONE_SIGMA * sum(r.numel() for r in ratios))])
