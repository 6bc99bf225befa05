"""All blocks of a scan under one virtual dataset a contrast, and what tomography needs once a scan.

Two steps that share no open file: :func:`prepare_tomography` searches the rotation axis and measures the noise of T
and D in the block files, read-only; then one file is written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from speckleflow.config import ScanConfig
from speckleflow.errors import ConfigError, InputError
from speckleflow.io.nexus import titles_of, write_projection_entry
from speckleflow.io.projections import BLOCKS, BlockSet, record_sets
from speckleflow.io.results import IDENTITY, create, fill_value, open_result, result_file
from speckleflow.scan.schema import CONTRASTS as SHOWN
from speckleflow.scan.schema import FIELDS, FILLED, LOST
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import WARNINGS, collected_warnings, write_warnings
from speckleflow.stages.align import align_projections
from speckleflow.stages.inputs import check_made_by, describe, geometry_attributes, load_manifest
from speckleflow.stages.straight import CUT_OFF, TILT, read_bridged, straight_rows, write_alignment
from speckleflow.tomo.alignment import Alignment
from speckleflow.tomo.axis_search import AxisSearch, leaves_the_view, search_axis
from speckleflow.tomo.motion import lying_axis_warning, motion_warning
from speckleflow.tomo.sinogram import CONTRASTS, RatioNoise, line_integrals, ratio_noise
from speckleflow.tomo.tilt import RIM_PX, Tilt, axis_tilt
from speckleflow.tomo.turns import turn_ranges

log = logging.getLogger(__name__)

#: Rows that the rotation axis is looked for in, spread over the height.
AXIS_ROWS = 16
#: Projections that the noise of T and D is measured in, spread over the scan.
NOISE_PROJECTIONS = 16
#: Times that the tilt is measured again on projections turned by what was measured before.
TILT_PASSES = 3
#: Contrasts that the axis is searched for in, in this order.
_WHERE = ("transmission", "phase", "darkfield")
#: attributes of a block that are its own, not the scan's
_OF_A_BLOCK = {IDENTITY, WARNINGS, "first_projection", "n_projections", "fields_identity"}


@dataclass(frozen=True)
class Preparation:
    """What tomography needs once a scan.

    Attributes
    ----------
    noises : of T and D.
    axis_px : rotation axis in pixels, pixel centres at integers.
    origin : the contrast that it was searched for in, else the key that gave it.
    search : the search, where there was one.
    tilt : of the axis in the plane of the detector, where it was measured.
    tilt_deg : the tilt that the reconstruction takes off.
    cut_off : whether the sample leaves the view.
    alignment : what is taken off the projections, where that was asked for.
    """

    noises: dict[str, RatioNoise]
    axis_px: float
    origin: str
    search: AxisSearch | None = field(default=None, repr=False)
    tilt: Tilt | None = None
    tilt_deg: float = 0.0
    cut_off: bool = False
    alignment: Alignment | None = None


def assemble_projections(
    spec: ScanSpec,
    *,
    manifest: str | Path,
    fields: Sequence[str | Path],
    phases: Sequence[str | Path],
    output: str | Path,
    tomographic: bool,
) -> None:
    """Write a file whose images (projection, y, x) show those of all blocks without copying them.

    Angles, the times of a time series and other numbers of a projection are copied. With tomography, where the
    projections are angles, also the rotation axis (attribute ``rotation_axis_px``; the search in group
    ``rotation_axis``) and the noise of T and D (attributes ``noise_constant`` and ``noise_slope`` of their datasets).
    No block is opened for writing.

    Raises
    ------
    InputError
        Blocks do not belong together, or tomography was asked for, but all projections have one angle.
    """
    output = Path(output)
    contract = load_manifest(manifest, spec)
    sets = [BlockSet.open(fields)]
    if phases:
        sets.append(BlockSet.open(phases))
        _check_pairs(*sets)
    angles = np.asarray(contract.angles_deg)
    if sets[0].count != len(angles):
        raise InputError(
            sets[0].blocks[-1].path,
            expected=f"{len(angles)} projections as in {manifest}",
            found=f"{sets[0].count} in all blocks",
            hint="delete the blocks and run the workflow again",
        )
    with collected_warnings() as warnings, ExitStack() as stack:
        firsts = [stack.enter_context(open_result(blocks.blocks[0].path)) for blocks in sets]
        for first, blocks, stage in zip(firsts, sets, ("retrieve", "integrate"), strict=False):
            check_made_by(first, blocks.blocks[0].path, stage, spec, contract)
        axis, turns = spec.config.geometry.axis, [(0, len(angles))]
        if axis == "both":
            turns = turn_ranges(angles, spec.config.tomography.turn_deg)
        preparation = None
        if tomographic and axis != "time":
            # the sample is another one in the next turn, about the same axis
            preparation = prepare_tomography(spec.config, sets, angles, output, turns)
        with result_file(output) as file:
            file.attrs.update(geometry_attributes(contract.geometry))
            for blocks in reversed(sets):  # what the fields say of the scan wins
                file.attrs.update({k: v for k, v in blocks.attrs.items() if k not in _OF_A_BLOCK})
            _write_numbers(file, "angle_deg", angles)
            if contract.times_s:
                times = np.asarray(contract.times_s)
                _write_numbers(file, "time_s", times)
                if axis == "both":
                    _write_numbers(file, "turns", np.asarray(turns))
                    _write_numbers(file, "turn_time_s", np.array([times[slice(*t)].mean() for t in turns]))
            for blocks in sets:
                _write_set(file, blocks, output.parent)
            file.attrs[BLOCKS] = record_sets(sets, output.parent)
            if preparation is not None:
                _write_preparation(file, preparation)
            write_warnings(file, *(blocks.warnings for blocks in sets), warnings)
            describe(file, "assemble", spec, manifest=contract, upstream=firsts)
            write_projection_entry(
                file,
                titles_of(file, SHOWN),
                scan=spec.name,
                pixel_size_m=contract.geometry.pixel_size_um * 1e-6,
                default="phase" if "phase" in file else "transmission",
            )


def _write_numbers(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    """Numbers of the projections or turns, under their name in results."""
    schema = FIELDS[name]
    create(file, name, values, unit=schema.unit, description=schema.meaning, dtype=values.dtype)


def prepare_tomography(
    config: ScanConfig,
    sets: Sequence[BlockSet],
    angles_deg: NDArray[np.float64],
    where: Path,
    turns: Sequence[tuple[int, int]] | None = None,
) -> Preparation:
    """Noise, alignment and rotation axis of a scan, from its blocks; ``where`` is how messages name the scan.

    The axis is searched in the first of the ``turns`` ([first, stop) of the projections, default: all), which sees one
    sample.

    Raises
    ------
    InputError
        All projections have one angle.
    """
    if np.ptp(angles_deg) == 0:
        raise InputError(
            where, expected="more than one rotation angle", found=f"{angles_deg[0]:g} degrees throughout"
        )
    fields, count = sets[0], len(angles_deg)
    some = np.unique(np.linspace(0, count - 1, NOISE_PROJECTIONS).astype(int))
    noises = {
        contrast: ratio_noise(_measured_rows(read_bridged(fields, contrast, some)))
        for contrast in CONTRASTS
        if contrast in fields.layers and contrast != "phase"
    }
    settings = config.tomography
    fixed_tilt = 0.0 if settings.axis_tilt_deg == "auto" else float(settings.axis_tilt_deg)
    height, columns = fields.layers["transmission"].shape
    rows = np.unique(np.linspace(0, height - 1, AXIS_ROWS + 2).astype(int)[1:-1])
    seen = np.asarray(np.isfinite(read_bridged(fields, "transmission", some)).all((0, 2)))
    rows = rows[seen[rows]]

    turns = [(0, count)] if turns is None else turns
    part = slice(*turns[0])
    alignment: Alignment | None = None

    def sinograms_of(contrast: str, axis: float = 0.0, tilt_deg: float = 0.0) -> NDArray[np.float32]:
        blocks = next(blocks for blocks in sets if contrast in blocks.layers)
        lines = []
        for row in rows.tolist():
            line = straight_rows(
                blocks,
                contrast,
                (row, row + 1),
                axis_px=axis,
                tilt_deg=tilt_deg,
                alignment=alignment,
                projections=part,
                flags=fields,
            )
            lines.append(line_integrals(contrast, line[:, 0], noises.get(contrast)).values)
        return np.stack(lines)

    missing = _never_measured(fields, some, rows)
    transmission = sinograms_of("transmission")
    cut_off = not settings.offset_axis and leaves_the_view(transmission)
    if cut_off:
        log.warning(
            "the sample leaves the view: values are known up to a constant, inside the circle about the axis alone "
            "(field_of_view)"
            + ("; tomography.padding: edge takes off the rise towards its rim" * (settings.padding == "zero"))
        )
    if settings.align != "none":
        alignment = align_projections(settings, sets, angles_deg, turns, noises, cut_off)
        transmission = sinograms_of("transmission")
    angles_deg = angles_deg[part]
    if settings.axis_px != "auto" and settings.axis_tilt_deg != "auto":
        axis = float(settings.axis_px)
        return Preparation(
            noises, axis, "tomography.axis_px", tilt_deg=fixed_tilt, cut_off=cut_off, alignment=alignment
        )
    _log_oddities(fields, np.asarray(transmission, np.float64), angles_deg, some, noises["transmission"])
    contrast, search = _best_search(
        [name for name in _WHERE if any(name in blocks.layers for blocks in sets)],
        settings.axis_contrast,
        lambda name: transmission if name == "transmission" else sinograms_of(name),
        angles_deg,
        missing,
    )
    tilt = axis_tilt(rows, search.mirror.rows_px, height, columns)
    tilt_deg, axis, origin = fixed_tilt, search.axis_px, contrast
    if settings.axis_tilt_deg == "auto" and tilt is not None and tilt.matters:
        # a row of the leaning sample holds other slices far from the axis, which hides a part of the tilt
        tilt_deg, axis = tilt.deg, tilt.axis_px
        for _ in range(TILT_PASSES):
            search = search_axis(sinograms_of(contrast, axis, tilt_deg), angles_deg)
            axis = search.axis_px
            rest = axis_tilt(rows, search.mirror.rows_px, height, columns)
            if rest is None or not rest.matters:
                break
            tilt_deg += rest.deg
        log.info("rotation axis tilted by %.3f +- %.3f degrees; taken off", tilt_deg, tilt.error_deg)
        tilt = replace(tilt, deg=tilt_deg)
    elif tilt is not None and tilt.matters:
        left = abs(np.tan(np.deg2rad(tilt.deg - fixed_tilt))) * max(height, columns) / 2
        if left > RIM_PX:
            log.warning(
                f"the rotation axis is tilted by {tilt.deg:.2f} \u00b1 {tilt.error_deg:.2f} degrees "
                f"({search.mirror.rows_px[0]:.1f} px in row {rows[0]}, {search.mirror.rows_px[-1]:.1f} px in row "
                f"{rows[-1]}), {left:.1f} px at the rim more than tomography.axis_tilt_deg takes off "
                f"({RIM_PX:g} px are tolerated); axis_tilt_deg: auto takes it off"
            )
    if settings.axis_px != "auto":
        axis, origin = float(settings.axis_px), "tomography.axis_px"
    else:
        log.info("rotation axis %.2f +- %.2f px, from the %s", axis, search.uncertainty_px, contrast)
        for words in search.warnings(settings.offset_axis, columns):
            log.warning(words)
    return Preparation(noises, axis, origin, search, tilt, tilt_deg, cut_off, alignment)


def _never_measured(
    fields: BlockSet, some: NDArray[np.intp], rows: NDArray[np.intp]
) -> NDArray[np.bool_] | None:
    """Pixels (row, x) of the given rows that were filled in each of some projections; None: none of them."""
    if "flags" not in fields.layers:
        return None
    flags = fields.read("flags", some)[:, rows]
    never = np.asarray((flags & (FILLED | LOST) > 0).all(0))
    return never if never.any() else None


def _measured_rows(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images (projection, y, x) without the rows that none of them measured."""
    return images[:, np.asarray(np.isfinite(images).all((0, 2)))]


