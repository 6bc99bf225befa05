"""One stack or one sinogram, from the command line."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from speckleflow.agreement import pairing_problems
from speckleflow.checks import frame_problems, light_problems, radian_problems
from speckleflow.config import parse_config
from speckleflow.correction import Correction
from speckleflow.errors import ConfigError, InputError
from speckleflow.io.atomic import atomic_path
from speckleflow.io.base import InputProblems
from speckleflow.io.hdf5 import check_file, open_hdf5
from speckleflow.io.results import PROVENANCE, create, result_file, write_provenance
from speckleflow.io.scan import ScanGeometry
from speckleflow.io.stack import read_stack
from speckleflow.retrieval import registry
from speckleflow.retrieval.single import Grid, retrieve_stack
from speckleflow.scan.schema import FIELDS
from speckleflow.stages.phase import integrate_fields
from speckleflow.stages.projection import acquisition_of, as_arrays, choose_device
from speckleflow.stages.registry import result_settings
from speckleflow.tomo.single import reconstruct_sinogram
from speckleflow.weights import digest

#: Largest transmission that is no mistake: exposure and flux of two stacks of one beamtime agree better than this.
_BRIGHTER = 1.1

GEOMETRY = ("energy_kev", "pixel_size_um", "distance_m")


def retrieve_files(
    *,
    reference: str,
    sample: str,
    output: Path,
    method: str,
    flat: str | None,
    dark: str | None,
    geometry: tuple[float | None, float | None, float | None],
    grid: Grid,
    window: str | None,
    weights: str | None,
    device: str,
    diffuser_distance_m: float | None = None,
) -> None:
    """Correct and retrieve one stack (N, y, x); write the method's fields (y, x).

    With all three of ``geometry`` (keV, um, m) the phase as well; a method that needs them also gets
    ``diffuser_distance_m``.

    Raises
    ------
    ConfigError
        Only some of the geometry was given, an unknown method or window, or weights for a method without any.
    InputError
        A stack that cannot be read, or stacks that do not fit each other.
    """
    given = [key for key, value in zip(GEOMETRY, geometry, strict=True) if value is not None]
    if given and len(given) < len(GEOMETRY):
        wanted = " ".join(f"--{key.replace('_', '-')}" for key in GEOMETRY)
        raise ConfigError(
            f"command line: expected all of {wanted} (for the phase) or none, found {', '.join(given)}"
        )
    spec, defaults = registry.spec_of(method), registry.default_settings(method)
    settings: dict[str, Any] = {}
    if window is not None:
        settings["window"] = int(window) if window.isdigit() else window
    if weights is not None:
        settings["weights"] = weights
    for key in settings:
        if not hasattr(defaults, key):
            raise ConfigError(f"command line: method '{method}' has no {key}; leave out --{key}")
    raw: dict[str, Any] = {"retrieval": {"method": method, **({method: settings} if settings else {})}}
    raw["geometry"] = {key: value for key, value in zip(GEOMETRY, geometry, strict=True) if value is not None}
    if diffuser_distance_m is not None:
        raw["geometry"]["diffuser_distance_m"] = diffuser_distance_m
    config = parse_config(raw, "command line")
    device = choose_device(device)
    inputs = [reference, sample, *(name for name in (flat, dark) if name is not None)]
    _check_output(output, (".h5", ".hdf5"), inputs)
    stacks = {"reference": read_stack(reference), "sample": read_stack(sample)}
    if stacks["reference"].shape != stacks["sample"].shape:
        raise InputError(
            sample,
            expected=f"shape {stacks['reference'].shape} (N, y, x) as in {reference}",
            found=f"shape {stacks['sample'].shape}",
        )
    beam, level = (None if name is None else read_stack(name) for name in (flat, dark))
    _check_stacks(stacks, {"reference": reference, "sample": sample}, level)
    correction = Correction.of_stacks(stacks["reference"], flat=beam, dark=level)
    frames = correction.correct_frames(stacks["sample"])
    if spec.needs_diffuser:
        _check_pairs(frames, correction.reference, sample, reference)
    energy, pixel, distance = geometry
    view = ScanGeometry(
        float("nan") if pixel is None else pixel, energy, distance, diffuser_distance_m=diffuser_distance_m
    )
    fields = retrieve_stack(
        torch.from_numpy(correction.reference),
        torch.from_numpy(frames),
        method,
        config.retrieval.settings,
        device,
        grid=grid,
        acquisition=acquisition_of(config, view) if given else None,
    )
    batch = as_arrays(fields)
    if given:
        if not spec.has_phase:
            raise ConfigError(f"command line: method '{method}' gives no displacement, so there is no phase")
        if grid != "reference":
            raise ConfigError("command line: the phase belongs to the sample; leave out --grid detector")
        batch["phase"] = integrate_fields(batch, view, correction.air, config.integrate)["phase"]
    arrays = {name: values[0] for name, values in batch.items()}
    with result_file(output) as file:
        file.attrs["grid"] = grid
        for name, values in arrays.items():
            schema = FIELDS[name]
            create(file, name, values, unit=schema.unit, description=schema.meaning, dtype=values.dtype)
        write_provenance(
            file,
            stage="retrieve",
            settings=result_settings("preview", config),
            raw_files=[reference, sample],
            packages=("scipy", "torch"),
            weights_sha256=digest(config.retrieval),
        )


def reconstruct_files(
    sinogram: Path, angles_deg: Path, axis_px: float, backend: str, filter: str, output: Path
) -> None:
    """Reconstruct one slice from .npy files and write it as .npy, float32, per pixel."""
    _check_output(output, (".npy",), [str(sinogram), str(angles_deg)])
    values, angles = _load(sinogram), _load(angles_deg)
    if (
        angles.ndim == 1
        and angles.dtype.kind == "f"
        and (problems := radian_problems(angles, str(angles_deg)))
    ):
        raise InputProblems(problems)
    slice_ = reconstruct_sinogram(values, angles, axis_px, backend, filter)
    with atomic_path(output) as private, private.open("wb") as stream:
        np.save(stream, slice_)


def _check_stacks(stacks: dict[str, NDArray], names: dict[str, str], dark: NDArray | None) -> None:
    """What ``inspect`` would say of the frames; a warning where sample and reference may have been swapped."""
    problems: list[InputError] = []
    level = 0.0 if dark is None else float(np.median(dark))
    for role, frames in stacks.items():
        problems += frame_problems(frames, f"{role} frames", names[role])
        problems += light_problems(float(np.median(frames)), level, f"{role} frames", names[role])
    reference, sample = stacks["reference"], stacks["sample"]
    if np.array_equal(reference, sample):
        problems.append(
            InputError(names["sample"], expected="other frames than the reference's", found="the same ones")
        )
    if problems:
        raise InputProblems(problems)
    brighter = (float(np.median(sample)) - level) / (float(np.median(reference)) - level)
    if brighter > _BRIGHTER:
        print(
            f"speckleflow: warning: {names['sample']} is {brighter:.2f} times as bright as {names['reference']}; "
            "are sample and reference swapped, or was the exposure changed?",
            file=sys.stderr,
        )


def _check_pairs(sample: NDArray, reference: NDArray | None, name: str, partner: str) -> None:
    """Refuse sample frames (N, y, x) that show the pattern of another reference frame."""
    assert reference is not None
    names, partners = ([f"{stack}, frame {n}" for n in range(len(sample))] for stack in (name, partner))
    problems, warnings = pairing_problems(sample, reference, names, partners)
    if problems:
        raise InputProblems(problems)
    for warning in warnings:
        print(f"speckleflow: warning: {warning}", file=sys.stderr)


def _check_output(output: Path, suffixes: tuple[str, ...], inputs: list[str]) -> None:
    """Refuse, before anything is computed, to write over what is no earlier result, or where nothing can be.

    Raises
    ------
    ConfigError
        Another suffix, an input, a folder, or an existing HDF5 name under which there is no result.
    """
    where = f"command line: --output {output}"
    if output.suffix.lower() not in suffixes:
        raise ConfigError(
            f"{where}: expected a name that ends in {' or '.join(suffixes)}, found '{output.name}'"
        )
    if output.is_dir():
        raise ConfigError(f"{where}: expected the name of a file, found a folder")
    if not output.exists():
        return
    names = {os.path.realpath(name.partition(":/")[0]) for name in inputs}
    if os.path.realpath(output) in names:
        raise ConfigError(f"{where}: expected another file than the input, found the same")
    if ".h5" in suffixes and not (h5py.is_hdf5(output) and _is_result(output)):
        raise ConfigError(
            f"{where}: expected a new file or an earlier result, found another file of that name"
        )


def _is_result(path: Path) -> bool:
    with open_hdf5(path) as file:
        return PROVENANCE in file


def _load(path: Path) -> np.ndarray:
    check_file(path, "a .npy file", str(path))
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, zipfile.BadZipFile) as error:
        raise InputError(
            path, expected="a .npy file of numbers", found=" ".join(str(error).split())
        ) from error
    if not isinstance(found, np.ndarray):
        raise InputError(path, expected="a .npy file of numbers", found="an archive of several arrays (.npz)")
    return found
