"""A batch with broken scans: the others get their reports, the broken ones a sentence and a way out."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from speckleflow.workflow.batch import Outcome, batch_outcomes, batch_text
from speckleflow.workflow.job import ERROR, HINT
from tests.raw_scan import write_data_exchange
from tests.workflow.conftest import Project

ROWS, COLUMNS, ANGLES = 24, 32, 16
CONFIG = {
    "scans": "scans.tsv",
    "files": {"sample": "raw/{scan}.h5", "reference": None},
    "geometry": {"pixel_size_um": 1.0},
    "retrieval": {"method": "absorption"},
    "tomography": {"axis_px": 15.5},
}


def write_scan(path: Path, seed: int, *, angles: np.ndarray | None = None) -> None:
    """A rod of 0.05 a pixel, radius 6 px, on the axis; flats and darks inside."""
    rng = np.random.default_rng(seed)
    s = np.arange(COLUMNS) - 15.5
    light = 9000 * np.exp(-0.1 * np.sqrt(np.clip(36 - s**2, 0, None)))
    write_data_exchange(
        path,
        (rng.poisson(light, (ANGLES, ROWS, COLUMNS)) + 100).astype(np.uint16),
        flats=(rng.poisson(9000, (6, ROWS, COLUMNS)) + 100).astype(np.uint16),
        darks=(100 + rng.integers(0, 4, (6, ROWS, COLUMNS))).astype(np.uint16),
        angles_deg=np.arange(ANGLES) * 180 / ANGLES if angles is None else angles,
    )


def make(folder: Path, count: int) -> tuple[Project, dict[str, str]]:
    """A project of ``count`` scans, three of them broken; why each is, as it has to be told."""
    names = [f"s{number:02d}" for number in range(count)]
    project = Project(folder, CONFIG, "scan\n" + "\n".join(names) + "\n")
    for seed, name in enumerate(names):
        write_scan(folder / "raw" / f"{name}.h5", seed)
    absent, cut, turned = names[0], names[1], names[-1]
    (folder / f"raw/{absent}.h5").unlink()
    whole = (folder / f"raw/{cut}.h5").read_bytes()
    (folder / f"raw/{cut}.h5").write_bytes(whole[: len(whole) // 2])
    write_scan(folder / f"raw/{turned}.h5", count - 1, angles=np.full(ANGLES, np.nan))
    broken = {absent: "no such file", cut: "truncated", turned: "angles"}
    return project, broken


def told_of(text: str, scan: str) -> list[str]:
    """The four lines of a failed scan in the table."""
    lines = text.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith(scan) and "failed" in line)
    return lines[first : first + 4]


@pytest.mark.workflow
@pytest.mark.parametrize("count", [4, pytest.param(20, marks=pytest.mark.long)])
def test_broken_scans_do_not_stop_the_others_and_only_they_are_built_again(tmp_path, count):
    project, broken = make(tmp_path / "p", count)
    done = project.run(check=False)
    assert done.returncode != 0
    reports = sorted(path.parent.name for path in (project.folder / "results").glob("*/report.html"))
    assert len(reports) == count - 3
    assert not set(reports) & set(broken)
    last = done.stderr.rstrip().splitlines()
    assert last[-1].startswith(f"{count - 3} of {count} scans have their report, 3 failed.")
    table = "\n".join(
        last[-(4 * 3 + 2 + count - 3) :]
    )  # nothing stands between the table's lines or after them
    for scan, words in broken.items():
        verdict, why, what_to_do, log = told_of(table, scan)
        assert verdict.endswith("in inspect")
        assert f"raw/{scan}.h5" in why
        assert words in why
        assert len(what_to_do.split("what to do")[1].strip()) > 20
        assert (project.folder / log.split()[-1]).is_file()
    with (project.folder / "results/batch.tsv").open() as stream:
        rows = {row["scan"]: row for row in csv.DictReader(stream, delimiter="\t")}
    assert [rows[name]["verdict"] for name in rows].count("report") == count - 3
    assert {name for name in rows if rows[name]["verdict"] == "failed"} == set(broken)

    for scan in broken:
        write_scan(project.folder / f"raw/{scan}.h5", int(scan[1:]))
    whole = count > 4  # of a few scans the plan is enough
    before = {path: path.stat().st_mtime_ns for path in (project.folder / "results").rglob("*.h5")}
    again = project.run(*([] if whole else ["--dry-run"]))
    built = set(re.findall(r"wildcards: scan=(\w+)", again.stderr + again.stdout))
    assert built == set(broken)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    if whole:
        assert again.stderr.rstrip().splitlines()[-1] == f"{count} of {count} scans have their report"


SLURM_LOG = """\
rule retrieve:
    output: results/{scan}/fields/block_0000.h5
    log: results/{scan}/logs/retrieve/0000.log
    jobid: {job}
    wildcards: scan={scan}, block=0000
Error in rule retrieve:
    message: SLURM-job '7' failed, SLURM status is: 'OUT_OF_MEMORY'.
    jobid: {job}
    log: results/{scan}/logs/retrieve/0000.log (check log file(s) for error details)
"""


def test_each_way_to_fail_is_explained(tmp_path):
    """Two problems, a traceback, a job that the scheduler killed, one without a log, and a report of an earlier run."""
    scans = ["two", "trace", "killed", "absent", "whole", "later"]
    logs = {
        "two": f"reading\n{ERROR}a.h5: expected 1, found 2\n{ERROR}b.h5: expected 3, found 4\n{HINT}set it\n",
        "trace": "Traceback (most recent call last):\n  File x\nKeyError: 'a'\n",
        "killed": "reading\n",
    }
    for scan in scans[:-1]:
        (tmp_path / f"results/{scan}/logs/retrieve").mkdir(parents=True)
        (tmp_path / f"results/{scan}/report.html").touch()
        if scan in logs:
            (tmp_path / f"results/{scan}/logs/retrieve/0000.log").write_text(logs[scan])
    log = tmp_path / "run.log"
    log.write_text("".join(SLURM_LOG.format(scan=scan, job=job) for job, scan in enumerate(scans[:4])))
    outcomes = {o.scan: o for o in batch_outcomes(scans, "results", tmp_path, log)}
    assert [o.verdict for o in outcomes.values()] == ["failed"] * 4 + ["report", "no report"]
    assert outcomes["two"].why == "a.h5: expected 1, found 2 (and 1 more in the log)"
    assert outcomes["two"].what_to_do != "set it"  # which belongs to the other problem
    assert outcomes["trace"].why == "KeyError: 'a'"
    assert "report it" in outcomes["trace"].what_to_do
    for scan in ("killed", "absent"):
        assert "OUT_OF_MEMORY" in outcomes[scan].why
        assert "memory" in outcomes[scan].what_to_do
    assert (
        batch_text(list(outcomes.values()))
        .splitlines()[-1]
        .startswith("1 of 6 scans have their report, 4 failed")
    )


def test_of_many_scans_with_a_report_only_their_number_is_listed():
    many = [Outcome(f"s{n}", "report", path=f"results/s{n}/report.html") for n in range(197)]
    text = batch_text([*many, Outcome("x", "failed", "inspect", "w", "d", "l")])
    assert len(text.splitlines()) < 10
    assert "197 scans have their report: results/SCAN/report.html" in text
