"""The misfit of every method: what it costs beside the retrieval, where true and false fields come out.

python benchmarks/consistency.py            one thread, CPU seconds; a Markdown table
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from speckleflow.retrieval import registry
from speckleflow.retrieval.base import FLAG_MISFIT, Fields
from speckleflow.retrieval.consistency import Consistency
from speckleflow.testing.patterns import make_pair

SIDE, LARGEST = 384, 0.5
METHODS = (("umpa", 10), ("umpa", 5), ("lcs", 5), ("xsvt", 5), ("espinnet", 5), ("spinnet", 1), ("cade", 1))
METHODS += (("xst", 1), ("zncc", 1))


def wave(amplitude: float, period: float):
    """A displacement in px."""
    return lambda x, y: amplitude * np.sin(2 * np.pi * x / period) * np.cos(2 * np.pi * y / (1.3 * period))


def seconds(call) -> tuple[float, Fields]:
    """Least CPU seconds of three calls, and what the last returned."""
    spent = []
    for _ in range(3):
        start = time.process_time()
        made = call()
        spent.append(time.process_time() - start)
    return min(spent), made


def median(fields: Fields, where: torch.Tensor) -> float:
    """Of the misfit of the first projection."""
    return float(fields.misfit[0][where].median())


def flagged(fields: Fields, where: torch.Tensor) -> float:
    """Per cent of the pixels."""
    return 100 * float((fields.flags[0] & FLAG_MISFIT > 0)[where].float().mean())


def main() -> None:
    """The table."""
    torch.set_num_threads(1)
    y, x = torch.meshgrid(torch.arange(float(SIDE)), torch.arange(float(SIDE)), indexing="ij")
    blob = torch.exp(-((x - SIDE / 2) ** 2 + (y - SIDE / 2) ** 2) / (2 * 12**2))
    there, away = blob > 0.85, (blob < 1e-4) & (x > 16) & (x < SIDE - 16) & (y > 16) & (y < SIDE - 16)
    print("| method | N | photons | cost | misfit | flagged | invented u, flagged | invented T, flagged |")
    print("|---|---|---|---|---|---|---|---|")
    for name, positions in METHODS:
        for photons in (1000.0, 30.0):
            pair = make_pair(
                (SIDE, SIDE),
                positions,
                ux=wave(0.6, 90),
                uy=wave(-0.5, 70),
                transmission=lambda x, y: 0.8 + 0.1 * np.sin(x / 30),
                darkfield=lambda x, y: 0.9 + 0 * x,
                photons=photons,
            )
            method = registry.get(name)(registry.default_settings(name))
            state, check = method.prepare(pair.reference), Consistency.of(pair.reference)
            sample = pair.sample[None]
            retrieval, fields = seconds(lambda: method(sample, state))  # noqa: B023
            cost, checked = seconds(lambda: check.check(sample, fields, LARGEST))  # noqa: B023
            measured = fields.transmission_measured
            measured = fields.transmission if measured is None else measured
            lies = (
                replace(fields, ux=fields.ux + 3 * blob),
                replace(fields, transmission_measured=measured * (1 + 0.3 * blob)),
            )
            shown = [check.check(sample, lie, LARGEST) for lie in lies]
            told = [f"{median(lie, there):.2f}, {flagged(lie, there):.0f} %" for lie in shown]
            print(
                f"| {name} | {positions} | {photons:g} | {100 * cost / retrieval:.1f} % | "
                f"{median(checked, away):.2f} | {flagged(checked, away):.2f} % | {told[0]} | {told[1]} |"
            )


if __name__ == "__main__":
    main()
