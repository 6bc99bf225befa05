"""Settings tried on one projection and one slice, beside each other on a page."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from speckleflow.config import ScanConfig, parse_config
from speckleflow.correction import Correction, prepare_correction
from speckleflow.correction.detector_blur import DetectorBlur
from speckleflow.errors import ConfigError, InputError
from speckleflow.io.projections import open_projections
from speckleflow.io.scan import Scan, open_scan
from speckleflow.phase import remove_drift
from speckleflow.report.pictures import PROJECTION_LOOKS, VOLUME_LOOKS, look_of
from speckleflow.report.tuning import Group, TuningPage, Variant, build_tuning_page
from speckleflow.retrieval import registry
from speckleflow.retrieval.consistency import Consistency
from speckleflow.scan.schema import CONTRASTS
from speckleflow.scan.spec import ScanSpec
from speckleflow.stages.phase import Arrays, gives_phase, integrate_fields
from speckleflow.stages.projection import (
    acquisition_of,
    as_arrays,
    make_retriever,
    reference_of,
    with_measured_blur,
)
from speckleflow.stages.straight import read_straight
from speckleflow.tomo.axis_search import votes_of
from speckleflow.tomo.slab import SlabReconstruction, ring_filters
from speckleflow.tomo.units import QUANTITIES
from speckleflow.tomo.votes import Vote

#: contrasts offered first: what a user judges by
_ORDER = ("phase", "transmission", "darkfield", "ux", "uy", "displacement_std")


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes
    ----------
    projection : number in the scan, negative from its end; None: the middle one.
    rows, columns : region of the projection.
    methods : retrieval methods; none: the scan's.
    vary : setting of the methods -> values.
    slice_row : row of the slice; None: the middle one.
    axes_px : rotation axes of the slice; None stands for the scan's own.
    rings : ring filters by name; None stands for the scan's own.
    """

    projection: int | None = None
    rows: slice = field(default_factory=lambda: slice(None))
    columns: slice = field(default_factory=lambda: slice(None))
    methods: tuple[str, ...] = ()
    vary: Mapping[str, Sequence[Any]] | None = None
    with_slice: bool = False
    slice_row: int | None = None
    axes_px: tuple[float | None, ...] = (None,)
    rings: tuple[str | None, ...] = (None,)


def tune(spec: ScanSpec, trial: Trial, *, projections: Path, output: Path) -> None:
    """Try settings and write the page.

    Parameters
    ----------
    spec : the scan; its settings are the ground that is varied.
    trial : what is tried.
    projections : ``projections.h5`` of the scan, which the slice is made of.
    output : HTML file.

    Raises
    ------
    ConfigError
        A method or setting that there is not, or a region outside the image.
    InputError
        The raw data cannot be used, or a slice was asked for before there are projections.
    """
    scan = open_scan(spec)
    groups = [_retrievals(scan, trial)]
    if trial.with_slice:
        groups.append(_slices(spec, trial, projections))
    geometry = scan.geometry
    facts = [
        ("Diffuser positions", str(scan.n_positions)),
        ("Pixel size", f"{geometry.pixel_size_um:.4g} \u00b5m"),
        *([("Energy", f"{geometry.energy_kev:.4g} keV")] if geometry.energy_kev else []),
        *([("Distance", f"{geometry.effective_distance_m:.4g} m")] if geometry.effective_distance_m else []),
    ]
    build_tuning_page(output, TuningPage(spec.name, facts, groups))


def parse_region(text: str | None, option: str) -> slice:
    """A range of rows or columns from 'first:stop'.

    Raises
    ------
    ConfigError
        Something else.
    """
    if text is None:
        return slice(None)
    first, colon, stop = text.partition(":")
    if not colon or not all(part.strip().isdigit() or not part.strip() for part in (first, stop)):
        raise ConfigError(f"command line: {option}: expected first:stop such as 400:600, found '{text}'")
    return slice(int(first) if first.strip() else None, int(stop) if stop.strip() else None)


