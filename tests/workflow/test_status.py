"""What ``speckleflow status`` says of a batch in every state."""

from __future__ import annotations

import io
import json
import os
import socket
from pathlib import Path

import pytest
from rich.console import Console

from speckleflow.config import load_config, load_scans
from speckleflow.scan.spec import ScanSpec
from speckleflow.workflow.status import Stage, read_run, scan_status, status

CONFIG = """\
scans: scans.tsv
simulate: {enabled: true, columns: 64, rows: 32, projections: 12, positions: 3}
execution: {retrieval: {projections_per_block: 4}, tomography: {rows_per_slab: 16}}
"""
START = """
[Sat Nov 21 04:51:36 2026]
rule {rule}:
    input: results/{scan}/manifest.json, results/{scan}/corrected.h5
    output: results/{scan}/fields/block_{block}.h5
    log: logs/{scan}/{rule}/{block}.log
    jobid: {job}
    reason: Missing output files: results/{scan}/fields/block_{block}.h5
    wildcards: scan={scan}, block={block}
    resources: mem_mb=850, runtime=5
Job {job} has been submitted with SLURM jobid 1{job} (log: .snakemake/slurm_logs/1{job}.log).
"""
END = """[Sat Nov 21 04:52:09 2026]
Finished jobid: {job} (Rule: {rule})
1 of 9 steps (11%) done
"""
ERROR = """[Sat Nov 21 04:52:09 2026]
Error in rule {rule}:
    message: SLURM-job '1{job}' failed, SLURM status is: 'FAILED'.
    jobid: {job}
    output: results/{scan}/fields/block_{block}.h5
    log: logs/{scan}/{rule}/{block}.log (check log file(s) for error details)
"""


