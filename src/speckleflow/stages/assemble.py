"""All blocks of a scan under one virtual dataset a contrast, and what tomography needs once a scan."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from speckleflow.config import ScanConfig
from speckleflow.errors import InputError
from speckleflow.io.hdf5 import open_hdf5
from speckleflow.io.results import create, result_file, write_provenance
from speckleflow.tomo.axis import find_axis
from speckleflow.tomo.sinogram import CONTRASTS, line_integrals, log_floor

log = logging.getLogger(__name__)

#: Rows that the rotation axis is looked for in, spread over the height.
AXIS_ROWS = 16
#: Projections that the noise floor of the logarithms is measured in, spread over the scan.
FLOOR_PROJECTIONS = 16


def assemble_projections(
    config: ScanConfig,
    *,
    fields: Sequence[str | Path],
    phases: Sequence[str | Path],
    output: str | Path,
    tomographic: bool,
) -> None:
    """Write a file whose datasets (projection, y, x) show all blocks without copying them.

    With tomography also the rotation axis (attribute ``rotation_axis_px``, pixel centres at integers; the
    search in group ``rotation_axis``) and the smallest T and D whose logarithm means something (attribute
    ``floor`` of their datasets).

    Raises
    ------
    InputError
        Tomography was asked for, but all projections have one angle.
    """
    output = Path(output)
    # The sources are named relative to the file's folder: results can be moved as a whole.
    with result_file(output) as file:
        _virtual(file, [Path(p) for p in fields], output.parent)
        if phases:
            _virtual(file, [Path(p) for p in phases], output.parent)
        file.flush()
        if tomographic:
            _prepare_tomography(file, config, output)
        write_provenance(
            file, stage="assemble", settings=config.that_decide("tomography"), packages=("scipy",)
        )


def _virtual(file: h5py.File, blocks: list[Path], folder: Path) -> None:
    """One virtual dataset for every dataset of the blocks, joined along the projections."""
    with open_hdf5(blocks[0]) as first:
        file.attrs.update(first.attrs)
        names = [name for name, item in first.items() if isinstance(item, h5py.Dataset)]
        lengths = []
        for path in blocks:
            with open_hdf5(path) as block:
                lengths.append(len(block[names[0]]))
        for name in names:
            dataset = first[name]
            layout = h5py.VirtualLayout((sum(lengths), *dataset.shape[1:]), dataset.dtype)
            layout.dcpl.set_obj_track_times(False)  # else the hour of its making is part of the file
            at = 0
            for path, length in zip(blocks, lengths, strict=True):
                shape = (length, *dataset.shape[1:])
                layout[at : at + length] = h5py.VirtualSource(
                    str(path.relative_to(folder)), name, shape, dataset.dtype
                )
                at += length
            file.create_virtual_dataset(name, layout).attrs.update(dataset.attrs)


def _prepare_tomography(file: h5py.File, config: ScanConfig, output: Path) -> None:
    angles = file["angle_deg"][:]
    if np.ptp(angles) == 0:
        raise InputError(
            output, expected="more than one rotation angle", found=f"{angles[0]:g} degrees throughout"
        )
    some = np.unique(np.linspace(0, len(angles) - 1, FLOOR_PROJECTIONS).astype(int))
    for contrast in CONTRASTS:
        if contrast in file and contrast != "phase":
            file[contrast].attrs["floor"] = log_floor(file[contrast][some])
    if config.tomography.axis_px != "auto":
        file.attrs["rotation_axis_px"] = float(config.tomography.axis_px)
        file.attrs["rotation_axis_from"] = "tomography.axis_px"
        return
    transmission = file["transmission"]
    rows = np.unique(np.linspace(0, transmission.shape[1] - 1, AXIS_ROWS + 2).astype(int)[1:-1])
    sinograms = np.stack(
        [
            line_integrals("transmission", transmission[:, row, :], transmission.attrs["floor"]).values
            for row in rows
        ]
    )
    found = find_axis(sinograms, angles)
    log.info("rotation axis %.2f +- %.2f px, from the transmission", found.axis_px, found.uncertainty_px)
    if not found.trusted:
        log.warning(
            "the rotation axis is uncertain; look at it in the report, set tomography.axis_px if need be"
        )
    file.attrs["rotation_axis_px"] = found.axis_px
    file.attrs["rotation_axis_from"] = "transmission"
    group = file.create_group("rotation_axis")
    create(group, "tried_px", found.tried_px, unit="px", description="rotation axes tried", dtype=np.float64)
    create(group, "cost", found.costs, unit="", description="their cost, the least is best", dtype=np.float64)
    group.attrs["uncertainty_px"] = found.uncertainty_px
    group.attrs["significance"] = found.significance
    group.attrs["trusted"] = found.trusted
