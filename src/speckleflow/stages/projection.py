"""From raw frames of a projection to its fields: the one way that block jobs, preview and single stacks go."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from speckleflow.allocator import keep_freed_memory
from speckleflow.config import ScanConfig
from speckleflow.correction import Correction
from speckleflow.correction.detector_blur import DetectorBlur
from speckleflow.errors import InputError
from speckleflow.io.scan import Scan
from speckleflow.phase import remove_drift
from speckleflow.physics import phase_gradient_per_px
from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.retrieval.consistency import Consistency
from speckleflow.retrieval.single import make_method
from speckleflow.scan.acquisition import Acquisition
from speckleflow.scan.geometry import ScanGeometry
from speckleflow.scan.schema import FILLED, LOST
from speckleflow.stages.phase import Arrays


class Batch(NamedTuple):
    """Corrected frames (B, N, y, x), the flux (B, N) that was divided out, the raw frames and their correction."""

    frames: torch.Tensor
    flux: NDArray[np.float32] | None
    raw: NDArray[Any]
    correction: Correction


@dataclass
class ProjectionRetrieval:
    """Correction and retrieval of one scan, ready for the frames of a time at which the reference is the same.

    Attributes
    ----------
    correction : dark, flat, bad pixels, margins and the corrected reference, or references of several times.
    retriever : the method.
    acquisition : what it may know of the measurement.
    scan : whose projections they are.
    reference, state, consistency : the corrected reference that it is ready for, what the method made of it, and the
        check of the fields (None: of a method that cannot be checked).
    """

    correction: Correction
    retriever: Retriever
    acquisition: Acquisition
    scan: Scan
    reference: NDArray[np.float32] | None = field(default=None, init=False)
    state: Any = field(default=None, init=False)
    consistency: Consistency | None = field(default=None, init=False)

    @classmethod
    def of_scan(cls, scan: Scan, correction: Correction) -> ProjectionRetrieval:
        """With the device and threads that ``execution.retrieval`` names.

        Raises
        ------
        InputError
            A GPU was asked for and there is none.
        """
        config = with_measured_blur(scan.config, correction.blur)
        retriever = make_retriever(
            config, config.execution.retrieval.device, config.execution.retrieval.threads
        )
        acquisition = acquisition_of(config, scan.geometry, scan.angles_deg, correction.blur)
        return cls(correction, retriever, acquisition, scan)

    def batches(self, start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
        """Ranges of projections, of at most ``size``, that have one reference."""
        numbers = self.scan.raw_indices[start:stop]
        sets = self.correction.references
        for run in [slice(0, len(numbers))] if sets is None else sets.runs(numbers):
            for first in range(run.start, run.stop, size):
                yield start + first, start + min(first + size, run.stop)

    def corrected(self, raw: NDArray[Any], first: int) -> Batch:
        """Corrected frames of the projections from ``first`` on, which have one reference, on the way to the device."""
        numbers = self.scan.raw_indices[first : first + len(raw)]
        correction = self.correction.at(numbers[0])
        frames, flux = correction.correct_with_flux(raw, numbers)
        stack = torch.from_numpy(frames)
        if self.retriever.device.type == "cuda":
            stack = stack.pin_memory()
        return Batch(stack, flux, raw, correction)

    def fields(self, batch: Batch) -> Arrays:
        """Fields of corrected frames; the drift between reference and sample, seen in the air, is taken off.

        Pixels that were filled in the raw frames are flagged; those too far from measured ones are NaN.
        """
        if self.state is None or self.reference is not batch.correction.reference:
            self.state = self.consistency = None  # their memory first
            self.reference = batch.correction.reference
            stack = torch.from_numpy(reference_of(batch.correction, self.scan))
            self.state = self.retriever.prepare(stack, self.acquisition)
            if self.retriever.spec.can_be_checked:
                self.consistency = Consistency.of(stack.to(self.retriever.device))
        fields = self.retriever(batch.frames, self.state)
        if self.consistency is not None:
            fields = self.consistency.check(batch.frames, fields, self.scan.config.retrieval.largest_misfit)
        arrays = as_arrays(fields)
        flag_unmeasured(arrays, batch.correction, batch.raw)
        air = self.correction.air
        if "ux" in arrays and self.scan.config.correct.drift and any(air):
            take_drift_off(arrays, air, self.scan.geometry)
        blank_lost(arrays)
        if batch.flux is not None:
            arrays["flux"] = batch.flux
        return arrays


def flag_unmeasured(
    arrays: Arrays, correction: Correction, raw: NDArray[Any], grid: str = "reference"
) -> None:
    """Flag pixels that were filled in the raw frames (B, N, y, x), and those too far from measured ones.

    Parameters
    ----------
    arrays : fields (B, y, x) of a method; ``flags`` is added or extended.
    correction : what filled them.
    raw : the frames as the detector gave them.
    grid : whether fields stand at the ray's place in the sample ('reference') or where it lands ('detector').
    """
    rays = (arrays.get("ux"), arrays.get("uy")) if grid == "reference" else (None, None)
    filled, lost = correction.filled(raw, *rays), correction.lost(raw, *rays)
    flags = arrays.get("flags", np.zeros(filled.shape, np.uint8))
    arrays["flags"] = flags | np.uint8(FILLED) * filled | np.uint8(LOST) * lost


def blank_lost(arrays: Arrays) -> None:
    """NaN in every image (B, y, x) where the flags say that nothing near was measured."""
    flags = arrays.get("flags")
    if flags is None or not (lost := flags & LOST > 0).any():
        return
    for name, values in arrays.items():
        if values.shape == flags.shape and values.dtype.kind == "f":
            arrays[name] = np.where(lost, np.float32(np.nan), values)


def take_drift_off(arrays: Arrays, air: Sequence[int], geometry: ScanGeometry) -> None:
    """Fields (B, y, x) without the mean displacement of the margins, and without its plane in a retrieved phase."""
    lost = arrays["flags"] & LOST > 0 if "flags" in arrays else None
    arrays["ux"], arrays["uy"], arrays["drift_px"] = remove_drift(arrays["ux"], arrays["uy"], air, lost)
    if "phase_retrieved" in arrays:
        arrays["phase_retrieved"] -= plane_of_drift(arrays["drift_px"], geometry, arrays["ux"].shape)


def plane_of_drift(
    drift_px: NDArray[np.float32], geometry: ScanGeometry, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Phase (B, y, x) in rad, 0 in the middle, of a drift (B, 2) as (x, y) in pixels."""
    assert geometry.energy_kev is not None
    assert geometry.refraction_distance_m is not None
    scale = phase_gradient_per_px(
        geometry.energy_kev, geometry.pixel_size_um * 1e-6, geometry.refraction_distance_m
    )
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in shape[-2:])
    along_x, along_y = drift_px[:, 0, None, None] * columns, drift_px[:, 1, None, None] * rows[:, None]
    plane: NDArray[np.float32] = (scale * (along_x + along_y)).astype(np.float32)
    return plane