def parse_axes(text: str | None) -> tuple[float | None, ...]:
    """Rotation axes from 'start:stop:step' (the stop among them) or 'a,b,c'; None: the scan's own.

    Raises
    ------
    ConfigError
        Something else, or more than 40 of them.
    """
    if text is None:
        return (None,)
    try:
        values = [float(part) for part in text.split(",")] if ":" not in text else []
        parts = [float(part) for part in text.split(":")] if ":" in text else []
    except ValueError:
        values, parts = [], []
    if values:
        return tuple(values)
    if len(parts) != 3 or not parts[2] > 0 or not parts[1] >= parts[0]:
        raise ConfigError(
            "command line: --axis: expected start:stop:step such as 290:300:0.5, or values with commas, "
            f"found '{text}'"
        )
    start, stop, step = parts
    count = int(np.floor((stop - start) / step + 1e-6)) + 1
    if count > 40:
        raise ConfigError(f"command line: --axis: expected at most 40 axes, found {count}")
    return tuple(round(start + k * step, 6) for k in range(count))


def parse_vary(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Settings and their values from 'window=9,15'.

    Raises
    ------
    ConfigError
        Something else.
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not key.strip() or not values.strip():
            raise ConfigError(f"command line: --vary: expected setting=value,value, found '{text}'")
        found[key.strip()] = [yaml.safe_load(value) for value in values.split(",")]
    return found


def _retrievals(scan: Scan, trial: Trial) -> Group:
    """The projection under every method and setting."""
    number = scan.n_projections // 2 if trial.projection is None else trial.projection
    if not -scan.n_projections <= number < scan.n_projections:
        raise ConfigError(
            f"command line: --projection: expected 0 to {scan.n_projections - 1}, found {number}"
        )
    number = range(scan.n_projections)[number]
    rows = _inside(trial.rows, scan.rows, "--rows")
    columns = _inside(trial.columns, scan.columns, "--columns")
    correction = prepare_correction(scan).at(scan.raw_indices[number])
    configs = [
        (label, lines, with_measured_blur(config, correction.blur))
        for label, lines, config in _configs(scan.config, trial)
    ]
    raw = scan.read_sample(slice(number, number + 1))
    frames = correction.correct_frames(raw, scan.raw_indices[number : number + 1])[:, :, rows, columns]
    reference = reference_of(correction, scan)[:, rows, columns]
    air = _air(correction, rows, columns)
    variants = [
        _retrieve(scan, config, label, lines, frames, reference, air, correction.blur)
        for label, lines, config in configs
    ]
    there = {name for variant in variants for name in variant.images}
    order = dict.fromkeys((*_ORDER, *CONTRASTS))
    looks = {name: look_of(name, PROJECTION_LOOKS) for name in order if name in there}
    where = f"rows {rows.start} to {rows.stop - 1}, columns {columns.start} to {columns.stop - 1}"
    return Group(
        f"Projection {scan.raw_indices[number]} ({scan.angles_deg[number]:.1f}\u00b0)",
        f"{where.capitalize()}.",
        variants,
        looks,
        (rows.start, columns.start),
    )


def _inside(part: slice, length: int, option: str) -> slice:
    start, stop, _ = part.indices(length)
    given = [n for n in (part.start, part.stop) if n is not None]
    if stop <= start or any(n > length for n in given):
        raise ConfigError(
            f"command line: {option}: expected a range inside 0:{length}, found {part.start}:{part.stop}"
        )
    return slice(start, stop)


def _air(correction: Correction, rows: slice, columns: slice) -> tuple[int, int, int, int]:
    """What of the margins of air lies in the region."""
    height, width = correction.bad.shape
    left, right, top, bottom = correction.air
    return (
        max(0, left - columns.start),
        max(0, columns.stop - (width - right)),
        max(0, top - rows.start),
        max(0, rows.stop - (height - bottom)),
    )


def _configs(base: ScanConfig, trial: Trial) -> Iterator[tuple[str, str, ScanConfig]]:
    """(label, lines for the configuration, settings) of every variant."""
    vary = dict(trial.vary or {})
    used: set[str] = set()
    for method in trial.methods or (base.retrieval.method,):
        registry.check_name(method)
        defaults = registry.default_settings(method)
        own = {key: values for key, values in vary.items() if defaults is not None and hasattr(defaults, key)}
        used |= own.keys()
        for values in itertools.product(*own.values()):
            chosen = dict(zip(own, values, strict=True))
            retrieval: dict[str, Any] = {"method": method, **({method: chosen} if chosen else {})}
            dumped = base.model_dump(mode="json")
            dumped["retrieval"]["method"] = method
            if chosen:
                parse_config({"retrieval": retrieval}, "command line: --vary")  # in words of the user's
                dumped["retrieval"][method] |= chosen
            label = ", ".join([method, *(f"{key} {value}" for key, value in chosen.items())])
            lines = yaml.safe_dump({"retrieval": retrieval}, sort_keys=False).rstrip()
            yield label, lines, ScanConfig.model_validate(dumped)
    if unknown := vary.keys() - used:
        raise ConfigError(
            f"command line: --vary: expected a setting of the compared methods, found '{sorted(unknown)[0]}'"
        )


def _retrieve(
    scan: Scan,
    config: ScanConfig,
    label: str,
    lines: str,
    frames: NDArray[np.float32],
    reference: NDArray[np.float32],
    air: tuple[int, int, int, int],
    blur: DetectorBlur | None,
) -> Variant:
    execution = config.execution.retrieval
    start = time.perf_counter()
    retriever = make_retriever(config, execution.device, execution.threads)
    state = retriever.prepare(
        torch.from_numpy(np.ascontiguousarray(reference)),
        acquisition_of(config, scan.geometry, scan.angles_deg, blur),
    )
    shown = torch.from_numpy(np.ascontiguousarray(frames))
    found = retriever(shown, state)
    seconds = time.perf_counter() - start
    if retriever.spec.can_be_checked:
        check = Consistency.of(torch.from_numpy(np.ascontiguousarray(reference)).to(retriever.device))
        found = check.check(shown, found, config.retrieval.largest_misfit)
    fields = as_arrays(found)
    if "ux" in fields and config.correct.drift and any(air):
        fields["ux"], fields["uy"], _ = remove_drift(fields["ux"], fields["uy"], air)
    if gives_phase(fields) and scan.geometry.energy_kev is not None:
        fields |= integrate_fields(fields, scan.geometry, air, config.integrate)
    images = {name: fields[name][0] for name in CONTRASTS if name in fields}
    return Variant(label, images, lines, _numbers(fields, seconds))


def _numbers(fields: Arrays, seconds: float) -> list[tuple[str, str]]:
    numbers = []
    if "displacement_std" in fields:
        numbers.append(("Expected error (median)", f"{np.nanmedian(fields['displacement_std']):.4f} px"))
    if "curl_px" in fields:
        numbers.append(("Curl (RMS)", f"{float(fields['curl_px'][0]):.4f} px"))
    if "misfit" in fields:
        numbers.append(
            ("Misfit of the frames (median)", f"{np.nanmedian(fields['misfit']):.3f} of the pattern")
        )
    numbers.append(("Time", f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"))
    return numbers


def _slices(
    spec: ScanSpec, trial: Trial, path: Path, named: Mapping[float, str] = MappingProxyType({})
) -> Group:
    """One row reconstructed with every axis and ring filter; the label is the value that was used."""
    if not path.exists():
        raise InputError(
            path,
            expected="the projections of the scan, for a slice",
            found="no such file",
            hint="speckleflow run CONFIG --until assemble makes them",
        )
    settings = spec.config.tomography
    with open_projections(path) as file:
        there = [name for name, quantity in QUANTITIES.items() if quantity.contrast in file]
        height = file.shape(QUANTITIES[there[0]].contrast)[1]
        row = height // 2 if trial.slice_row is None else trial.slice_row
        if not 0 <= row < height:
            raise ConfigError(f"command line: --slice: expected middle or 0 to {height - 1}, found {row}")
        stacks = {
            name: (
                read_straight(file, QUANTITIES[name].contrast, row, row + 1, file.turns[0]),
                file.noise(QUANTITIES[name].contrast),
            )
            for name in there
        }
        angles, attrs = file.angles_deg[file.turns[0]], file.attrs
    own = attrs.get("rotation_axis_px")
    variants = []
    for axis, ring in itertools.product(trial.axes_px, trial.rings):
        used = own if axis is None else axis
        if used is None:
            raise InputError(path, expected="a rotation axis", found="none", hint="give it by --axis")
        used = round(float(used), 3)  # so that the label is the value
        filters = ring_filters(settings) if ring is None else dict.fromkeys(there, ring)
        make = SlabReconstruction(
            angles,
            used,
            pixel_size_m=float(attrs["pixel_size_um"]) * 1e-6,
            energy_kev=attrs.get("energy_kev"),
            backend=settings.backend,
            filter=settings.filter,
            rings=filters,
            ring_window_px=settings.rings.window_px,
            offset_axis=settings.offset_axis,
            threads=spec.config.execution.tomography.threads,
            device=spec.config.execution.tomography.device,
        )
        images = {name: make(name, *stack).slices[0] for name, stack in stacks.items()}
        chosen: dict[str, Any] = {"axis_px": make.axis_px}
        label = f"axis {_exact(make.axis_px)} px{named.get(make.axis_px, '')}"
        if ring is not None:
            chosen["rings"] = dict.fromkeys(("phase", "absorption", "darkfield"), ring)
            label += f", rings {ring}"
        lines = yaml.safe_dump({"tomography": chosen}, sort_keys=False).rstrip()
        variants.append(Variant(label, images, lines))
    looks = {name: VOLUME_LOOKS[name] for name in there}
    return Group(f"Slice of row {row}", "Reconstructed from projections.h5.", variants, looks)


def _exact(axis_px: float) -> str:
    """An axis of at most three decimals, all of them shown."""
    return f"{axis_px:.2f}" if round(axis_px, 2) == axis_px else f"{axis_px:.3f}"


def axis_page(
    spec: ScanSpec,
    *,
    projections: Path,
    output: Path,
    row: int | None = None,
    axes_px: tuple[float, ...] = (),
    step_px: float = 0.5,
    steps: int = 4,
) -> str:
    """Write a page of trial slices about several rotation axes, and return a line on the votes.

    Parameters
    ----------
    spec : the scan.
    projections : ``projections.h5`` of the scan.
    output : HTML file.
    row : of the slice; None: the middle one.
    axes_px : what is tried; none: the axis that is used, ``steps`` steps to either side, and what each method found.
    step_px, steps : of these.

    Raises
    ------
    ConfigError
        A row outside the image.
    InputError
        No projections yet, or none at several angles.
    """
    votes: tuple[Vote, ...] = ()
    own, width = None, 0
    if projections.exists():
        with open_projections(projections) as file:
            own = file.attrs.get("rotation_axis_px")
            width = file.shape("transmission")[2]
            if "rotation_axis" in file.file:
                votes = votes_of(file.file["rotation_axis"].attrs["votes"])
    used: list[float] = []
    named: dict[float, str] = {}
    if own is not None:
        own = round(float(own), 3)
        around = [round(own + k * step_px, 3) for k in range(-steps, steps + 1)]
        used = [*around, *(round(vote.axis_px, 3) for vote in votes)]
        for vote in votes:
            named[round(vote.axis_px, 3)] = f" ({vote.method})"
        named[own] = " (used)"
    chosen = sorted({*axes_px} or {axis for axis in used if 0 <= axis <= width - 1})
    trial = Trial(slice_row=row, axes_px=tuple(chosen) or (None,))
    group = _slices(spec, trial, projections, named)
    facts = [("Rotation axis used", f"{_exact(own)} px")] if own is not None else []
    facts += [(vote.method, f"{vote.axis_px:.2f} \u00b1 {vote.error_px:.2f} px") for vote in votes]
    build_tuning_page(output, TuningPage(spec.name, facts, [group]))
    return f"{output}: {len(group.variants)} axes; " + ", ".join(f"{name} {value}" for name, value in facts)
