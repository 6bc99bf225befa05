"""The table of rates: measured, read, refused where damaged; predictions follow it, how a scan is cut does not."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from speckleflow.errors import ConfigError
from speckleflow.scan.spec import ScanSpec
from speckleflow.workflow.forecast import forecast
from speckleflow.workflow.plan import plan_scan
from speckleflow.workflow.rates import VARIABLE, Rates, load_rates, measure_rates
from tests.workflow.test_plan import scan_of


@pytest.fixture
def table(tmp_path, monkeypatch):
    path = tmp_path / "rates.json"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def write(path, **changes) -> None:
    path.write_text(json.dumps({**asdict(Rates()), **changes}))


def test_a_machine_is_measured_and_its_table_is_read(table, capsys):
    lines = []
    assert measure_rates(side=48, angles=24, report=lines.append, repeats=1) == table
    rates = load_rates()
    assert all(0 < value < 1e12 for value in asdict(rates).values())
    assert rates != Rates()
    assert len(lines) == 6


def test_without_a_table_the_package_s_holds(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_rates() == Rates()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "found damage"),
        ("[]", "expected the rates"),
        ('{"umpa": 1.0}', "expected the rates"),
        (json.dumps({**asdict(Rates()), "disk": 0}), "disk: expected a number above 0, found 0"),
        (json.dumps({**asdict(Rates()), "disk": "fast"}), "disk: expected a number above 0, found 'fast'"),
    ],
)
def test_a_damaged_table_is_refused_with_a_way_out(table, text, part):
    table.write_text(text)
    with pytest.raises(ConfigError, match=r"benchmark --this-machine") as caught:
        load_rates()
    assert part in str(caught.value)
    assert str(table) in str(caught.value)


def test_a_named_table_that_is_not_there_is_refused(table):
    with pytest.raises(ConfigError, match="found no file"):
        load_rates()


def test_predictions_follow_the_table_and_the_jobs_do_not(table):
    """Each rate twice as slow: its stage takes twice as long, and a scan is cut as before."""
    scan = scan_of("umpa", rows=1024, columns=1024, projections=1800)
    write(table)
    before = plan_scan(scan)
    hours = forecast(before, scan.config).cpu_seconds
    for changes, stage in (
        ({"umpa": 2.0}, "retrieve"),
        ({"integration": 2 * Rates().integration}, "integrate"),
        ({"fourier_slice": 2 * Rates().fourier_slice}, "reconstruct"),
        ({"disk": Rates().disk / 2}, "volume"),
    ):
        write(table, **changes)
        after = plan_scan(scan)
        assert replace(after, rates=before.rates) == before
        assert after.runtime_min(stage) > 1.9 * before.runtime_min(stage) - 2, stage
        assert after.memory_mb(stage) == before.memory_mb(stage)
        if stage != "volume":
            assert forecast(after, scan.config).cpu_seconds > 1.05 * hours


def test_the_forecast_counts_bytes_and_the_gpu():
    """900 projections of 512 x 1024 px, three positions: seven fields of 4 bytes, the phase and the
    flags; 512 x 1024^2 voxels."""
    scan = scan_of("umpa", rows=512, columns=1024, projections=900)
    plan = plan_scan(scan)
    told = forecast(plan, scan.config)
    maps, volumes = 900 * 512 * 1024 * (4 * 8 + 1), 3 * 512 * 1024**2 * 4
    assert told.kept_bytes == maps + volumes
    assert told.passing_bytes == volumes
    assert told.raw_bytes == 900 * plan.positions * 512 * 1024 * 2
    assert told.gpu_seconds == 0
    retrieval = scan.config.execution.retrieval.model_copy(update={"device": "cuda"})
    execution = scan.config.execution.model_copy(update={"retrieval": retrieval})
    other = ScanSpec("a", scan.config.model_copy(update={"execution": execution}))
    on_gpu = forecast(plan_scan(other), other.config)
    assert 0 < on_gpu.gpu_seconds < told.cpu_seconds
    assert on_gpu.cpu_seconds < told.cpu_seconds
    assert "of a GPU" in on_gpu.sentence()
