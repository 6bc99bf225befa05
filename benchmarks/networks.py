"""Networks beside umpa: seconds, operations and memory (accuracy: accuracy.py). Writes benchmarks/networks.md.

    python benchmarks/networks.py [--threads 2] [--only speed|memory|compile]

Beside the clock stand CPU seconds of all threads, the least of several runs: on a machine with other load they
say more.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from speckleflow.evaluate.table import contenders
from speckleflow.retrieval.base import Retriever
from speckleflow.retrieval.espinnet import published
from speckleflow.retrieval.espinnet.fast import FastEspinnet
from speckleflow.retrieval.espinnet.retriever import Espinnet, NetworkRetriever
from speckleflow.retrieval.espinnet.settings import EspinnetSettings
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.umpa.retriever import Umpa
from speckleflow.retrieval.umpa.settings import UmpaSettings
from speckleflow.train.checkpoint import save_weights

HERE = Path(__file__).parent


def stacks(n: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A speckle stack and its shifted, absorbed copy."""
    generator = torch.Generator().manual_seed(4)
    frames = torch.randn(n, side, side, generator=generator)
    frames = 1 + 0.25 * filter_xy(frames, gaussian(1.5), gaussian(1.5), "mirror") * 5
    return frames, 0.8 * frames.roll((1, 2), (1, 2))[None]


def methods(folder: Path) -> dict[str, Retriever]:
    """The methods that are timed; the published structure with random weights, which cost the same."""
    path = folder / "random.safetensors"
    torch.manual_seed(0)
    save_weights(published.Espinnet(), path, {"network": "espinnet"})
    return {
        "umpa": Umpa(UmpaSettings()),
        "espinnet": Espinnet(EspinnetSettings()),
        "espinnet (published)": Espinnet(EspinnetSettings(weights=str(path))),
        "espinnet (published), refiners": Espinnet(EspinnetSettings(weights=str(path), refiners=True)),
    }


@torch.inference_mode()
def prepared(method: Retriever, reference: torch.Tensor) -> Any:
    """What a method makes of the reference, once a scan; a network's tiles too, which otherwise wait for a sample."""
    state = method.prepare(reference)
    if isinstance(method, NetworkRetriever):
        structure = method.structure
        for index, tile in enumerate(state.tiles(structure.halo, structure.multiple)):
            state.prepared[index] = structure.prepare_tile(state.reference, tile, state.whole)
    return state


