"""Which scan a job works on, and with which settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speckleflow.config import ScanConfig


@dataclass(frozen=True)
class ScanSpec:
    """One scan as the user set it.

    Attributes
    ----------
    name : in the scan table.
    config : all settings; ``config.execution`` says how results are computed, the rest what they are.
    root : folder that raw files are named from.
    """

    name: str
    config: ScanConfig
    root: Path = Path()
