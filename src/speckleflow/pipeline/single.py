"""One stack or one sinogram, for a person at the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from speckleflow.config import parse_config
from speckleflow.correct import Correction
from speckleflow.errors import ConfigError, InputError
from speckleflow.integrate import integrate_displacement
from speckleflow.io.atomic import atomic_path
from speckleflow.io.results import create, result_file, write_provenance
from speckleflow.io.stack import read_stack
from speckleflow.pipeline.retrieve import FIELDS, settings_of
from speckleflow.retrieval.single import Grid, retrieve_stack
from speckleflow.tomo.single import reconstruct_sinogram

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
    window: str,
    device: str,
) -> None:
    """Correct and retrieve one stack (N, y, x); write ux, uy, transmission, darkfield, quality (y, x).

    With all three of ``geometry`` (keV, um, m) the phase as well.

    Raises
    ------
    ConfigError
        Only some of the geometry was given, or an unknown method or window.
    InputError
        A stack that cannot be read, or stacks that do not fit each other.
    """
    given = [key for key, value in zip(GEOMETRY, geometry, strict=True) if value is not None]
    if given and len(given) < len(GEOMETRY):
        wanted = " ".join(f"--{key.replace('_', '-')}" for key in GEOMETRY)
        raise ConfigError(
            f"command line: expected all of {wanted} (for the phase) or none, found {', '.join(given)}"
        )
    raw: dict[str, Any] = {"retrieval": {"method": method}}
    if window != "auto":
        raw["retrieval"]["umpa"] = {"window": int(window) if window.isdigit() else window}
    raw["geometry"] = {key: value for key, value in zip(GEOMETRY, geometry, strict=True) if value is not None}
    config = parse_config(raw, "command line")
    stacks = {"reference": read_stack(reference), "sample": read_stack(sample)}
    if stacks["reference"].shape != stacks["sample"].shape:
        raise InputError(
            sample,
            expected=f"shape {stacks['reference'].shape} (N, y, x) as in {reference}",
            found=f"shape {stacks['sample'].shape}",
        )
    correction = Correction.of_stacks(
        stacks["reference"],
        flat=None if flat is None else read_stack(flat),
        dark=None if dark is None else read_stack(dark),
    )
    fields = retrieve_stack(
        torch.from_numpy(correction.reference),
        torch.from_numpy(correction.correct_frames(stacks["sample"])),
        method,
        settings_of(config),
        device,
        grid=grid,
    )
    arrays = {name: tensor[0].cpu().numpy() for name, tensor in fields.items()}
    if given:
        if "ux" not in arrays:
            raise ConfigError(f"command line: method '{method}' gives no displacement, so there is no phase")
        if grid != "reference":
            raise ConfigError("command line: the phase belongs to the sample; leave out --grid landing")
        energy, pixel, distance = (float(v) for v in geometry if v is not None)
        arrays["phase"] = integrate_displacement(
            arrays["ux"][None],
            arrays["uy"][None],
            energy_kev=energy,
            pixel_size_m=pixel * 1e-6,
            distance_m=distance,
            boundary=config.integrate.boundary,
        )[0]
    with result_file(output) as file:
        file.attrs["grid"] = grid
        for name, values in arrays.items():
            unit, meaning = FIELDS[name]
            create(file, name, values, unit=unit, description=meaning, dtype=values.dtype)
        write_provenance(
            file,
            stage="retrieve",
            settings=config.that_decide("geometry", "retrieval"),
            raw_files=[reference, sample],
            packages=("scipy", "torch"),
        )


def reconstruct_files(
    sinogram: Path, angles_deg: Path, axis_px: float, backend: str, filter: str, output: Path
) -> None:
    """Reconstruct one slice from .npy files and write it as .npy, float32, per pixel."""
    slice_ = reconstruct_sinogram(_load(sinogram), _load(angles_deg), axis_px, backend, filter)
    with atomic_path(output) as private, private.open("wb") as stream:
        np.save(stream, slice_)


def _load(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except FileNotFoundError as error:
        raise InputError(path, expected="a .npy file", found="no such file") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(path, expected="a .npy file of numbers", found=str(error)) from error
