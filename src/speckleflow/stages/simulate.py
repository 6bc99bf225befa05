"""The raw files of a simulated scan."""

from __future__ import annotations

import logging
from pathlib import Path

from speckleflow.scan.spec import ScanSpec
from speckleflow.simulate.beamtime import simulate_scan

log = logging.getLogger(__name__)


def simulate(spec: ScanSpec, *, truth: str | Path) -> None:
    """Write the frames where ``files`` says, and the truth, last, to ``truth``."""

    def progress(done: int, total: int) -> None:
        if done % 10 == 0 or done == total:
            log.info("%s: simulated projection %d of %d", spec.name, done, total)

    simulate_scan(spec.config, spec.name, truth=truth, root=spec.root, progress=progress)
