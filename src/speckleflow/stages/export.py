"""The volumes of a scan in the format of another program, as a folder beside ``volumes.h5``."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py

from speckleflow.errors import ConfigError, InputError
from speckleflow.io.atomic import atomic_folder
from speckleflow.io.results import IDENTITY, PROVENANCE, open_result, provenance_of, versions
from speckleflow.io.sealed_json import write_sealed
from speckleflow.io.writers.base import VolumeSource
from speckleflow.io.writers.registry import make_writer
from speckleflow.scan.schema import VOLUMES
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import read_warnings
from speckleflow.stages.inputs import check_made_by
from speckleflow.stages.registry import STAGES

log = logging.getLogger(__name__)

#: file in every folder of an export: what it holds, of which volumes, in which units
RECORD = "export.json"


def export_scan(spec: ScanSpec, *, volumes: str | Path, format: str, output: str | Path) -> None:
    """Write the volumes of a scan in a format of :mod:`speckleflow.io.writers.registry`, as the workflow does.

    Parameters
    ----------
    spec : the scan.
    volumes : its ``volumes.h5``.
    format : name of the format.
    output : folder to make; an earlier one is replaced.

    Raises
    ------
    InputError
        The volumes are absent, damaged, or those of other settings.
    """
    with open_result(volumes) as file:
        check_made_by(file, volumes, "volume", spec)
        _write(file, Path(volumes), format, Path(output))


def export_volumes(results: Path, format: str, output: Path | None = None) -> Path:
    """Write the volumes of a finished scan in another format; returns the folder.

    Parameters
    ----------
    results : folder of the scan's results, or its ``volumes.h5``.
    format : name of the format.
    output : folder to make; None: named after the format, beside the volumes.

    Raises
    ------
    ConfigError
        An unknown format, or ``output`` is something other than an earlier export.
    InputError
        There are no volumes, or they are damaged.
    """
    make_writer(format)
    volumes = results / "volumes.h5" if results.is_dir() else results
    if output is None:
        output = volumes.with_name(format)
    if output.exists() and not (output / RECORD).is_file():
        raise ConfigError(
            f"command line: --output {output}: expected a new folder or an earlier export, "
            "found something else of that name"
        )
    if results.is_dir() and not volumes.exists():
        raise InputError(
            results,
            expected="a folder with volumes.h5",
            found="none in it",
            hint="a scan of one angle has no volumes; else run the workflow to its end",
        )
    with open_result(volumes) as file:
        _write(file, volumes, format, output)
    return output


def _write(file: h5py.File, volumes: Path, format: str, output: Path) -> None:
    names = tuple(name for name in VOLUMES if name in file)
    if not names:
        raise InputError(volumes, expected=f"volumes ({', '.join(VOLUMES)})", found=f"{', '.join(file)}")
    source = VolumeSource(
        scan=str(file[PROVENANCE].attrs["scan"]),
        path=volumes,
        file=file,
        names=names,
        voxel_size_um=float(file.attrs["voxel_size_m"]) * 1e6,
    )
    turns = len(file["turn_time_s"]) if "turn_time_s" in file else 0
    if turns and format == "xdmf":
        raise InputError(
            volumes,
            expected="one volume, for xdmf",
            found=f"one of each of {turns} turns",
            hint="tiff, tiff16 and ome-zarr write a folder of each",
        )
    with atomic_folder(output) as private:
        written = _turn_folders(source, turns, format, private) if turns else None
        written = written or make_writer(format).write(source, private)
        record = {
            "format": format,
            "scan": source.scan,
            "volumes": {name: {"unit": source.unit(name), "meaning": source.title(name)} for name in names},
            "shape_zyx": source.shape,
            "voxel_size_um": source.voxel_size_um,
            "source": volumes.name,
            "source_identity": str(file.attrs[IDENTITY]),
            "warnings": read_warnings(file),
            "versions": versions(STAGES["export"].packages),
            "provenance": json.loads(json.dumps(provenance_of(file), default=str)),
            **({"time_s": file["turn_time_s"][:].tolist()} if turns else {}),
            **written,
        }
        write_sealed(private / RECORD, record)
    log.info("%s: %s", output, ", ".join(written["files"]))


def _turn_folders(source: VolumeSource, turns: int, format: str, folder: Path) -> dict[str, Any]:
    """A folder of each turn; what the writer says of its files, and of each turn where they differ."""
    files: list[str] = []
    details: dict[str, list[Any]] = {}
    for time in range(turns):
        name = f"turn_{time:04d}"
        (folder / name).mkdir()
        written = make_writer(format).write(replace(source, time=time), folder / name)
        files += [f"{name}/{file}" for file in written.pop("files")]
        for key, value in written.items():
            details.setdefault(key, []).append(value)
    return {"files": files, **details}