def _best_search(
    there: Sequence[str],
    asked: str,
    sinograms_of: Callable[[str], NDArray[np.float32]],
    angles_deg: NDArray[np.float64],
    missing: NDArray[np.bool_] | None,
) -> tuple[str, AxisSearch]:
    """Contrast and search: in the contrast asked for, or in the first in which the axis can be trusted.

    Where it can be trusted in none, the deepest minimum over its noise counts.
    """
    if asked != "auto" and asked not in there:
        raise ConfigError(
            f"tomography.axis_contrast: expected auto or one of {', '.join(there)}, found '{asked}'"
        )
    tried: list[tuple[str, AxisSearch]] = []
    for contrast in there if asked == "auto" else [asked]:
        sinograms = sinograms_of(contrast)
        if tried and not np.ptp(sinograms, axis=-1).any():
            continue  # nothing in this contrast
        tried.append((contrast, search_axis(sinograms, angles_deg, missing)))
        if tried[-1][1].trusted:
            return tried[-1]
    return max(tried, key=lambda item: item[1].mirror.significance)


def _log_oddities(
    fields: BlockSet,
    sinograms: NDArray[np.float64],
    angles_deg: NDArray[np.float64],
    some: NDArray[np.intp],
    noise: RatioNoise,
) -> None:
    """Warn of a sample that moved, and of a rotation axis that lies along the rows."""
    images = line_integrals(
        "transmission", _measured_rows(read_bridged(fields, "transmission", some)), noise
    ).values
    for warning in (
        motion_warning(sinograms, angles_deg),
        lying_axis_warning(np.asarray(images, np.float64)),
    ):
        if warning is not None:
            log.warning(warning)


