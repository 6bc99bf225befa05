"""The raw files of a simulated scan."""

from __future__ import annotations

import logging
from pathlib import Path

from speckleflow.allocator import keep_freed_memory
from speckleflow.scan.spec import ScanSpec
from speckleflow.simulate.beamtime import simulate_scan
from speckleflow.stages.registry import result_settings

log = logging.getLogger(__name__)


def simulate(spec: ScanSpec, *, truth: str | Path, threads: int = 1) -> None:
    """Write the frames where ``files`` says, and the truth, last, to ``truth``; ``threads`` projections at a time."""
    keep_freed_memory()

    def progress(done: int, total: int) -> None:
        if done % 10 == 0 or done == total:
            log.info("%s: simulated projection %d of %d", spec.name, done, total)

    simulate_scan(
        spec.config,
        spec.name,
        truth=truth,
        root=spec.root,
        progress=progress,
        threads=threads,
        settings_record=result_settings("simulate", spec.config),
    )
