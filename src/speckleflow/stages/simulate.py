"""The raw files of a simulated scan."""

from __future__ import annotations

import logging
from pathlib import Path

from speckleflow.config import ScanConfig
from speckleflow.simulate.beamtime import simulate_scan

log = logging.getLogger(__name__)


def simulate(config: ScanConfig, scan: str, truth: str | Path, root: Path = Path()) -> None:
    """Write the frames where ``files`` says, and the truth, last, to ``truth``."""

    def progress(done: int, total: int) -> None:
        if done % 10 == 0 or done == total:
            log.info("%s: simulated projection %d of %d", scan, done, total)

    simulate_scan(config, scan, truth=truth, root=root, progress=progress)
