"""Dark, flat, bad pixels and the corrected reference stack of a scan."""

from __future__ import annotations

import logging
from pathlib import Path

from speckleflow.config import ScanConfig
from speckleflow.correction import prepare_correction, save_correction
from speckleflow.io.scan import open_scan

log = logging.getLogger(__name__)


def correct(config: ScanConfig, scan: str, output: str | Path, root: Path = Path()) -> None:
    """Prepare the correction of a scan and write it."""
    source = open_scan(config, scan, root)
    correction = prepare_correction(source)
    save_correction(correction, output, source)
    log.info("%s: %d bad pixels", scan, int(correction.bad.sum()))
