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
from speckleflow.stages.phase import integrate_fields

log = logging.getLogger(__name__)

#: which projections of how many a block holds, and which margins show the beam
_OF_FIELDS = ("first_projection", "n_projections", "air_px")


def integrate_block(spec: ScanSpec, *, manifest: str | Path, fields: str | Path, output: str | Path) -> None:
    """Integrate the displacement in ``fields`` and write the phase (projection, y, x) in rad.

    One projection at a time, so that memory does not depend on the block.
    """
    settings = spec.config.integrate
    contract = load_manifest(manifest, spec)
    with collected_warnings() as warnings, open_result(fields) as source, result_file(output) as file:
        check_made_by(source, fields, "retrieve", spec, contract)
        file.attrs.update(geometry_attributes(contract.geometry))
        file.attrs.update({key: source.attrs[key] for key in _OF_FIELDS})
        file.attrs["fields_identity"] = source.attrs[IDENTITY]
        file.attrs["boundary"] = settings.boundary
        left, right, top, bottom = (int(n) for n in source.attrs["air_px"])
        shape = source["ux"].shape
        made = {
            name: create(file, name, shape=size, unit=FIELDS[name].unit, description=FIELDS[name].meaning)
            for name, size in (("phase", shape), ("curl_px", shape[:1]))
        }
        curl = np.empty(shape[0], np.float32)
        for i in range(shape[0]):
            part = {
                name: source[name][i : i + 1]
                for name in ("ux", "uy", "displacement_std", "flags")
                if name in source
            }
            result = integrate_fields(part, contract.geometry, (left, right, top, bottom), settings)
            made["phase"][i : i + 1] = result["phase"]
            curl[i] = result["curl_px"][0]
        made["curl_px"][:] = curl
        write_warnings(file, read_warnings(source), warnings)
        describe(file, "integrate", spec, manifest=contract, upstream=[source])
        log.info("phase of %d projections; curl %.3f px", shape[0], float(np.median(curl)))
