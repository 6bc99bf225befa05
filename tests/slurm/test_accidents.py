"""What can go wrong on a cluster, done to a real one: kills, limits, a full disk. The result is the same."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.slurm.conftest import PATIENCE, ROOT, Watcher, same_results

BLOCK = "results/tiny/fields/block_0000.h5"


def test_kill_9_and_start_again_while_old_jobs_still_write(submitted, slurm, finished):
    project = submitted()
    before = len(slurm.jobs())
    block, phase = project.folder / BLOCK, "results/tiny/phase/block_0000.h5"
    with Watcher(project.folder / "results") as watcher:
        first = project.start(phase)
        old = project.wait_for_script("retrieve")
        os.kill(old, signal.SIGSTOP)  # this one is slow: it writes when its successor is long done
        first.kill()
        subprocess.run(project.submitting("--unlock"), cwd=ROOT, env=project.env, check=True)
        second = project.start(phase)
        slurm.wait(block.exists, PATIENCE, "the second run's block")
        assert Path(f"/proc/{old}").exists()
        written = block.stat().st_ino
        os.kill(old, signal.SIGCONT)
        second.finish()
        slurm.wait(lambda: not slurm.jobs("RUNNING"), 60, "the old job's end")
    assert block.stat().st_ino != written, "the old job never wrote"
    assert watcher.looks > 0
    assert not watcher.broken
    jobs = [job["rule"] for job in slurm.jobs()[before:]]
    assert jobs == ["retrieve", "retrieve", "integrate"], (
        "no job was submitted twice: this test shows nothing"
    )
    assert "phase/block_0000.h5" in same_results(project.results(), finished.results())
    assert not list(project.folder.rglob(".*.part"))


def test_a_dead_node_loses_nothing(submitted, slurm, finished):
    project = submitted()
    running = project.start(BLOCK)
    project.wait_for_script("retrieve")
    (job,) = slurm.jobs("RUNNING")
    slurm.kill_node(job["node"])  # what the job started goes on there, and writes as well
    try:
        slurm.wait(lambda: slurm.jobs("PENDING"), 120, "Slurm to see that the node is dead")
        slurm("scontrol", "update", f"JobId={job['id']}", "StartTime=now")  # else it waits two minutes
        running.finish()
    finally:
        slurm.start_node(job["node"])
        slurm.wait(lambda: slurm.node_states()[job["node"]] == "idle", 60, "the node's return")
    slurm.wait(lambda: not project.scripts("retrieve"), 60, "the orphan's end")
    again = slurm.jobs()[-1]
    assert (again["id"], again["state"]) == (job["id"], "COMPLETED")
    assert again["node"] != job["node"]
    same_results(project.results(), finished.results())


def test_a_job_killed_for_memory_is_tried_again_with_more(submitted, slurm, finished):
    project = submitted()
    # 150 MB do not hold a Python with torch, 1200 MB do
    project.submit("--set-resources", "retrieve:mem_mb=150*attempt**3", "--", BLOCK)
    first, second = slurm.jobs()[-2:]
    assert first["state"] in ("FAILED", "OUT_OF_MEMORY", "CANCELLED")  # FAILED without cgroups
    assert (first["memory"], second["memory"], second["state"]) == ("150M", "1200M", "COMPLETED")
    same_results(project.results(), finished.results())


def test_what_is_wrong_with_the_data_is_not_tried_again(submitted, slurm):
    project = submitted(keep=())
    raw = project.folder / "raw" / "tiny" / "sample_02.h5"
    with raw.open("r+b") as stream:
        stream.truncate(raw.stat().st_size // 2)
    before = len(slurm.jobs())
    done = project.submit("results/tiny/manifest.json", check=False)
    assert done.returncode != 0
    assert "sample_02.h5: expected" in done.stdout
    assert len(slurm.jobs()) == before + 1
    assert not (project.results() / "manifest.json").exists()


def test_a_full_disk_says_so_and_leaves_nothing_half(submitted, slurm, finished):
    project = submitted(keep=())
    results = project.folder / "results"
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(results)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        for name in ("manifest.json", "corrected.h5"):
            project.results().mkdir(exist_ok=True)
            (project.results() / name).write_bytes((finished.results() / name).read_bytes())
        filler = results / "filler"
        with filler.open("wb") as stream:
            room = os.statvfs(results).f_bavail * os.statvfs(results).f_frsize
            stream.write(bytes(room - 30_000))
        with Watcher(results) as watcher:
            full = project.submit("--retries", "0", BLOCK, check=False)
            assert full.returncode != 0
            assert f"{BLOCK}: could not be written, the disk of results/tiny/fields is full" in full.stdout
            assert not list((project.results() / "fields").glob("*"))
            assert not list((project.results() / "fields").glob(".*"))
            filler.unlink()
            project.submit(BLOCK)
        assert not watcher.broken
        same_results(project.results(), finished.results())
    finally:
        subprocess.run(["umount", "-l", str(results)], check=True)
