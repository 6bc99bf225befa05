"""Memory that really runs out, in a process whose address space is limited."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit of the address space is Linux's")

#: freed arrays go back to the system at once, so that the address space tells what is in use
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}


def scarce(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("scarce.py")
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **ALLOCATOR},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("what", "said"), [("tiles", "smaller tiles"), ("batch", "batches of ")])
def test_less_memory_means_smaller_parts_and_the_same_result(what, said):
    done = scarce(what)
    assert done.returncode == 0, done.stderr
    assert f"out of memory: going on with {said}" in done.stderr
    assert float(done.stdout) < 1e-4  # px


@pytest.mark.slow
def test_no_memory_at_all_is_a_sentence_and_leaves_no_file(tmp_path):
    noise = np.random.default_rng(0).normal(size=(3, 96, 112))
    reference = gaussian_filter(noise, (0, 1.5, 1.5), mode="wrap")
    reference = 1000 * (1 + 0.25 * reference / reference.std())
    np.save(tmp_path / "reference.npy", reference)
    np.save(tmp_path / "sample.npy", 0.8 * np.roll(reference, (1, 2), (1, 2)))
    done = scarce(
        *("main", "retrieve", "--method", "espinnet"),
        *("--reference", "reference.npy", "--sample", "sample.npy", "--output", "fields.h5"),
        folder=tmp_path,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "speckleflow: out of memory on cpu: a stack of 3 frames of 96 x 112 pixels does not"
    )
    assert last.endswith("give the job more memory")
    assert {path.name for path in tmp_path.iterdir()} == {"reference.npy", "sample.npy"}
