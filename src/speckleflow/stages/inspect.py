"""Open and check the raw data of a scan."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from speckleflow.inspection.scan import inspect_scan
from speckleflow.scan.spec import ScanSpec
from speckleflow.stages.registry import result_settings

log = logging.getLogger(__name__)


def inspect(spec: ScanSpec, *, output: str | Path) -> None:
    """Check everything and write the manifest; raises with every problem before anything is written."""
    manifest = inspect_scan(spec)
    replace(manifest, settings=result_settings("inspect", spec.config)).save(output)
    for warning in manifest.warnings:
        log.warning("%s: %s", spec.name, warning)