def as_arrays(fields: Fields) -> Arrays:
    """The fields of a method as numpy arrays (B, y, x) under their names in results.

    The attenuation is left out: it is -ln of the transmission.
    """
    names = {"phase": "phase_retrieved"}  # the phase of results is 0 in the air
    return {
        names.get(name, name): tensor.cpu().numpy()
        for name, tensor in fields.items()
        if name != "attenuation"
    }


def acquisition_of(
    config: ScanConfig,
    geometry: ScanGeometry,
    angles_deg: NDArray[np.float64] | None = None,
    blur: DetectorBlur | None = None,
) -> Acquisition:
    """What the scan's method may know of the measurement; the point spread as the method's settings state it, else as
    measured.
    """
    stated = getattr(config.retrieval.settings, "detector_blur_px", None)
    angles = None if angles_deg is None else angles_deg.tolist()
    acquisition = Acquisition.of_geometry(geometry, angles_deg=angles, detector_blur_px=stated)
    if blur is not None and blur.known and acquisition.detector_blur_x_px in (None, blur.mean_px):
        return replace(acquisition, detector_blur_x_px=blur.x_px, detector_blur_y_px=blur.y_px)
    return acquisition


def with_measured_blur(config: ScanConfig, blur: DetectorBlur | None) -> ScanConfig:
    """The configuration whose method knows the point spread as measured, where its settings do not state one."""
    settings = config.retrieval.settings
    if blur is None or not blur.known or getattr(settings, "detector_blur_px", 0.0) is not None:
        return config
    known = settings.model_copy(update={"detector_blur_px": blur.mean_px})
    retrieval = config.retrieval.model_copy(update={config.retrieval.method: known})
    return config.model_copy(update={"retrieval": retrieval})


def make_retriever(config: ScanConfig, device: str, threads: int) -> Retriever:
    """The scan's method, bound to its settings and a device.

    Raises
    ------
    InputError
        A GPU was asked for and there is none.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    chosen = config.retrieval
    return make_method(
        chosen.method,
        chosen.settings,
        choose_device(device),
        refine=chosen.refine,
        refine_iterations=chosen.refine_iterations,
        refine_blur_px=chosen.refine_blur_px,
    )


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
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise InputError(
            "execution.retrieval.device",
            expected="a GPU for 'cuda'",
            found=f"none that torch {torch.__version__} sees (CUDA_VISIBLE_DEVICES: {visible})",
            hint="set it to 'cpu' or 'auto', or install a torch with CUDA",
        )
    return device


def reference_of(correction: Correction, source: Scan) -> NDArray[np.float32]:
    """The corrected reference stack (N, y, x); without a diffuser ones, for frames over their flat are T."""
    if correction.reference is not None:
        return correction.reference
    return np.ones((source.n_positions, source.rows, source.columns), np.float32)
