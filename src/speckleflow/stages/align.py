"""Level and displacement of the projections of a scan, from their moments, before anything is reconstructed."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speckleflow.config.sections.tomography import Tomography
from speckleflow.io.projections import BlockSet
from speckleflow.stages.straight import read_bridged
from speckleflow.tomo.alignment import (
    LEAST_PROJECTIONS,
    LEAST_PX,
    REACH_PX,
    TIMES_ERROR,
    WORST_ERROR_PX,
    Alignment,
    Moments,
    Movement,
    measure_movement,
)
from speckleflow.tomo.geometry import angular_weights
from speckleflow.tomo.sinogram import RatioNoise, line_integrals

log = logging.getLogger(__name__)

#: contrasts that a displacement is measured in, whichever has less noise
_PLACES = ("transmission", "phase")
#: bytes of images that are in memory at once
_PART_BYTES = 2**26
#: a scan that covers less than this is no half turn
HALF_TURN_DEG = 179.0


def align_projections(
    settings: Tomography,
    sets: Sequence[BlockSet],
    angles_deg: NDArray[np.float64],
    turns: Sequence[tuple[int, int]],
    noises: dict[str, RatioNoise],
    cut_off: bool,
) -> Alignment:
    """What ``tomography.align`` takes off the projections; warns where the moments do not tell it.

    Parameters
    ----------
    sets : blocks of fields, and of phase.
    angles_deg : of all projections.
    turns : [first, stop) of the projections of every volume, each of which is one sample.
    noises : of T and D.
    cut_off : whether the sample leaves the view.
    """
    count = len(angles_deg)
    nothing = np.zeros((count, 2))

    def refused(why: str) -> Alignment:
        log.warning("tomography.align: nothing was taken off the projections: %s", why)
        return Alignment(nothing, words=f"none: {why}")

    if settings.offset_axis:
        return refused(
            "the scan is one whose halves are joined, no projection of which holds the whole sample"
        )
    if cut_off:
        return refused("the sample leaves the view, so its mass and centre of mass are not known")
    if min(stop - first for first, stop in turns) < LEAST_PROJECTIONS:
        return refused(f"moments need {LEAST_PROJECTIONS} projections, found fewer")
    found: dict[str, list[Movement]] = {}
    for blocks in sets:
        for contrast in ("transmission", "phase", "darkfield"):
            if contrast in blocks.layers:
                moments = _moments(blocks, sets[0], contrast, noises.get(contrast))
                found[contrast] = [
                    measure_movement(
                        moments.of_projections(slice(*turn)),
                        angles_deg[slice(*turn)],
                        leaning=settings.axis_tilt_deg != 0,
                    )
                    for turn in turns
                ]
    whole = {name: moved for name, moved in found.items() if all(part.whole for part in moved)}
    if not any(name in whole for name in _PLACES):
        rest = max(part.rest for part in found["transmission"])
        return refused(
            f"the mass of the rows varies by {rest:.0%} from projection to projection: the sample leaves the view, or "
            "there is none"
        )
    levels = {}
    if settings.align in ("level", "both"):
        for name, moved in found.items():
            if any(part.stronger or not part.whole for part in moved):
                log.warning(
                    "tomography.align: the mass in the %s is larger at some angles than at others by more than a "
                    "level, as that of fibres that scatter is; no level was taken off it",
                    name,
                )
                continue
            levels[name] = np.concatenate([part.level for part in moved])
    words = [f"level of {name} {np.std(level):.2g} rms" for name, level in levels.items()]
    shift, contrast = nothing, ""
    if settings.align in ("shift", "both"):
        places = [name for name in _PLACES if name in whole]
        contrast = min(places, key=lambda name: max(part.scatter_px for part in whole[name]))
        shift, said = _shift(whole[contrast], contrast)
        words += said
        covered = min(np.rad2deg(angular_weights(angles_deg[slice(*turn)]).sum()) for turn in turns)
        if covered < HALF_TURN_DEG:
            log.warning(
                "tomography.align: the scan covers %.0f degrees; slow displacements along x are as if the sample lay "
                "elsewhere, and are left",
                covered,
            )
    text = "; ".join(words)
    log.info("projections aligned: %s", text)
    return Alignment(shift, levels, contrast, text)


def _moments(blocks: BlockSet, fields: BlockSet, contrast: str, noise: RatioNoise | None) -> Moments:
    """Moments of all projections, a part of them in memory at a time."""
    height, columns = blocks.layers[contrast].shape
    step = max(1, _PART_BYTES // (4 * height * columns))
    parts = []
    for first in range(0, blocks.count, step):
        images = read_bridged(blocks, contrast, slice(first, min(first + step, blocks.count)), flags=fields)
        gone = ~np.isfinite(images).all(2)
        images[gone] = 0.0 if contrast == "phase" else 1.0
        part = Moments.of(line_integrals(contrast, images, noise).values)
        part.mass[gone] = part.first[gone] = np.nan
        parts.append(part)
    return Moments.joined(parts)


def _shift(moved: Sequence[Movement], contrast: str) -> tuple[NDArray[np.float64], list[str]]:
    """Displacement (projection, 2) that is worth taking off, and what to say of it."""
    shift, words = [], list[str]()
    for key in ("x", "y"):
        values = np.concatenate([getattr(part, f"{key}_px") for part in moved])
        error = max(getattr(part, f"{key}_error_px") for part in moved)
        size = float(np.sqrt(np.mean(values**2)))
        taken = error <= WORST_ERROR_PX and size > max(TIMES_ERROR * error, LEAST_PX)
        shift.append(values if taken else np.zeros_like(values))
        if error > WORST_ERROR_PX:
            words.append(f"{key} not known by the {contrast}")
            log.warning(
                "tomography.align: no displacement along %s was taken off: the %s does not tell it to %.2g px",
                key,
                contrast,
                WORST_ERROR_PX,
            )
            continue
        words.append(
            f"{key} {size:.2f} \u00b1 {error:.2f} px rms by the {contrast}" + ("" if taken else ", left")
        )
        if key == "y" and taken and np.abs(values).max() >= REACH_PX - 1:
            log.warning(
                "tomography.align: a displacement along y of %d px or more was not followed", REACH_PX
            )
    return np.stack(shift, 1), words
