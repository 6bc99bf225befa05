"""``speckleflow run`` and ``clean``: Snakemake with a line of progress, and what may be deleted."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from speckleflow.errors import ConfigError
from speckleflow.workflow.clean import clean
from speckleflow.workflow.run import Progress, snakemake_command
from tests.workflow.conftest import ROOT, Project, environment, tiny_config

WORDS = """
Job stats:
rule retrieve:
    wildcards: scan=rods, block=0000
1 of 12 steps (8%) done
rule reconstruct:
    wildcards: scan=rods, slab=0003
Error in rule reconstruct:
6 of 12 steps (50%) done
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fed(stream: io.StringIO, seconds: float) -> Progress:
    times = iter([0.0])
    progress = Progress(stream, clock=lambda: next(times, seconds))
    for line in WORDS.splitlines():
        progress.feed(line)
    return progress


def test_the_line_says_scan_stage_percent_rate_and_time_left():
    """Six of twelve jobs in two minutes: three a minute, two minutes left."""
    text = fed(io.StringIO(), 120.0).text()
    assert text == "rods: reconstruct  6/12 jobs, 50 %  3 jobs/min  2 min left  1 failed"


def test_a_terminal_has_one_line_and_a_file_some():
    terminal, file = Terminal(), io.StringIO()
    fed(terminal, 60.0)
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().count("\r") >= 4
    fed(file, 60.0)
    lines = file.getvalue().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["1/12 jobs, 8 %", "6/12 jobs, 50 %"]


def test_the_line_fits_80_columns():
    progress = Progress(io.StringIO(), clock=iter([0.0] + [7.0] * 99).__next__)
    progress.feed("rule reconstruct:")
    progress.feed("    wildcards: scan=" + "long_name_" * 9)
    progress.feed("99999 of 123456 steps (81%) done")
    assert len(progress.text()) < 80
    assert progress.text().endswith("left")


def test_targets_are_not_taken_for_configurations():
    """Snakemake's --configfile takes every word that follows it."""
    command = snakemake_command(Path("c.yaml"), None, "assemble", True, "3", ROOT)
    assert command[-2:] == ["--configfile", "c.yaml"]
    assert command.index("previews") < command.index("--configfile")
    assert command[command.index("--cores") + 1] == "3"
    assert command[command.index("--until") + 1] == "assemble"
    slurm = snakemake_command(Path("c.yaml"), "slurm", None, False, "all", ROOT)
    assert slurm[slurm.index("--profile") + 1] == str(ROOT / "workflow/profiles/slurm")
    assert "--cores" not in slurm
    with pytest.raises(ConfigError, match=r"--until: expected a stage .* did you mean 'assemble'\?"):
        snakemake_command(Path("c.yaml"), None, "assembl", False, "all", ROOT)


def speckleflow(folder, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from speckleflow.cli import main; main()", *words]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=600)


@pytest.mark.workflow
def test_a_run_ends_with_the_table_and_little_else(finished, tmp_path):
    """A report is made again by `run`; then `run --preview` and the same by Snakemake, in both orders of its words."""
    shutil.copytree(finished.folder, tmp_path / "p", symlinks=True)
    project = Project(tmp_path / "p", tiny_config())
    (project.results() / "report.html").unlink()
    done = speckleflow(project.folder, "run", "config.yaml", "--cores", "1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (project.results() / "report.html").exists()
    progress = done.stderr.strip().splitlines()
    assert len(progress) <= 11
    assert max(map(len, progress)) < 80
    assert "tiny: report" in progress[0]
    assert "jobs, 100 %" in progress[-1]
    assert "tiny  report      results/tiny/report.html" in done.stdout
    assert "1 of 1 scans have their report" in done.stdout
    planned = speckleflow(project.folder, "run", "config.yaml", "--preview", "--dry-run")
    assert "preview" in planned.stdout
    assert "report" not in planned.stdout
    for words in (["previews", "--configfile", "config.yaml"], ["--configfile=config.yaml", "previews"]):
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "-n", *words]
        same = subprocess.run(command, cwd=project.folder, env=environment(), capture_output=True, text=True)
        assert same.returncode == 0, same.stderr[-2000:]
        assert "rule preview:" in same.stdout
    (project.folder / "config.yaml").write_text("scans: scans.tsv\nsimulat: {}\n")
    wrong = speckleflow(project.folder, "run", "config.yaml")
    assert wrong.returncode == 1
    assert wrong.stderr.strip().count("\n") == 0
    assert "did you mean 'simulate'" in wrong.stderr


# ---- clean -----------------------------------------------------------------------------------------------------


@pytest.fixture
def batch(tmp_path) -> Project:
    """Results of a scan, what killed and living jobs have left, and slabs that are in the volume."""
    project = Project(tmp_path, tiny_config())
    folder = project.results()
    host, dead, alive = socket.gethostname(), 2**22 + 1, os.getpid()
    sizes = {
        "fields/block_0000.h5": 4000,
        "volumes.h5": 9000,
        "slabs/slab_0000.h5": 3000,
        f"fields/.block_0001.h5.{host}-{dead}-a1b2c3.part": 500,
        f"fields/.block_0002.h5.{host}-{alive}-a1b2c3.part": 600,
        "fields/.block_0003.h5.node7-12-a1b2c3.part": 700,
        f".ome-zarr.{host}-{dead}-a1b2c3.part/volumes.ome.zarr/0/c": 800,
        "tiff/mu.tif": 2000,
    }
    for name, size in sizes.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * size)
    return project


def test_clean_says_what_may_go_and_frees_only_that(batch):
    folder = batch.results()
    before = set(folder.rglob("*"))
    found = clean(batch.folder / "config.yaml", root=batch.folder)
    assert set(folder.rglob("*")) == before, "nothing is deleted without being asked"
    assert sorted(entry.size for entry in found.free) == [500, 800, 3000]
    text = found.text(freed=False)
    assert "4.3 kB to free; add --yes to do it" in text
    assert "read by projections.h5" in text
    again = clean(batch.folder / "config.yaml", delete=True, root=batch.folder)
    assert "4.3 kB freed" in again.text(freed=True)
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    host = socket.gethostname()
    assert left == {
        "fields/block_0000.h5",
        "volumes.h5",
        "tiff/mu.tif",
        f"fields/.block_0002.h5.{host}-{os.getpid()}-a1b2c3.part",  # its process lives
        "fields/.block_0003.h5.node7-12-a1b2c3.part",  # of another machine, written just now
    }
    assert "Nothing is left over." in clean(batch.folder / "config.yaml", root=batch.folder).text(False)


def test_slabs_stay_until_they_are_in_the_volume(batch):
    (batch.results() / "volumes.h5").unlink()
    found = clean(batch.folder / "config.yaml", root=batch.folder)
    assert sorted(entry.size for entry in found.free) == [500, 800]


def test_nothing_is_freed_under_a_run(batch):
    log = batch.folder / ".snakemake/log/2026-11-21T045135.016895.snakemake.log"
    log.parent.mkdir(parents=True)
    log.write_text("rule retrieve:\n    jobid: 1\n    wildcards: scan=tiny\n")
    with pytest.raises(ConfigError, match="expected no run in this folder, found one that goes on"):
        clean(batch.folder / "config.yaml", delete=True, root=batch.folder)
    assert clean(batch.folder / "config.yaml", root=batch.folder).free