def _check_pairs(fields: BlockSet, phases: BlockSet) -> None:
    """Refuse phases that were not integrated from these fields."""
    if len(fields.blocks) != len(phases.blocks):
        raise InputError(
            phases.blocks[0].path,
            expected=f"{len(fields.blocks)} blocks of phase, one for each of fields",
            found=f"{len(phases.blocks)}",
        )
    for theirs, ours in zip(fields.blocks, phases.blocks, strict=True):
        if phases.sources[ours.path] != theirs.identity:
            raise InputError(
                ours.path,
                expected=f"the phase of {theirs.path}",
                found="the phase of another version of it",
                hint="delete it and run the workflow again",
            )


def _write_set(file: h5py.File, blocks: BlockSet, folder: Path) -> None:
    """One dataset for every dataset of the blocks, joined along the projections: images virtual, numbers copied.

    The sources are named relative to the file's folder: results can be moved as a whole.
    """
    for name, layer in blocks.layers.items():
        if len(layer.shape) < 2:
            made = create(file, name, blocks.read(name), unit="", description="", dtype=layer.dtype)
            made.attrs.update(layer.attrs)
            continue
        layout = h5py.VirtualLayout((blocks.count, *layer.shape), layer.dtype)
        layout.dcpl.set_obj_track_times(False)  # else the hour of its making is part of the file
        for block in blocks.blocks:
            source = h5py.VirtualSource(
                str(block.path.relative_to(folder)), name, (block.count, *layer.shape), layer.dtype
            )
            layout[block.first : block.first + block.count] = source
        made = file.create_virtual_dataset(name, layout, fillvalue=fill_value(layer.dtype))
        made.attrs.update(layer.attrs)


