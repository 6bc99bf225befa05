"""One stack of frames, from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from speckleflow.config import parse_config
from speckleflow.config.models import Correct
from speckleflow.correction import Correction, read_mask
from speckleflow.correction.air import air_margins
from speckleflow.errors import ConfigError, InputError
from speckleflow.inspection.agreement import pairing_problems
from speckleflow.inspection.frames import frame_problems, light_problems
from speckleflow.io.base import InputProblems
from speckleflow.io.output import check_output
from speckleflow.io.results import create, result_file, write_provenance
from speckleflow.io.scan import ScanGeometry
from speckleflow.io.stack import read_stack
from speckleflow.retrieval import registry
from speckleflow.retrieval.single import Grid, Refinement, retrieve_stack
from speckleflow.scan.schema import FIELDS, FILLED, LOST
from speckleflow.stages.phase import integrate_fields
from speckleflow.stages.projection import (
    acquisition_of,
    as_arrays,
    blank_lost,
    choose_device,
    flag_unmeasured,
    take_drift_off,
)
from speckleflow.stages.registry import result_settings
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
    detector_blur_px: float | None = None,
    air: str | None = None,
    drift: bool = False,
    refine: Refinement = "none",
    mask: str | None = None,
    saturation_level: float | None = None,
) -> str:
    """Correct and retrieve one stack (N, y, x); write the method's fields (y, x).

    ``air`` names margins without sample, where the phase is 0; with ``drift`` their mean displacement is taken off.
    Returned are lines on what was written.

    Pixels of ``mask``, and those that are NaN, unlit or at ``saturation_level`` or more (None: the largest count of
    their type), are filled, flagged and, far from measured ones, NaN, as the workflow does it.

    With all three of ``geometry`` (keV, um, m) the phase as well; a method that needs them also gets
    ``diffuser_distance_m``. ``refine``: wave fits phase and attenuation to the frames by the wave equation.

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
    defaults = registry.default_settings(method)
    settings: dict[str, Any] = {}
    if window is not None:
        settings["window"] = int(window) if window.isdigit() else window
    if weights is not None:
        settings["weights"] = weights
    if detector_blur_px is not None:
        settings["detector_blur_px"] = detector_blur_px
    for key in settings:
        if not hasattr(defaults, key):
            option = key.replace("_", "-")
            advice = f"leave out --{option}, or name a method that has one with --method"
            raise ConfigError(f"command line: method '{method}' has no {key}; {advice}")
    section = {"method": method, "refine": refine, **({method: settings} if settings else {})}
    raw: dict[str, Any] = {"retrieval": section}
    raw["geometry"] = {key: value for key, value in zip(GEOMETRY, geometry, strict=True) if value is not None}
    if diffuser_distance_m is not None:
        raw["geometry"]["diffuser_distance_m"] = diffuser_distance_m
    raw["correct"] = {"air_px": "auto" if air is None else _margins(air)}
    if saturation_level is not None:
        raw["correct"]["saturation_level"] = saturation_level
    config = parse_config(raw, "command line")
    spec = config.retrieval.spec
    device = choose_device(device)
    inputs = [reference, sample, *(name for name in (flat, dark, mask) if name is not None)]
    check_output(output, (".h5", ".hdf5"), inputs)
    stacks = {
        "reference": read_stack(reference, finite=False),
        "sample": read_stack(sample, finite=False),
    }
    if stacks["reference"].shape != stacks["sample"].shape:
        raise InputError(
            sample,
            expected=f"shape {stacks['reference'].shape} (N, y, x) as in {reference}",
            found=f"shape {stacks['sample'].shape}",
        )
    beam, level = (None if name is None else read_stack(name, finite=False) for name in (flat, dark))
    bad = None if mask is None else read_mask(Path(mask), mask, stacks["reference"].shape[-2:])
    _check_stacks(stacks, {"reference": reference, "sample": sample}, level, bad, config.correct)
    correction = Correction.from_stacks(
        stacks["reference"], flat=beam, dark=level, mask=bad, settings=config.correct
    )
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
        refine=refine,
        largest_misfit=config.retrieval.largest_misfit,
    )
    batch = as_arrays(fields)
    flag_unmeasured(batch, correction, stacks["sample"][None], grid)
    margins = correction.air if air is None else air_margins(config.correct, correction.bad.shape)
    if drift:
        if "ux" not in batch or not any(margins):
            raise ConfigError(
                "command line: --drift: expected a method with a displacement and margins of air (--air), "
                f"found method '{method}' and --air {air}"
            )
        take_drift_off(batch, margins, view)
    blank_lost(batch)
    if given:
        if not spec.has_phase:
            raise ConfigError(f"command line: method '{method}' gives no displacement, so there is no phase")
        if grid != "reference":
            raise ConfigError("command line: the phase belongs to the sample; leave out --grid detector")
        batch["phase"] = integrate_fields(batch, view, margins, config.integrate)["phase"]
    arrays = {name: values[0] for name, values in batch.items()}
    _tell_filled(arrays["flags"])
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
    if "phase" in arrays and _is_plane(arrays["phase"]):
        print(
            "speckleflow: warning: most of the phase is a plane: the sample, mask or beam moved between the stacks; "
            "with margins of air (--air 20,20,0,0), --drift takes it off",
            file=sys.stderr,
        )
    return _summary(output, method, sample, arrays)


