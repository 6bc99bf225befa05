"""``snakemake --profile slurm`` on a real Slurm: a table of scans, GPUs, what is asked for."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.slurm.conftest import PATIENCE, Watcher, same_results
from tests.slurm.mini import GPUS, job_of
from tests.workflow.conftest import Project, tiny_config

#: two scans of the same raw files that differ in how they are made
TABLE = """\
scan	files.sample	files.reference	retrieval.method	retrieval.umpa.window	filter	backend
one	raw/tiny/sample_{position:02d}.h5	raw/tiny/reference_{position:02d}.h5	umpa	5	ramlak	fourier
two	raw/tiny/sample_{position:02d}.h5	raw/tiny/reference_{position:02d}.h5	umpa	7	hann	astra
"""
ONE_JOB_A_STAGE = {
    "simulate": {"enabled": False},
    "execution": {
        "retrieval": {"projections_per_block": 12, "threads": 2},  # a node has two CPUs
        "tomography": {"rows_per_slab": 32, "threads": 1},
    },
}
VOLUMES = [f"results/{scan}/volumes.h5" for scan in ("one", "two")]


def test_a_table_of_scans_gives_the_local_runs_bits_though_jobs_are_lost(
    submitted, slurm, finished, tmp_path
):
    """One scan's retrieval is cancelled, the other's stands still until its time limit: tried again, with more."""
    cluster = submitted(TABLE, keep=(), **ONE_JOB_A_STAGE)
    before = len(slurm.jobs())
    with Watcher(cluster.folder / "results") as watcher:
        running = cluster.start(*VOLUMES)
        late = cluster.wait_for_script("retrieve")
        os.kill(late, signal.SIGSTOP)
        cancelled = cluster.wait_for_script("retrieve", but=(late,))
        slurm("scontrol", "update", f"JobId={job_of(late)}", "EndTime=now+1")
        slurm("scancel", job_of(cancelled))
        running.finish()
    jobs = slurm.jobs()[before:]
    assert watcher.looks > 0
    assert not watcher.broken
    assert Counter(job["state"] for job in jobs) == {"COMPLETED": 7 * 2, "CANCELLED": 1, "TIMEOUT": 1}
    for lost in (job for job in jobs if job["state"] != "COMPLETED"):
        (again,) = (
            job
            for job in jobs
            if (job["rule"], job["wildcards"]) == ("retrieve", lost["wildcards"]) and job is not lost
        )
        assert _mb(again["memory"]) == pytest.approx(1.5 * _mb(lost["memory"]), rel=0.01)
        if lost["state"] == "CANCELLED":  # the other's limit was changed above
            assert _minutes(again["limit"]) == 2 * _minutes(lost["limit"])
    assert {job["node"] for job in jobs} == {"node1", "node2"}
    assert not any(_gpus_asked(slurm, job["id"]) for job in jobs)

    local = Project(tmp_path / "local", tiny_config(**ONE_JOB_A_STAGE), TABLE)
    (local.folder / "raw").symlink_to(finished.folder / "raw")
    local.run(*VOLUMES)
    names = same_results(local.folder / "results", cluster.folder / "results")
    assert {f"{scan}/volumes.h5" for scan in ("one", "two")} <= set(names)


def test_gpu_jobs_see_their_gpu_and_are_never_more_than_there_are(submitted, slurm):
    # there is no CUDA behind the pretended GPUs, so the jobs end with the method's own sentence
    project = submitted(execution={"retrieval": {"device": "cuda", "projections_per_block": 4, "threads": 1}})
    before = len(slurm.jobs())
    running = project.start("--retries", "0", *(f"results/tiny/fields/block_{b:04d}.h5" for b in range(3)))
    seen, most = set(), 0
    while running.process.poll() is None:
        most = max(most, len(slurm.jobs("RUNNING")))
        for pid in project.scripts("retrieve"):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
                seen |= {word for word in words if word.startswith("CUDA_VISIBLE_DEVICES=")}
        time.sleep(0.2)
    running.finish(check=False)
    jobs = slurm.jobs()[before:]
    assert len(jobs) == 3
    assert all(_gpus_asked(slurm, job["id"]) == "Job gres:gpu:1" for job in jobs)
    assert {job["node"] for job in jobs} == {"node2"}
    assert 1 <= most <= GPUS
    assert seen == {f"CUDA_VISIBLE_DEVICES={i}" for i in range(GPUS)}
    assert "execution.retrieval.device: expected a GPU for 'cuda', found none that torch" in running.said


def test_a_gpu_is_asked_for_in_the_sites_words(submitted, slurm):
    project = submitted(execution={"retrieval": {"device": "cuda", "threads": 1}})
    before = len(slurm.jobs())
    words = ("--default-resources", "gpu_request=gres:gpu:1")
    running = project.start("--retries", "0", *words, "--", "results/tiny/fields/block_0000.h5")
    slurm.wait(lambda: slurm.jobs("RUNNING"), PATIENCE, "the job's start")
    running.kill()
    (job,) = slurm.jobs()[before:]
    assert job["node"] == "node2"
    assert _gpus_asked(slurm, job["id"]) == "Node gres:gpu:1"


def test_array_jobs_under_the_conditions_that_they_need(submitted, slurm, finished):
    project = submitted()
    before = len(slurm.jobs())
    # no limit on submissions: version 2.8.0 of the plugin loses the jobs that a limit holds back (docs/cluster.md)
    arrays = ("--slurm-array-jobs", "retrieve", "--max-jobs-per-timespan", "100000/1s")
    project.submit(*arrays, "--", *(f"results/tiny/fields/block_{b:04d}.h5" for b in range(2)))
    ids = [job["id"] for job in slurm.jobs()[before:]]
    assert [name.split("_")[1] for name in ids] == ["1", "2"]
    same_results(project.results(), finished.results())


def _gpus_asked(slurm, job: str) -> str | None:
    """How a job asked for GPUs: 'Job gres:gpu:1' by --gpus, 'Node gres:gpu:1' by --gres; None if it did not."""
    found = re.search(r"TresPer(Job|Node)=(gres:gpu\S*)", slurm("scontrol", "show", "job", job))
    return f"{found[1]} {found[2]}" if found else None


def _mb(words: str) -> float:
    """'850M' or '1.25G' as a number."""
    return float(words[:-1]) * {"M": 1, "G": 1024}[words[-1]]


def _minutes(words: str) -> int:
    """'5:00' or '1:00:00' as a number."""
    *hours, minutes, _ = (int(part) for part in words.split(":"))
    return 60 * sum(hours) + minutes
