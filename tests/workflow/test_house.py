"""The workflow's own tidiness: small Snakefile, thin scripts, one a rule, lint and format clean."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.workflow.conftest import ROOT

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))


def test_the_snakefile_is_under_60_lines():
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 60


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_thin_and_named_after_its_rule(script):
    assert len(script.read_text().splitlines()) < 40
    assert any(f"scripts/{script.name}" in rules.read_text() for rules in RULES)


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.stem)
def test_every_computing_rule_has_a_log_an_environment_and_resources(rules):
    for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", rules.read_text(), re.S | re.M):
        for part in ("log:", "conda:", "resources:", f"scripts/{name}.py"):
            assert part in body, f"rule {name} has no {part}"
        for env in re.findall(r'conda:\s*"\.\./\.\./([^"]+)"', body):
            assert (ROOT / env).is_file(), f"rule {name}: {env} does not exist"


def test_the_workflow_starts_without_numerical_libraries():
    """Every Snakemake of a run, two a cluster job, imports this: 0.6 s of scipy and 2.3 s of torch are for the jobs."""
    lines = re.findall(r"^from speckleflow\..*$", (ROOT / "workflow/rules/common.smk").read_text(), re.M)
    assert len(lines) > 5
    code = "\n".join([*lines, "import sys", "print(*sys.modules)"])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    heavy = {"scipy.ndimage", "scipy.fft", "scipy.spatial", "scipy.optimize", "torch", "matplotlib", "zarr"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.slow
def test_lint_and_format_are_clean():
    lint = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr
    form = subprocess.run(
        [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow/rules"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert form.returncode == 0, form.stderr
