"""A block of projections: read raw, correct, retrieve in batches, write the fields."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speckleflow.config import ScanConfig
from speckleflow.correction import Correction, load_correction
from speckleflow.errors import InputError
from speckleflow.io.results import create, result_file, write_provenance
from speckleflow.io.scan import Scan, open_scan
from speckleflow.margins import Margins
from speckleflow.phase import remove_drift
from speckleflow.retrieval import registry
from speckleflow.retrieval.allocator import keep_freed_memory
from speckleflow.retrieval.base import Fields, Retriever

log = logging.getLogger(__name__)

#: unit and meaning of every field
FIELDS = {
    "ux": ("px", "displacement along x, to the right"),
    "uy": ("px", "displacement along y, downward"),
    "transmission": ("", "transmission T, 1 = empty beam"),
    "darkfield": ("", "visibility ratio D, 1 = no scattering"),
    "displacement_std": ("px", "expected standard deviation of one displacement component"),
    "flags": ("", "bits: 1 stopped at a bound, 2 rays cross, 4 window leaves the image"),
    "flux": ("", "incident flux of each frame, its air margins' light over the reference's; divided out"),
    "drift_px": ("px", "displacement (x, y) of the air margins, taken off ux and uy"),
    "phase": ("rad", "phase, negative in matter"),
}
#: Corrected frames of one batch in bytes: enough to keep the threads busy, little beside a job's memory.
BATCH_BYTES = 128e6


def make_retriever(config: ScanConfig, device: str, threads: int) -> Retriever:
    """The scan's method, bound to its settings and a device.

    Raises
    ------
    InputError
        A GPU was asked for and there is none.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    return registry.get(config.retrieval.method)(settings_of(config), choose_device(device))


def choose_device(device: str) -> str:
    """'cpu' or 'cuda', whichever 'auto' means here.

    Raises
    ------
    InputError
        A GPU was asked for and there is none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise InputError(
            "retrieval.device",
            expected="a GPU for 'cuda'",
            found=f"none that torch {torch.__version__} sees (CUDA_VISIBLE_DEVICES: {seen})",
            hint="set it to 'cpu' or 'auto', or install a torch with CUDA",
        )
    return device


def settings_of(config: ScanConfig) -> object:
    """The section of the scan's method under ``retrieval``; None for a method without settings."""
    return getattr(config.retrieval, config.retrieval.method.replace("-", "_"), None)


def retrieve_block(
    config: ScanConfig,
    scan: str,
    *,
    corrected: str | Path,
    projections: Sequence[int],
    output: str | Path,
    device: str = "cpu",
    threads: int = 2,
    root: Path = Path(),
) -> None:
    """Retrieve projections [start, stop) of a scan and write their fields (projection, y, x).

    Raises
    ------
    InputError
        Raw frames that cannot be read or used.
    OutputError
        The disk is full.
    """
    start, stop = projections
    source = open_scan(config, scan, root)
    correction = load_correction(corrected)
    retriever = make_retriever(config, device, threads)
    state = retriever.prepare(torch.from_numpy(reference_of(correction, source)))
    per_projection = 4 * source.n_positions * source.rows * source.columns
    batch = max(1, int(BATCH_BYTES // per_projection))
    with result_file(output) as file:
        file.attrs.update(geometry_attributes(source))
        file.attrs["air_px"] = correction.air
        file.attrs["first_projection"] = start
        file.attrs["n_projections"] = source.n_projections
        create(
            file,
            "angle_deg",
            source.angles_deg[start:stop],
            unit="deg",
            description="rotation, counter-clockwise seen from above",
            dtype=np.float64,
        )
        for at, fields in _batches(
            source, correction, retriever, state, range(start, stop, batch), stop, config
        ):
            for name, values in fields.items():
                _write(file, name, values, at - start, stop - start)
            log.info("%s: projection %d of %d to %d", scan, at + len(fields["transmission"]), start, stop)
        write_provenance(
            file,
            stage="retrieve",
            settings=config.that_decide("files", "geometry", "correct", "retrieval"),
            raw_files=[s.name for s in (*source.sample, *source.reference)],
            packages=("scipy", "torch"),
            weights_sha256=retriever.weights_sha256,
        )


def reference_of(correction: Correction, source: Scan) -> NDArray[np.float32]:
    """The corrected reference stack (N, y, x); without a diffuser ones, for frames over their flat are T."""
    if correction.reference is not None:
        return correction.reference
    return np.ones((source.n_positions, source.rows, source.columns), np.float32)


def geometry_attributes(source: Scan) -> dict[str, float]:
    """The geometry that later stages need, as attributes; what an absorption scan lacks is left out."""
    g = source.geometry
    values = {
        "energy_kev": g.energy_kev,
        "pixel_size_um": g.pixel_size_um,
        "effective_distance_m": g.effective_distance_m,
    }
    return {key: value for key, value in values.items() if value is not None}


def _batches(
    source: Scan,
    correction: Correction,
    retriever: Retriever,
    state: object,
    starts: range,
    stop: int,
    config: ScanConfig,
) -> Iterator[tuple[int, dict[str, NDArray]]]:
    """(first projection, fields) of each batch; the next one is read and corrected while one is computed."""

    def read(at: int) -> tuple[Tensor, NDArray[np.float32] | None]:
        raw = source.read_sample(slice(at, min(at + starts.step, stop)))
        frames, flux = correction.correct_with_flux(raw)
        stack = torch.from_numpy(frames)
        return stack.pin_memory() if retriever.device.type == "cuda" else stack, flux

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, starts[0])
        for at in starts:
            frames, flux = coming.result()
            if at + starts.step < stop:
                coming = reader.submit(read, at + starts.step)
            fields = finish(retriever(frames, state), config, correction.air)
            yield at, fields if flux is None else {**fields, "flux": flux}


def finish(fields: Fields, config: ScanConfig, air: Margins) -> dict[str, NDArray]:
    """Fields as arrays; the drift between reference and sample, seen in the air, is taken off."""
    arrays = {name: tensor.cpu().numpy() for name, tensor in fields.items()}
    if "ux" in arrays and config.correct.drift and any(air):
        arrays["ux"], arrays["uy"], arrays["drift_px"] = remove_drift(arrays["ux"], arrays["uy"], air)
    return arrays


def _write(file: h5py.File, name: str, values: NDArray, at: int, length: int) -> None:
    if name not in file:
        unit, meaning = FIELDS[name]
        shape = (length, *values.shape[1:])
        create(file, name, shape=shape, dtype=values.dtype, unit=unit, description=meaning)
    file[name][at : at + len(values)] = values
