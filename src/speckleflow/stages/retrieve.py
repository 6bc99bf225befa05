"""A block of projections: read raw, look at every frame, correct, retrieve in batches, write the fields."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.correction import load_correction
from speckleflow.io.results import create, open_result, result_file
from speckleflow.io.scan import Scan
from speckleflow.scan.schema import FIELDS
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import collected_warnings, read_warnings, write_warnings
from speckleflow.stages.batches import batch_size
from speckleflow.stages.frames import check_frames
from speckleflow.stages.inputs import check_made_by, describe
from speckleflow.stages.phase import Arrays
from speckleflow.stages.projection import Batch, ProjectionRetrieval
from speckleflow.stages.raw import open_raw

log = logging.getLogger(__name__)


def retrieve_block(
    spec: ScanSpec,
    *,
    manifest: str | Path,
    corrected: str | Path,
    projections: Sequence[int],
    output: str | Path,
) -> None:
    """Retrieve projections [start, stop) of a scan, as planned, and write their fields (projection, y, x).

    Raises
    ------
    InputError
        Raw frames that cannot be read or used; inputs that are not this scan's.
    OutputError
        The disk is full.
    """
    contract, scan = open_raw(manifest, spec)
    start, stop = contract.used_range(*projections)
    with collected_warnings() as warnings, open_result(corrected) as source, result_file(output) as file:
        check_made_by(source, corrected, "correct", spec, contract)
        retrieval = ProjectionRetrieval.of_scan(scan, load_correction(corrected))
        file.attrs["air_px"] = retrieval.correction.air
        file.attrs["first_projection"] = start
        file.attrs["n_projections"] = scan.n_projections
        _write(file, "raw_index", scan.raw_indices[start:stop].astype(np.int32), 0, stop - start)
        for at, fields in _batches(scan, retrieval, start, stop):
            for name, values in fields.items():
                _write(file, name, values, at - start, stop - start)
            log.info(
                "%s: projection %d of %d to %d", spec.name, at + len(fields["transmission"]), start, stop
            )
        write_warnings(file, read_warnings(source), warnings)
        describe(
            file,
            "retrieve",
            spec,
            manifest=contract,
            upstream=[source],
            weights_sha256=retrieval.retriever.weights_sha256,
        )


def _batches(
    scan: Scan, retrieval: ProjectionRetrieval, start: int, stop: int
) -> Iterator[tuple[int, Arrays]]:
    """(first projection, fields) of each batch; the next one is read and corrected while one is computed."""
    size = batch_size(scan.n_positions, scan.rows, scan.columns)
    ranges = list(retrieval.batches(start, stop, size))
    filled = np.zeros(2, int)

    def read(first: int, last: int) -> Batch:
        raw = scan.read_sample(slice(first, last))
        filled[:] += check_frames(raw, scan, retrieval.correction, first)
        return retrieval.corrected(raw, first)

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, *ranges[0])
        for number, (first, _) in enumerate(ranges, 1):
            batch = coming.result()
            if number < len(ranges):
                coming = reader.submit(read, *ranges[number])
            yield first, retrieval.fields(batch)
    if filled.any():
        log.warning(
            "%d pixels of %d frames from projection %d on are NaN or saturated and were filled from their neighbours",
            *filled, start,
        )  # fmt: skip


def _write(file: h5py.File, name: str, values: NDArray, at: int, length: int) -> None:
    if name not in file:
        schema = FIELDS[name]
        shape = (length, *values.shape[1:])
        create(file, name, shape=shape, dtype=values.dtype, unit=schema.unit, description=schema.meaning)
    file[name][at : at + len(values)] = values
