"""Dark, flat, bad pixels and the corrected reference stack of a scan."""

from __future__ import annotations

import logging
from pathlib import Path

from speckleflow.correction import prepare_correction, write_correction
from speckleflow.io.results import result_file
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import collected_warnings, write_warnings
from speckleflow.stages.inputs import describe
from speckleflow.stages.raw import open_raw

log = logging.getLogger(__name__)


def correct(spec: ScanSpec, *, manifest: str | Path, output: str | Path) -> None:
    """Prepare the correction of a scan and write it."""
    contract, scan = open_raw(manifest, spec)
    with collected_warnings() as warnings, result_file(output) as file:
        correction = prepare_correction(scan)
        write_correction(correction, file)
        write_warnings(file, contract.warnings, warnings)
        describe(file, "correct", spec, manifest=contract)
    log.info("%s: %d bad pixels", spec.name, int(correction.bad.sum()))
