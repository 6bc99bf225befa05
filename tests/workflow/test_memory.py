"""What a job asks for covers what its stage takes, and is not far above it: peak memory of a process, at two sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from speckleflow.workflow.plan import REPEATS, plan_scan
from tests.raw_scan import RawScan
from tests.stages.chain import Chain
from tests.workflow.conftest import ROOT

pytestmark = pytest.mark.workflow

#: MB that Snakemake takes beside the script in a cluster job: twice itself
SNAKEMAKE_MB = 340
#: (projections, rows, columns) of the scans, and the rows of a slab
SIZES = {"small": (6, 128, 160, 16), "large": (12, 512, 640, 32)}
STAGES = ("inspect", "correct", "retrieve", "integrate", "assemble", "reconstruct", "volume", "report")
CODE = """
import json, sys
from pathlib import Path
from tests.workflow.test_memory import chain_of
chain, stage = chain_of(Path(sys.argv[1]), sys.argv[2]), sys.argv[3]
call = getattr(chain, stage)
call(0) if stage in ("retrieve", "integrate", "reconstruct") else call()
status = Path("/proc/self/status").read_text()  # getrusage would count the parent's memory at the fork
print(json.dumps(int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6))
"""


class _Files(RawScan):
    """The scan's settings without its frames, which a measured process must not hold."""

    def __post_init__(self) -> None:
        pass


def chain_of(folder, size: str, kind: type[RawScan] = _Files) -> Chain:
    projections, rows, columns, slab = SIZES[size]
    raw = kind(folder, projections=projections, size=(rows, columns))
    sections = {
        "tomography": {"axis_px": columns / 2},
        "execution": {
            "retrieval": {"threads": 1, "projections_per_block": projections},
            "tomography": {"threads": 1, "rows_per_slab": slab},
        },
    }
    return Chain(raw, ((0, projections),), ((0, slab),), sections)


@pytest.fixture(scope="module", params=SIZES)
def measured(request, tmp_path_factory):
    """Size, and MB of every stage in a process of its own."""
    size = request.param
    folder = tmp_path_factory.mktemp(size)
    raw = chain_of(folder, size, RawScan).raw
    for stacks in (raw.flats, raw.darks):
        stacks.update(
            {name: np.resize(frames, (REPEATS, *frames.shape[1:])) for name, frames in stacks.items()}
        )
    for name in [name for name in raw.frames if name.startswith("reference")]:
        raw.frames[name] = np.resize(raw.frames[name], (REPEATS, *raw.frames[name].shape[1:]))
    raw.write()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    peaks = {}
    for stage in STAGES:
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(folder), size, stage],
            capture_output=True, text=True, timeout=600, env=environment, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        peaks[stage] = json.loads(done.stdout.splitlines()[-1])
    chain = chain_of(folder, size)
    return size, peaks, plan_scan(chain.spec)


def test_a_request_covers_the_peak_and_uses_four_fifths_of_it(measured):
    size, peaks, plan = measured
    shares = {stage: (peaks[stage] + SNAKEMAKE_MB) / plan.memory_mb(stage) for stage in STAGES}
    print(size, {stage: (round(peaks[stage]), plan.memory_mb(stage)) for stage in STAGES})
    for stage, share in shares.items():
        assert share <= 1.0, (size, stage, peaks[stage], plan.memory_mb(stage))
        if size == "large":
            assert share >= 0.8, (size, stage, peaks[stage], plan.memory_mb(stage))