def speed(folder: Path, threads: int, n: int = 20, side: int = 512, repeats: int = 4) -> str:
    """Seconds by the clock and of the processors, least of several runs taken in turns, and floating-point
    operations per pixel (multiply-add = 2, convolutions and matrix products).
    """
    reference, sample = stacks(n, side)
    batch = sample * torch.linspace(0.9, 1.1, 2 * threads)[:, None, None, None]
    timed = methods(folder)
    states, least, flop = {}, {name: [float("inf")] * 4 for name in timed}, {}
    for _ in range(repeats):
        for name, method in timed.items():
            marks = [(time.perf_counter(), time.process_time())]
            states[name] = prepared(method, reference)
            marks.append((time.perf_counter(), time.process_time()))
            for part in (sample, sample, batch):
                method(part, states[name])
                marks.append((time.perf_counter(), time.process_time()))
            clock, cpu = ([b[k] - a[k] for a, b in pairwise(marks)] for k in (0, 1))
            now = (cpu[0], min(clock[1:3]), clock[3] / len(batch), cpu[3] / len(batch))
            least[name] = [min(pair) for pair in zip(least[name], now, strict=True)]
    torch.set_num_threads(1)  # the counter sees its own thread only
    for name, method in timed.items():
        with FlopCounterMode(display=False) as counter:
            method(sample, states[name])
        flop[name] = counter.get_total_flops() / side**2
    torch.set_num_threads(threads)
    ours = least["espinnet"]
    lines = [
        "| method | prepare, once a scan (CPU s) | a projection alone (s) | one of many (s) | one of many (CPU s) | "
        "times espinnet's (s, s, CPU s) | FLOP a pixel |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, now in least.items():
        ratio = ", ".join(f"{a / b:.1f}" for a, b in zip(now[1:], ours[1:], strict=True))
        lines.append(f"| {name} | {' | '.join(f'{t:.2f}' for t in now)} | {ratio} | {flop[name]:,.0f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def memory(n: int = 20, side: int = 2048) -> str:
    """Peak resident memory of one projection, each method in a process of its own."""
    lines = ["| method | peak memory (GB) | CPU s |", "|---|---|---|"]
    for name in ("none", "umpa", "espinnet"):
        command = [
            sys.executable,
            __file__,
            "--only",
            "one",
            "--method",
            name,
            "--side",
            str(side),
            "--n",
            str(n),
        ]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        title = "the two stacks alone" if name == "none" else name
        lines.append(f"| {title} | {float(out[-2]):.2f} | {float(out[-1]):.1f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def compiled(side: int = 512, repeats: int = 4) -> str:
    """What torch.compile gives: seconds of the convolutions and of the published structure, the least of several
    runs taken in turns, and what compiling costs before.
    """
    ours = FastEspinnet().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    theirs = published.Espinnet().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    reference = torch.rand(1, 20, side, side) + 0.5

    def chain(layers: nn.ModuleList, last: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        def run(x: torch.Tensor) -> torch.Tensor:
            for layer in layers:
                x = F.leaky_relu(layer(x), 0.1, inplace=True)
            return last(x)

        return run

    def inputs(layers: nn.ModuleList) -> torch.Tensor:
        return torch.rand(1, layers[0].in_channels, side // 2, side // 2)

    tried = {
        "pyramid's convolutions at 1/2": (chain(ours.convolutions, ours.last), inputs(ours.convolutions)),
        "fusion head's convolutions": (
            chain(ours.fusion.convolutions, ours.fusion.last),
            inputs(ours.fusion.convolutions),
        ),
        "espinnet (published)": (lambda x: theirs(reference, x), torch.rand_like(reference) + 0.5),
    }
    lines = [
        "| part | as it is (s) | compiled (s) | compiling (s) | pays from (projections) |",
        "|---|---|---|---|---|",
    ]
    for name, (plain, x) in tried.items():
        fast = torch.compile(plain)
        least = [float("inf")] * 2
        with torch.inference_mode():
            plain(x)
            start = time.perf_counter()
            fast(x)
            cost = time.perf_counter() - start
            for _ in range(repeats):
                for k, function in enumerate((plain, fast)):
                    start = time.perf_counter()
                    function(x)
                    least[k] = min(least[k], time.perf_counter() - start)
        gain = least[0] - least[1]
        pays = f"{cost / gain:,.0f}" if gain > 0.02 * least[0] else "never"
        lines.append(f"| {name} | {least[0]:.3f} | {least[1]:.3f} | {cost:.0f} | {pays} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def one(name: str, n: int, side: int) -> None:
    """Run one method and print this process's peak memory in GB and its CPU seconds."""
    reference, sample = stacks(n, side)
    start = time.process_time()
    if name != "none":
        method = contenders([name])[name]
        method(sample, method.prepare(reference))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, time.process_time() - start)


def main() -> None:
    """Everything, or a part of it; the report is put together from the parts that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("speed", "memory", "compile", "one"))
    parser.add_argument("--method", default="none")
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--side", type=int, default=2048)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only == "one":
        one(options.method, options.n, options.side)
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parts = {"speed", "memory", "compile"} if options.only is None else {options.only}
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    if "speed" in parts:
        with tempfile.TemporaryDirectory() as folder:
            (results / "networks_speed.md").write_text(speed(Path(folder), options.threads))
    if "memory" in parts:
        (results / "networks_memory.md").write_text(memory())
    if "compile" in parts:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # nothing compiled before
            (results / "networks_compile.md").write_text(compiled())
    machine = (
        f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__}"
    )
    sections = {
        "speed": f"## Speed: N = 20, 512 x 512 pixels ({machine})",
        "memory": "## Peak memory of a process: N = 20, 2048 x 2048 pixels",
        "compile": "## Tried: torch.compile (it is not used)",
    }
    report = ["# Networks beside umpa\n\nMade by `python benchmarks/networks.py`.\n"]
    for name, title in sections.items():
        path = results / f"networks_{name}.md"
        if path.exists():
            report.append(f"{title}\n\n{path.read_text()}")
    (HERE / "networks.md").write_text("\n".join(report))


if __name__ == "__main__":
    main()
