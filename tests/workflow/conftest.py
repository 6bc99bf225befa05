"""A project folder with one tiny simulated scan, and the real Snakemake run in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.once import once

ROOT = Path(__file__).resolve().parents[2]

#: small enough for a run of a quarter of a minute, large enough for three blocks and two slabs
TINY = {
    "enabled": True,
    "columns": 64,
    "rows": 32,
    "projections": 12,
    "positions": 5,
    "phantom": "sphere",
    "detector": {"hot_pixels": 1, "dead_pixels": 1},  # as sparse as those of the demo
}


def tiny_config(**sections) -> dict:
    """Configuration of the tiny scan; ``sections`` are laid over it."""
    config = {
        "scans": "scans.tsv",
        "simulate": dict(TINY),
        "execution": {
            "retrieval": {"projections_per_block": 4, "threads": 1},
            "tomography": {"rows_per_slab": 16, "threads": 1},
        },
    }
    for name, values in sections.items():
        config[name] = {**config.get(name, {}), **values}
    return config


class Project:
    """A folder with a configuration and a scan table, where Snakemake is run."""

    def __init__(self, folder: Path, config: dict | None = None, table: str = "scan\ntiny\n") -> None:
        self.folder = folder
        if config is not None:  # else it is there
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
            (folder / "scans.tsv").write_text(table)

    def command(self, *arguments: str, cores: int = 2) -> list[str]:
        return [
            *(sys.executable, "-m", "snakemake"),
            *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder)),
            *("--configfile", str(self.folder / "config.yaml"), "--cores", str(cores)),
            *arguments,
        ]

    def run(
        self, *arguments: str, cores: int = 2, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments, cores=cores),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=900,
            env=env or environment(),
        )
        if check:
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done

    def results(self, scan: str = "tiny") -> Path:
        return self.folder / "results" / scan


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": "0", "XDG_CACHE_HOME": "/nonexistent-cache"}


def guarded(stage: str | None = None) -> dict[str, str]:
    """An environment whose Pythons refuse packages that their stage's file in envs/ does not name."""
    path = os.pathsep.join([str(ROOT / "tests" / "envs" / "guard"), str(ROOT / "src")])
    env = environment() | {"PYTHONPATH": path, "GUARD_ENVS": str(ROOT / "envs")}
    return env | ({"GUARD_STAGE": stage} if stage else {})


@pytest.fixture
def project(tmp_path) -> Callable[..., Project]:
    """Make a project: ``project(name="a", table=..., simulate={...}, ...)``."""

    def make(name: str = "project", table: str = "scan\ntiny\n", **sections) -> Project:
        return Project(tmp_path / name, tiny_config(**sections), table)

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The tiny scan, run undisturbed once a session, each stage kept to its environment's packages; read only."""
    folder = once(
        tmp_path_factory, "finished", lambda folder: Project(folder, tiny_config()).run(env=guarded())
    )
    return Project(folder)
