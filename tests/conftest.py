"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.raw_scan import RawScan

#: results are compared byte by byte, here and in the processes that tests start: no clock, no machine in them
os.environ["SOURCE_DATE_EPOCH"] = "1700000000"
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """Path of a real data set, read in place; skips where the data are absent (they are never committed)."""

    def find(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"real data not available: {path}")
        return path

    return find


@pytest.fixture
def raw_scan(tmp_path):
    """A small scan whose truth is known, not written yet: ``raw_scan.write()`` makes its files."""
    return RawScan(tmp_path)
