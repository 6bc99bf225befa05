"""Open and check the raw data of a scan."""

from __future__ import annotations

from pathlib import Path

from speckleflow.config import ScanConfig
from speckleflow.inspect import inspect_scan


def inspect(config: ScanConfig, scan: str, output: str | Path, root: Path = Path()) -> None:
    """Check everything and write what was found; raises with every problem before anything is written."""
    inspect_scan(config, scan, root).save(output)
