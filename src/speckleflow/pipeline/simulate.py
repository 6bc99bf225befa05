"""The raw files of a simulated scan."""

from __future__ import annotations

from pathlib import Path

import torch

from speckleflow.config import ScanConfig
from speckleflow.simulate.beamtime import simulate_scan


def simulate(config: ScanConfig, scan: str, truth: str | Path, threads: int = 2, root: Path = Path()) -> None:
    """Write the frames where ``files`` says, and the truth, last, to ``truth``."""
    torch.set_num_threads(threads)
    simulate_scan(config, scan, truth=Path(truth), root=root)