@pytest.fixture
def batch(tmp_path):
    """A folder with two scans, and what its Snakemake said."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "scans.tsv").write_text("scan\na\nb\n")

    def say(words: str) -> Path:
        log = tmp_path / ".snakemake" / "log" / "2026-11-21T045135.016895.snakemake.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(words)
        return tmp_path

    return say


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def job(number: int, scan: str = "a", rule: str = "retrieve", block: int = 0) -> dict[str, str]:
    return {"job": str(number), "scan": scan, "rule": rule, "block": f"{block:04d}"}


def stages(folder: Path, scan: str) -> dict[str, Stage]:
    settings = load_scans(load_config(folder / "config.yaml"), folder)[scan]
    return scan_status(ScanSpec(scan, settings, folder), read_run(folder))


def shown(folder: Path) -> str:
    console = Console(width=200, no_color=True, record=True, file=io.StringIO())
    console.print(status(folder / "config.yaml", folder))
    return console.export_text()


def test_nothing_is_done_before_the_first_run(batch, tmp_path):
    found = stages(tmp_path, "a")
    assert found["retrieve"] == Stage(jobs=3, done=0, running=0, failed=0)
    assert found["reconstruct"].jobs == 2
    assert "0/3" in shown(tmp_path)


def test_done_running_and_failed_are_told_apart(batch):
    folder = batch(
        START.format(**job(1))
        + START.format(**job(2, block=1))
        + START.format(**job(3, block=2))
        + START.format(**job(4, scan="b"))
        + END.format(**job(1))
        + ERROR.format(**job(3, block=2))
    )
    touch(folder / "results" / "a" / "fields" / "block_0000.h5")
    assert stages(folder, "a")["retrieve"] == Stage(jobs=3, done=1, running=1, failed=1)
    assert stages(folder, "b")["retrieve"] == Stage(jobs=3, done=0, running=1, failed=0)
    assert "1/3, 1 running, 1 failed" in shown(folder)


def test_a_job_that_is_tried_again_runs(batch):
    folder = batch(START.format(**job(1)) + ERROR.format(**job(1)) + "Trying to restart job 1.\n")
    assert stages(folder, "a")["retrieve"] == Stage(jobs=3, done=0, running=1, failed=0)
    assert read_run(folder).last_failure is None


def test_the_last_failure_is_shown_with_the_end_of_its_log(batch):
    folder = batch(START.format(**job(1)) + ERROR.format(**job(1)))
    log = folder / "logs" / "a" / "retrieve" / "0000.log"
    touch(log)
    log.write_text("raw/a/sample_01.h5: expected 3 frames, found 2\n")
    assert "Last failure: logs/a/retrieve/0000.log" in shown(folder)
    assert "expected 3 frames, found 2" in shown(folder)


def test_slabs_that_were_taken_away_are_done(batch, tmp_path):
    touch(tmp_path / "results" / "a" / "volumes.h5")
    assert stages(tmp_path, "a")["reconstruct"] == Stage(jobs=2, done=2, running=0, failed=0)


def test_hidden_files_of_running_jobs_are_not_done(batch, tmp_path):
    touch(tmp_path / "results" / "a" / "fields" / ".block_0000.h5.node1-77-a1b2c3.part")
    assert stages(tmp_path, "a")["retrieve"].done == 0


def test_a_finished_run_has_nothing_running(batch):
    folder = batch(START.format(**job(1)) + "Complete log(s): x\n")
    assert stages(folder, "a")["retrieve"].running == 0
    assert "Running" not in shown(folder)


def test_a_killed_run_is_told_with_the_command(batch):
    folder = batch(START.format(**job(1)))
    note = folder / ".snakemake" / "speckleflow-owner.json"
    note.write_text(json.dumps({"host": socket.gethostname(), "pid": 2**22 + 1, "started": "x"}))
    assert "was killed" in shown(folder)
    assert "snakemake --profile slurm --unlock" in shown(folder)
    note.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": "x"}))
    assert f"Running as process {os.getpid()}" in shown(folder)


def test_a_scan_without_raw_data_does_not_hide_the_others(batch, tmp_path):
    (tmp_path / "scans.tsv").write_text("scan\tsimulate.enabled\na\ttrue\nb\tfalse\n")
    text = shown(tmp_path)
    assert "0/3" in text
    assert "cannot be planned" in text
    assert "b: " in text


def test_eighty_columns_are_enough(batch, tmp_path):
    """No line is longer, no word is broken, and a long name goes on in the next line."""
    name = "tooth_2026-11-21_overnight_scan_0042"
    folder = batch(START.format(**job(1, scan=name)) + START.format(**job(2)))
    (tmp_path / "scans.tsv").write_text(f"scan\n{name}\na\n")
    console = Console(width=80, no_color=True, record=True, file=io.StringIO())
    console.print(status(folder / "config.yaml", folder))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    for word in ("scan jobs not finished", "0/14", "retrieve 0/3, 1 running", "reconstruct 0/2"):
        assert word in text
    assert name[:24] in text
    assert name[24:] in text


def test_a_finished_scan_is_all_done(batch, tmp_path):
    (tmp_path / "scans.tsv").write_text("scan\na\n")
    results = tmp_path / "results/a"
    blocks = [results / f"{kind}/block_{b:04d}.h5" for kind in ("fields", "phase") for b in range(3)]
    files = ("manifest.json", "corrected.h5", "projections.h5", "volumes.h5", "report.html")
    touch(tmp_path / "raw/a/truth.h5", *blocks, *(results / name for name in files))
    assert " ".join(shown(tmp_path).split()).endswith("a 14/14 all done")


def test_a_time_series_has_a_film(batch, tmp_path):
    (tmp_path / "scans.tsv").write_text("scan\tgeometry.axis\tgeometry.frame_s\na\ttime\t0.1\n")
    films = tmp_path / "results" / "a" / "films"
    assert stages(tmp_path, "a")["film"] == Stage(jobs=1, done=0, running=0, failed=0)
    touch(films / "phase.png", films / "transmission.png")
    assert stages(tmp_path, "a")["film"] == Stage(jobs=1, done=1, running=0, failed=0)
    assert stages(tmp_path, "a")["reconstruct"].jobs == 0