def _write_preparation(file: h5py.File, preparation: Preparation) -> None:
    for contrast, noise in preparation.noises.items():
        file[contrast].attrs["noise_constant"], file[contrast].attrs["noise_slope"] = noise
    file.attrs["rotation_axis_px"] = preparation.axis_px
    file.attrs["rotation_axis_from"] = preparation.origin
    file.attrs[TILT] = preparation.tilt_deg
    file.attrs[CUT_OFF] = preparation.cut_off
    if preparation.alignment is not None:
        write_alignment(file, preparation.alignment)
    search, tilt = preparation.search, preparation.tilt
    if search is None:
        return
    mirror = search.mirror
    group = file.create_group("rotation_axis")
    create(group, "tried_px", mirror.tried_px, unit="px", description="rotation axes tried", dtype=np.float64)
    create(
        group, "cost", mirror.costs, unit="", description="their cost, the least is best", dtype=np.float64
    )
    group.attrs["method"] = search.method
    group.attrs["uncertainty_px"] = search.uncertainty_px
    group.attrs["significance"] = mirror.significance
    group.attrs["trusted"] = search.trusted
    group.attrs["votes"] = search.to_json()
    if tilt is not None:
        group.attrs["tilt_deg"], group.attrs["tilt_error_deg"] = tilt.deg, tilt.error_deg
