"""Rights of a user who is not root: read-only raw data, results that cannot be written, files that cannot be read."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import Project, environment
from tests.workflow.test_batch import CONFIG, write_scan

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("setpriv") is None,
        reason="needs root and setpriv: files of another user are made, and root's powers given up",
    ),
]
OTHER = 65534  #: a user of whom this one has no rights


@pytest.fixture
def mine(tmp_path) -> Project:
    project = Project(tmp_path / "p", CONFIG, "scan\na\nb\n")
    for seed, name in enumerate("ab"):
        write_scan(project.folder / f"raw/{name}.h5", seed)
    return project


def run(project: Project, *targets: str) -> tuple[int, str]:
    """Snakemake as a user without root's powers; exit status and what it said."""
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run(
        [*powerless, *project.command(*targets, cores=1)],
        cwd=project.folder, capture_output=True, text=True, timeout=300, env=environment(),
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def give_away(path: Path, mode: int) -> None:
    os.chown(path, OTHER, OTHER)
    path.chmod(mode)


def test_raw_data_are_read_where_nothing_may_be_written_and_one_unreadable_file_stops_one_scan(mine):
    raw = mine.folder / "raw"
    give_away(raw / "a.h5", 0o444)
    give_away(raw / "b.h5", 0o000)
    give_away(raw, 0o555)
    before = sorted((p.name, p.stat().st_mtime_ns) for p in raw.iterdir())
    status, said = run(mine, "inspected")
    assert status != 0
    assert (mine.results("a") / "manifest.json").exists()
    assert "raw/b.h5: expected an HDF5 file that may be read, found no permission to read it" in said
    assert "Traceback" not in said
    assert "1 failed" in said.splitlines()[-1]
    assert sorted((p.name, p.stat().st_mtime_ns) for p in raw.iterdir()) == before


@pytest.mark.parametrize("place", ["results", "."])
def test_a_folder_that_cannot_be_written_is_said_before_anything_is_done(mine, place):
    folder = mine.folder / place
    folder.mkdir(exist_ok=True)
    give_away(folder, 0o555)
    status, said = run(mine, "inspected")
    assert status != 0
    assert f"expected a folder that can be written, found no permission in {folder}" in said
    assert "Traceback" not in said
    assert not list(folder.rglob("*.json"))


def test_a_folder_that_cannot_be_looked_into(mine):
    give_away(mine.folder / "raw", 0o000)
    (mine.folder / "config.yaml").write_text(
        yaml.safe_dump({**CONFIG, "files": {"sample": "raw/{scan}_{position}.h5", "reference": None}})
    )
    status, said = run(mine, "inspected")
    assert status != 0
    assert "raw: expected a folder with sample files, found no permission to look into it" in said
    assert "Traceback" not in said
