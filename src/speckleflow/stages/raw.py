"""Raw data as they were inspected: opened by the manifest alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from speckleflow.errors import InputError
from speckleflow.io.base import FrameSource
from speckleflow.io.layout import Layout
from speckleflow.io.open import open_source
from speckleflow.io.roles import read_options
from speckleflow.io.scan import Scan
from speckleflow.scan.manifest import FileEntry, Manifest
from speckleflow.scan.spec import ScanSpec
from speckleflow.stages.inputs import load_manifest

_ROLES = ("sample", "reference", "flat", "dark")


def open_raw(path: str | Path, spec: ScanSpec) -> tuple[Manifest, Scan]:
    """The manifest of a scan and its raw data, opened by it alone."""
    manifest = load_manifest(path, spec)
    return manifest, open_manifest(manifest, spec)


def open_manifest(manifest: Manifest, spec: ScanSpec) -> Scan:
    """The raw data as they were inspected; headers are read, folders and patterns are not looked at again.

    Raises
    ------
    InputError
        A raw file is absent, or no longer the one that was inspected.
    """
    manifest.check_raw(spec.root)
    names = {role: tuple(e.path for e in manifest.files if e.role == role) for role in _ROLES}
    sources: dict[str, list[FrameSource]] = {"sample": [], "reference": []}
    for entry in manifest.files:
        if entry.role in sources:
            sources[entry.role].append(_open_entry(entry, spec))
    total = manifest.n_projections + len(manifest.excluded)
    used = np.setdiff1d(np.arange(total), np.asarray(manifest.excluded, int))
    return Scan(
        manifest.scan,
        spec.config,
        spec.root,
        Layout(manifest.positions, names["sample"], names["reference"], names["flat"], names["dark"]),
        manifest.n_projections,
        manifest.n_positions,
        manifest.rows,
        manifest.columns,
        np.dtype(manifest.dtype),
        np.asarray(manifest.angles_deg),
        manifest.geometry,
        tuple(sources["sample"]),
        tuple(sources["reference"]),
        used,
        tuple(manifest.excluded),
        np.asarray(manifest.times_s) if manifest.times_s else None,
    )


def _open_entry(entry: FileEntry, spec: ScanSpec) -> FrameSource:
    options = read_options(spec.config, entry.role)
    source = open_source(spec.root / entry.path, entry.path, options=options)
    there = (source.shape, source.n_flats, source.n_darks, len(source.files))
    if there != (entry.shape, entry.flats, entry.darks, len(entry.files)):
        raise InputError(
            entry.path,
            expected=f"shape {entry.shape} in {len(entry.files)} file(s) as it was inspected",
            found=f"shape {source.shape} in {len(source.files)}",
            hint="wait until the data are complete, delete manifest.json and run the workflow again",
        )
    return source
