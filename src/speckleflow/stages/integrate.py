"""The phase of a block of projections."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from speckleflow.io.results import IDENTITY, create, open_result, result_file
from speckleflow.scan.schema import FIELDS
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import collected_warnings, read_warnings, write_warnings
from speckleflow.stages.inputs import check_made_by, describe, geometry_attributes, load_manifest
from speckleflow.stages.phase import OF_PHASE, integrate_fields

log = logging.getLogger(__name__)

#: which projections of how many a block holds, and which margins show the beam
_OF_FIELDS = ("first_projection", "n_projections", "air_px")


def integrate_block(spec: ScanSpec, *, manifest: str | Path, fields: str | Path, output: str | Path) -> None:
    """Write the phase (projection, y, x) in rad: the displacement in ``fields`` integrated, or their phase levelled.

    One projection at a time, so that memory does not depend on the block.
    """
    settings = spec.config.integrate
    contract = load_manifest(manifest, spec)
    with collected_warnings() as warnings, open_result(fields) as source, result_file(output) as file:
        check_made_by(source, fields, "retrieve", spec, contract)
        file.attrs.update(geometry_attributes(contract.geometry))
        file.attrs.update({key: source.attrs[key] for key in _OF_FIELDS})
        file.attrs["fields_identity"] = source.attrs[IDENTITY]
        left, right, top, bottom = (int(n) for n in source.attrs["air_px"])
        shape = source["transmission"].shape
        names = [name for name in OF_PHASE if name in source]
        schema = FIELDS["phase"]
        phase = create(file, "phase", shape=shape, unit=schema.unit, description=schema.meaning)
        curl = np.zeros(shape[0], np.float32)
        for i in range(shape[0]):
            part = {name: source[name][i : i + 1] for name in names}
            result = integrate_fields(part, contract.geometry, (left, right, top, bottom), settings)
            phase[i : i + 1] = result["phase"]
            if "curl_px" in result:
                curl[i] = result["curl_px"][0]
        if "ux" in names:
            file.attrs["boundary"] = settings.boundary
            schema = FIELDS["curl_px"]
            create(file, "curl_px", curl, unit=schema.unit, description=schema.meaning)
        write_warnings(file, read_warnings(source), warnings)
        describe(file, "integrate", spec, manifest=contract, upstream=[source])
        log.info("phase of %d projections; curl %.3f px", shape[0], float(np.median(curl)))
