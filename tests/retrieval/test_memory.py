"""Memory of a retrieval: what umpa plans with, and what the allocator keeps, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and glibc are Linux's")

PEAK = """
import torch
from speckleflow.retrieval.umpa.settings import UmpaSettings
from speckleflow.retrieval.umpa.retriever import Umpa, _bytes_per_pixel

def memory(key):
    with open("/proc/self/status") as status:
        return 1024 * int(next(line for line in status if line.startswith(key)).split()[1])

torch.set_num_threads(2)
generator = torch.Generator().manual_seed(1)
umpa = Umpa(UmpaSettings())
warm = torch.rand(3, 64, 64, generator=generator) + 1
umpa(warm[None], umpa.prepare(warm))
for n in (4, 16):
    reference = torch.rand(n, 384, 448, generator=generator) + 1
    sample = reference.roll(1, 1)[None]
    before = memory("VmRSS")
    umpa(sample, umpa.prepare(reference))
    print((memory("VmHWM") - before) / (_bytes_per_pixel(n) * 384 * 448))
"""

FREED = """
import sys
import numpy as np
from speckleflow.allocator import keep_freed_memory

def resident():
    with open("/proc/self/status") as status:
        return 1024 * int(next(line for line in status if line.startswith("VmRSS")).split()[1])

if sys.argv[1] == "keep":
    keep_freed_memory()
array = np.ones(1 << 20)
before = resident()
del array
print((before - resident()) / (8 << 20))
"""


def run(code: str, *arguments: str, **environment: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(line) for line in done.stdout.split()]


@pytest.mark.slow
def test_umpa_needs_no_more_than_it_plans_with():
    """Peak over the estimate that tiles are cut by, which has a third to spare."""
    # freed arrays go back to the system at once, so that the peak is what is in use
    small = {f"MALLOC_{key}_THRESHOLD_": "65536" for key in ("MMAP", "TRIM")}
    for share in run(PEAK, MALLOC_ARENA_MAX="1", **small):
        assert 0.5 < share < 0.85  # measured: 0.60 to 0.65


def test_freed_arrays_stay_with_the_process():
    """Of an array of 8 MiB all pages go back to the system when it is freed, with the setting none do."""
    (plain,), (kept,) = run(FREED, "plain"), run(FREED, "keep")
    assert plain > 0.9
    assert kept < 0.1
