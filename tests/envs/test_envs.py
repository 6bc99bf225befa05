"""The conda environments: one a stage, pinned to the tested versions, and enough for their stage."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import ROOT, finished, guarded

__all__ = ["finished"]  # the local run, shared with the tests of the workflow

ENVS = sorted((ROOT / "envs").glob("*.yaml"))
STAGES = [path.stem for path in ENVS]
PYPI = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
#: not on PyPI, so in no lock file; envs/README.md says so
CONDA_ONLY = {"tomopy", "dxchange"}


def pins(path: Path) -> dict[str, str]:
    lines = yaml.safe_load(path.read_text())["dependencies"]
    return {name: version for name, _, version in (line.partition("=") for line in lines)}


def lock() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def test_every_rule_names_a_file_and_every_file_is_named():
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    assert set(re.findall(r'"\.\./\.\./envs/(\w+)\.yaml"', rules)) == set(STAGES)


@pytest.mark.parametrize("path", ENVS, ids=STAGES)
def test_pins_are_the_tested_versions(path):
    tested = lock()
    found = pins(path)
    assert found.pop("python") == "3.11"
    for name in CONDA_ONLY & found.keys():
        found.pop(name)
    assert found == {name: tested.get(PYPI.get(name, name)) for name in found}


@pytest.mark.parametrize("path", ENVS, ids=STAGES)
def test_only_conda_forge(path):
    assert yaml.safe_load(path.read_text())["channels"] == ["conda-forge", "nodefaults"]


#: the stages that a scan runs through; the others are imported alone
RUN = (
    "simulate",
    "inspect",
    "correct",
    "retrieve",
    "integrate",
    "assemble",
    "reconstruct",
    "volume",
    "report",
)


@pytest.mark.parametrize("stage", sorted(set(STAGES) - set(RUN)))
def test_a_stage_imports_nothing_its_file_does_not_name(stage):
    done = subprocess.run(
        [sys.executable, "-c", f"import speckleflow.workflow.job, speckleflow.stages.{stage}"],
        env=guarded(stage),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_guard_refuses():
    done = subprocess.run(
        [sys.executable, "-c", "import speckleflow.stages.retrieve"],
        env=guarded("volume"),
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "which volume.yaml does not name" in done.stderr


@pytest.mark.parametrize("backend", ["fourier", "astra"])
def test_reconstruct_names_what_its_backends_import(backend):
    code = f"from speckleflow.tomo.backends.registry import backend_class; backend_class({backend!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=guarded("reconstruct"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.workflow
def test_a_scan_runs_with_each_stage_kept_to_its_file(finished):
    """The scan that the other tests look at has run under the guard."""
    assert (finished.results() / "report.html").exists()
    logs = list(finished.folder.rglob("*.log"))
    assert {path.stem for path in logs} | {path.parent.name for path in logs} >= set(RUN)
