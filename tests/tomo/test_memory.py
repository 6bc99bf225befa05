"""The prediction against the peak of a real process, and what it does not depend on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from speckleflow.errors import ConfigError
from speckleflow.tomo.memory import rows_that_fit, slab_memory_bytes

JOB = r"""
import re, sys
from pathlib import Path
import h5py
import numpy as np
from speckleflow.tomo.backends import make_backend
from speckleflow.tomo.sinogram import line_integrals
rows, angles, columns, name = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
backend = make_backend(name, np.arange(angles) * 180 / angles, columns, (columns - 1) / 2)
values = line_integrals("transmission", np.ones((angles, rows, columns), np.float32), 1e-3).values
slices = backend(np.ascontiguousarray(values.transpose(1, 0, 2))) * np.float32(3)
print(1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]))
"""


def peak(rows, angles, columns, backend):
    command = [sys.executable, "-c", JOB, str(rows), str(angles), str(columns), backend]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(
    ("rows", "angles", "columns", "backend"),
    [(4, 300, 512, "fourier"), (32, 300, 512, "fourier"), (6, 900, 1024, "fourier"), (1, 90, 256, "astra")],
)
def test_prediction_holds(rows, angles, columns, backend):
    if backend == "astra":
        pytest.importorskip("astra")
    predicted, real = slab_memory_bytes(rows, angles, columns, backend), peak(rows, angles, columns, backend)
    assert real <= predicted
    assert predicted <= 1.6 * real


def test_rows_follow_from_the_memory():
    rows = rows_that_fit(2e9, 900, 1024)
    assert slab_memory_bytes(rows, 900, 1024) <= 2e9 < slab_memory_bytes(rows + 1, 900, 1024)
    assert rows_that_fit(1e6, 900, 1024) == 1
    with pytest.raises(ConfigError, match="'sirt'"):
        slab_memory_bytes(1, 1, 1, "sirt")
