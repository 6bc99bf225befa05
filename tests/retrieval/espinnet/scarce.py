"""A process whose memory really runs out: python scarce.py tiles|batch, or scarce.py main ARGUMENTS OF SPECKLEFLOW.

It limits its own address space, so that the allocators of torch and oneDNN fail as on a machine without memory.
"""

from __future__ import annotations

import logging
import resource
import sys
from pathlib import Path

import torch

from speckleflow.retrieval.espinnet.retriever import Espinnet, NetworkRetriever
from speckleflow.retrieval.espinnet.settings import EspinnetSettings
from speckleflow.retrieval.filters import filter_xy, gaussian


def used(key: str) -> int:
    """Bytes of address space of this process: VmSize now, or VmPeak until now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])


def limit(size: float) -> None:
    """No more address space than so many bytes."""
    resource.setrlimit(resource.RLIMIT_AS, (int(size), resource.RLIM_INFINITY))


class Said(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def networks(what: str) -> None:
    """A run with all the memory it wants, then ones with ever less, until one says so; how far that one is off.

    Half of the image with its halo needs two thirds of what the whole one does; of four images on four threads, two
    need half: steps of a twentieth do not miss what lies between. How much the whole one needs depends on the machine.
    """
    images, width, threads = (1, 2048, 1) if what == "tiles" else (4, 320, 4)
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(8)
    noise = torch.randn(3, 64, width, generator=generator)
    pattern = filter_xy(noise, gaussian(1.2), gaussian(1.2), "mirror")
    reference = 1 + 0.3 * pattern / pattern.std()
    sample = (0.8 * reference.roll((2, -1), (2, 1))).repeat(images, 1, 1, 1)
    sample += 0.02 * torch.randn(sample.shape, generator=generator)
    method = Espinnet(EspinnetSettings())
    first = method.prepare(reference)
    first.side = 64
    method(sample[:1], first)  # what is loaded and planned once
    del first
    before = used("VmSize")
    whole = method(sample, method.prepare(reference))
    needed = used("VmPeak") - before
    said = Said()
    logging.getLogger().addHandler(said)
    for twentieths in range(20, 2, -1):
        limit(before + twentieths / 20 * needed)
        again = method(sample, method.prepare(reference))
        if said.messages:
            break
    assert again.ux is not None
    assert whole.ux is not None
    print(float((again.ux - whole.ux).abs().max()))


def main() -> None:
    """Speckleflow's command line, with next to no memory from the moment when the network begins."""
    from speckleflow import cli
    from speckleflow.stages import by_hand  # noqa: F401  (loaded before there is none)

    retrieve = NetworkRetriever._retrieve

    def poor(self, sample, state):
        limit(used("VmSize") + 3e6)
        return retrieve(self, sample, state)

    NetworkRetriever._retrieve = poor  # type: ignore[method-assign]
    cli.main()


if __name__ == "__main__":
    what = sys.argv.pop(1)
    if what == "main":
        main()
    else:
        logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
        networks(what)
