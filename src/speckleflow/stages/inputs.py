"""What a stage reads, checked against what its author wrote down; and what it writes down itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py

from speckleflow.errors import InputError
from speckleflow.io.results import PROVENANCE, provenance_of, write_provenance
from speckleflow.scan.geometry import ScanGeometry
from speckleflow.scan.manifest import Manifest
from speckleflow.scan.spec import ScanSpec
from speckleflow.stages.registry import STAGES, changed_settings, result_settings

#: attribute of slabs and volumes: identity of the projections.h5 that they were reconstructed from
PROJECTIONS_IDENTITY = "projections_identity"
_AGAIN = "delete it and run the workflow again, which makes it anew"


def load_manifest(path: str | Path, spec: ScanSpec) -> Manifest:
    """The manifest of a scan, made with its present settings.

    Raises
    ------
    InputError
        Absent, damaged, of another scan or of other settings.
    """
    manifest = Manifest.load(path)
    if manifest.scan != spec.name:
        raise InputError(
            path, expected=f"the manifest of scan {spec.name}", found=f"that of {manifest.scan}", hint=_AGAIN
        )
    _check_settings(path, "inspect", dict(manifest.settings), spec)
    return manifest


def check_made_by(
    file: h5py.File, path: str | Path, stage: str, spec: ScanSpec, manifest: Manifest | None = None
) -> None:
    """Refuse a result of another stage, scan, settings or raw data than those of this job.

    Raises
    ------
    InputError
        Such a result: one of another scan, or an older copy.
    """
    if PROVENANCE not in file:
        raise InputError(path, expected=f"a result of stage {stage}", found="no provenance", hint=_AGAIN)
    attributes = file[PROVENANCE].attrs
    stated = (str(attributes["stage"]), str(attributes.get("scan", spec.name)))
    if stated != (stage, spec.name):
        raise InputError(
            path,
            expected=f"a result of stage {stage} of scan {spec.name}",
            found=f"one of stage {stated[0]} of scan {stated[1]}",
            hint=_AGAIN,
        )
    _check_settings(path, stage, json.loads(attributes["settings"]), spec)
    raw = attributes.get("raw_sha256")
    if manifest is not None and raw is not None and raw != manifest.raw_sha256:
        raise InputError(
            path, expected="a result of the raw files of the manifest", found="one of others", hint=_AGAIN
        )


def _check_settings(path: str | Path, stage: str, made_with: dict[str, Any], spec: ScanSpec) -> None:
    now = json.loads(json.dumps(result_settings(stage, spec.config)))
    if made_with != now:
        raise InputError(
            path,
            expected="a result of the present settings",
            found=f"one of others ({changed_settings(made_with, now)})",
            hint=_AGAIN,
        )


def describe(
    file: h5py.File,
    stage: str,
    spec: ScanSpec,
    *,
    manifest: Manifest | None = None,
    upstream: Iterable[h5py.File] = (),
    weights_sha256: str | None = None,
) -> None:
    """Write the provenance of a stage's result: its own record, and those of all it was made from.

    Parameters
    ----------
    manifest : of a stage that reads raw files or geometry; names, sizes and hashes of the raw files go along.
    upstream : open result files that it was made from.
    weights_sha256 : of the network that computed it.
    """
    write_provenance(
        file,
        stage=stage,
        scan=spec.name,
        settings=result_settings(stage, spec.config),
        raw_files=() if manifest is None else [entry.path for entry in manifest.files],
        raw_sha256=None if manifest is None else manifest.raw_sha256,
        packages=STAGES[stage].packages,
        weights_sha256=weights_sha256,
        chain=[record for source in upstream for record in provenance_of(source)],
    )


def geometry_attributes(geometry: ScanGeometry) -> dict[str, float]:
    """The geometry as attributes of a result; what an absorption scan lacks is left out."""
    values = {
        "energy_kev": geometry.energy_kev,
        "pixel_size_um": geometry.pixel_size_um,
        "distance_m": geometry.distance_m,
        "magnification": geometry.magnification,
        "effective_distance_m": geometry.effective_distance_m,
    }
    return {key: value for key, value in values.items() if value is not None}
