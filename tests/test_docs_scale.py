"""The figures of docs/scale.md that follow from the code: jobs, memory, and the arithmetic of hours and bytes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from speckleflow.config import ScanConfig
from speckleflow.retrieval.registry import spec_of
from speckleflow.scan.spec import ScanSpec
from speckleflow.workflow.plan import Plan, plan_scan
from speckleflow.workflow.rates import VARIABLE

PAGE = (Path(__file__).parents[1] / "docs/scale.md").read_text(encoding="utf-8")
PROJECTIONS, POSITIONS, SIDE = 901, 3, 2048
RAW_GB = 2 * PROJECTIONS * POSITIONS * SIDE**2 / 1e9


@pytest.fixture
def plan(tmp_path, monkeypatch) -> Plan:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    shape = {"columns": SIDE, "rows": SIDE, "projections": PROJECTIONS, "positions": POSITIONS}
    config = {"simulate": {"enabled": True, **shape}, "retrieval": {"method": "umpa"}}
    return plan_scan(ScanSpec("a", ScanConfig.model_validate(config)))


def rows(title: str) -> list[list[str]]:
    """Cells of the first table below a title, without its head."""
    lines = PAGE.split(f"## {title}\n")[1].split("\n## ")[0].splitlines()
    table = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    return [[cell.strip().strip("*") for cell in row] for row in table[2:]]


def test_jobs_and_memory_are_those_of_the_plan(plan):
    number = {"retrieve": len(plan.blocks), "integrate": len(plan.blocks), "reconstruct": len(plan.slabs)}
    table = rows("Memory of one job")
    assert len(table) == 6
    for stage, jobs, memory in table:
        assert int(jobs) == number.get(stage, 1), stage
        assert int(memory) == plan.memory_mb(stage), stage


def test_bytes_are_those_of_the_fields_and_volumes(plan):
    table = {row[0]: row for row in rows("Bytes")}
    assert f"{RAW_GB:.1f} GB of uint16" in PAGE
    fields = next(name for name in table if name.startswith("`fields/`: ux"))
    named = set(re.findall(r"\w+", fields.split(":")[1].split("(")[0]))
    assert named == set(spec_of("umpa").output_fields) - {"flags"} | {"misfit"}
    assert plan.fields == len(named)
    image, volume = 4 * PROJECTIONS * SIDE**2 / 1e9, 4 * SIDE**3 / 1e9
    assert float(table[fields][2]) == pytest.approx(len(named) * image, abs=0.1)
    assert float(table["`volumes.h5`: delta, mu, darkfield (float32)"][2]) == pytest.approx(
        3 * volume, abs=0.1
    )
    *parts, written = table.values()
    assert sum(float(row[2]) for row in parts) == pytest.approx(float(written[2]), rel=0.005)
    assert float(written[1]) == pytest.approx(float(written[2]) / RAW_GB, abs=0.1)


def test_hours_are_seconds_times_projections_and_slices():
    table = {row[0]: row for row in rows("CPU hours")}
    for stage, count in (("retrieve", PROJECTIONS), ("integrate", PROJECTIONS), ("reconstruct", 3 * SIDE)):
        for name, row in table.items():
            if name.startswith(stage):
                seconds, hours = float(row[1].split()[0]), float(row[3].split()[0])
                assert hours == pytest.approx(seconds * count / 3600, rel=0.05), name
