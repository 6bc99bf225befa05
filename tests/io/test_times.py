"""Times of a series of a sample that is not turned: exact, in order, and refused where they cannot be times."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.raw_scan import RawScan

from speckleflow.config import parse_config
from speckleflow.config.models import coupled_problems
from speckleflow.inspection.scan import inspect_scan
from speckleflow.io.base import InputProblems
from speckleflow.scan.spec import ScanSpec
from speckleflow.workflow.plan import plan_scan

TIMES = np.array([0.0, 50.0, 110.0, 160.0])  # ms, uneven


@pytest.fixture
def scan(tmp_path: Path) -> RawScan:
    return RawScan(tmp_path).write()


def write_times(scan: RawScan, values, unit: str | None = "ms") -> None:
    for n in range(scan.positions):
        with h5py.File(scan.path(f"sample_{n + 1:02d}"), "r+") as file:
            file["other/time"] = np.asarray(values, float)
            if unit is not None:
                file["other/time"].attrs["units"] = unit


def series(scan: RawScan, dataset: str | None = "/other/time", **geometry) -> ScanSpec:
    files = {} if dataset is None else {"angles_dataset": dataset}
    return ScanSpec("a", scan.config(geometry={"axis": "time", **geometry}, files=files), scan.root)


@pytest.mark.parametrize(("unit", "factor"), [("ms", 1e-3), ("us", 1e-6), ("s", 1.0), (None, 1.0)])
def test_times_of_the_file(scan: RawScan, unit: str | None, factor: float):
    write_times(scan, TIMES, unit)
    manifest = inspect_scan(series(scan))
    assert manifest.times_s == pytest.approx(TIMES * factor, rel=1e-15)
    assert set(manifest.angles_deg) == {0.0}


def test_times_by_the_frame_and_one_left_out(scan: RawScan):
    spec = series(scan, None, frame_s=0.05)
    assert inspect_scan(spec).times_s == pytest.approx([0, 0.05, 0.1, 0.15], rel=1e-15)
    config = scan.config(geometry={"axis": "time", "frame_s": 0.05}, correct={"exclude_projections": "1"})
    assert inspect_scan(ScanSpec("a", config, scan.root)).times_s == pytest.approx([0, 0.1, 0.15], rel=1e-15)


def test_no_volume_is_planned(scan: RawScan):
    plan = plan_scan(series(scan, None, frame_s=0.05))
    assert (plan.tomographic, plan.slabs, plan.projections) == (False, (), 4)
    assert plan_scan(ScanSpec("a", scan.config(), scan.root)).tomographic


@pytest.mark.parametrize(
    ("values", "unit", "sentence"),
    [
        ([0, 2, 2, 3], "s", "expected times that increase from frame to frame, found 2 at frame 2 after 2"),
        ([0, 1, np.nan, 3], "s", "expected finite times, found 1 NaN or infinite"),
        ([0, 1, 2], "s", "expected 4 times, one for each frame, found 3"),
        ([0, 1, 2, 3], "deg", "expected times in s, ms or us, found unit 'deg'"),
    ],
)
def test_what_cannot_be_times(scan: RawScan, values: list[float], unit: str, sentence: str):
    write_times(scan, values, unit)
    with pytest.raises(InputProblems) as caught:
        inspect_scan(series(scan))
    assert sentence in str(caught.value)


def test_a_file_without_times(tmp_path: Path):
    raw = RawScan(tmp_path)
    raw.angles = dict.fromkeys(raw.angles)
    with pytest.raises(InputProblems, match="expected a time for each of 4 frames, found none in the file"):
        inspect_scan(series(raw.write(), None))


def test_keys_that_contradict_each_other():
    both = parse_config({"geometry": {"axis": "time"}, "tomography": {"enabled": "yes"}}, "test")
    assert any("geometry.axis is time" in sentence for sentence in coupled_problems(both))
    turned = parse_config({"geometry": {"frame_s": 0.1}}, "test")
    assert any("needs geometry.axis: time" in sentence for sentence in coupled_problems(turned))