def _margins(air: str) -> str | list[int]:
    """Margins as the configuration has them: auto, or four widths from 'left,right,top,bottom'."""
    if air == "auto":
        return air
    parts = air.split(",")
    if len(parts) != 4 or not all(part.strip().isdigit() for part in parts):
        raise ConfigError(
            f"command line: --air: expected auto or four widths left,right,top,bottom, found '{air}'"
        )
    return [int(part) for part in parts]


def _is_plane(phase: NDArray) -> bool:
    """Whether a plane explains more than four fifths of a phase's variance, and spans more than a turn."""
    y, x = np.indices(phase.shape)
    columns = np.stack([np.ones(phase.size), y.ravel(), x.ravel()], axis=1)
    known = np.isfinite(phase.ravel())
    columns, values = columns[known], phase.ravel()[known].astype(np.float64)
    plane = columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
    return bool(plane.var() > 0.8 * values.var() and np.ptp(plane) > 2 * np.pi)


def _summary(output: Path, method: str, sample: str, arrays: dict[str, NDArray]) -> str:
    """What was written, and the range of each image (1st to 99th percentile)."""
    images = {name: values for name, values in arrays.items() if values.ndim == 2 and name != "flags"}
    rows, columns = next(iter(images.values())).shape
    lines = [f"{output}: {rows} x {columns} pixels by {method} from {sample}"]
    for name, values in images.items():
        low, high = np.nanpercentile(values, (1, 99))
        lines.append(f"  {name:22} {low:10.4g} to {high:<10.4g} {FIELDS[name].unit}".rstrip())
    return "\n".join(lines)


def _tell_filled(flags: NDArray[np.uint8]) -> None:
    """A warning that says how many pixels were not measured."""
    filled, lost = int((flags & FILLED > 0).sum()), int((flags & LOST > 0).sum())
    if filled:
        print(
            f"speckleflow: warning: {filled} pixel(s) were not measured and were filled from their neighbours (flag "
            f"{FILLED}); {lost} of them lie too far from measured ones and are NaN (flag {LOST})",
            file=sys.stderr,
        )


def _check_stacks(
    stacks: dict[str, NDArray],
    names: dict[str, str],
    dark: NDArray | None,
    mask: NDArray[np.bool_] | None,
    settings: Correct,
) -> None:
    """What ``inspect`` would say of the frames; a warning where sample and reference may have been swapped.

    Pixels of the ``mask`` count for nothing.
    """
    problems: list[InputError] = []
    level = 0.0 if dark is None else float(np.nanmedian(dark))
    for role, frames in stacks.items():
        seen = frames if mask is None else np.where(mask, _middle(frames, mask), frames)
        problems += frame_problems(
            seen,
            f"{role} frames",
            names[role],
            filled=settings.fill_fraction,
            saturation=settings.saturation_level,
        )
        problems += light_problems(float(np.nanmedian(seen)), level, f"{role} frames", names[role])
    reference, sample = stacks["reference"], stacks["sample"]
    if np.array_equal(reference, sample):
        problems.append(
            InputError(names["sample"], expected="other frames than the reference's", found="the same ones")
        )
    if problems:
        raise InputProblems(problems)
    brighter = (float(np.nanmedian(sample)) - level) / (float(np.nanmedian(reference)) - level)
    if brighter > _BRIGHTER:
        print(
            f"speckleflow: warning: {names['sample']} is {brighter:.2f} times as bright as {names['reference']}; "
            "are sample and reference swapped, or was the exposure changed?",
            file=sys.stderr,
        )


def _middle(frames: NDArray, mask: NDArray[np.bool_]) -> Any:
    """Median of the pixels that a mask leaves, in the frames' type."""
    left = frames[:, ~mask]
    left = left[np.isfinite(left)] if frames.dtype.kind == "f" else left
    return frames.dtype.type(np.median(left) if left.size else 0)


def _check_pairs(sample: NDArray, reference: NDArray | None, name: str, partner: str) -> None:
    """Refuse sample frames (N, y, x) that show the pattern of another reference frame."""
    assert reference is not None
    names, partners = ([f"{stack}, frame {n}" for n in range(len(sample))] for stack in (name, partner))
    problems, warnings = pairing_problems(sample, reference, names, partners)
    if problems:
        raise InputProblems(problems)
    for warning in warnings:
        print(f"speckleflow: warning: {warning}", file=sys.stderr)
