"""Errors family by family: one table in which a method that is good at one kind of sample cannot hide another.

Each cell is a family of held-out scenes at a number of positions. Judged are the displacement without its curl (which
no integration keeps), the phase, transmission and dark field, the slope of the slow part of the displacement, the
stated error, and the phase's ratio to the limit that photons set (:mod:`.limit`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speckleflow.evaluate.held_out import FIRST_SEED
from speckleflow.evaluate.limit import displacement_information, phase_limit
from speckleflow.evaluate.phase import least_squares_phase, without_any_curl
from speckleflow.retrieval.base import Retriever
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.simulate.fields import Scene, SceneRanges, random_scene
from speckleflow.simulate.modulators import KINDS, ModulatorKind
from speckleflow.simulate.patterns import PatternBank

#: side of a scene in pixels, and pixels at its border that are not judged
SIZE, BORDER = 160, 10
#: width of the windows in which the slow part of a displacement is seen
SLOW_PX = 5.0
#: photons of the scenes from which the limit is worked out
NOISELESS = 1e12

_COMMON = SceneRanges(
    contrast=(0.15, 0.35),
    reference_frames=(1,),
    read_noise=0.0,
    scintillator=0.0,
    blur_px=(0.3, 1.0),
    beam=0.0,
    flux_error=0.0,
    halo=0.0,
    displacement_px=(0.3, 3.0),
    photons=(8000.0, 8000.0 * (1 + 1e-9)),
    transmission_min=0.5,
    darkfield_min=0.4,
)


@dataclass(frozen=True)
class Family:
    """A kind of scene: what is in the beam, the modulator, and the numbers of positions that are tried."""

    name: str
    ranges: SceneRanges
    modulator: ModulatorKind = "mask"
    pitch_px: tuple[float, float] = (4.0, 9.0)
    positions: tuple[int, ...] = (3, 5, 20)
    scenes: int = 3
    seed: int = 0


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("smooth", replace(_COMMON, kinds=("smooth",)), seed=1),
        Family("soft solids", replace(_COMMON, kinds=("solids",), edge_px=(0.6, 3.0)), seed=2),
        Family("hard solids", replace(_COMMON, kinds=("solids",), edge_px=(0.0, 1e-6)), seed=3),
        Family("waves", replace(_COMMON, wave=1.0), seed=4),
        Family(
            "absorbers",
            replace(_COMMON, kinds=("solids",), edge_px=(0.3, 3.0), transmission_min=0.05),
            seed=5,
        ),
        Family(
            "grating", replace(_COMMON, kinds=("smooth", "both")), "grating", (10.0, 20.0), (3, 16), seed=6
        ),
        Family(
            "weak sandpaper",
            replace(_COMMON, kinds=("smooth",), contrast=(0.05, 0.07)),
            "sandpaper",
            positions=(3, 13),
            seed=7,
        ),
        Family("single shot", replace(_COMMON, kinds=("smooth", "both")), positions=(1,), seed=8),
    )
}


@lru_cache(maxsize=len(FAMILIES))
def _bank(family: Family) -> PatternBank:
    generator = torch.Generator().manual_seed(FIRST_SEED + 20_000 + family.seed)
    bank = PatternBank(generator, 3 * len(KINDS), 320, family.pitch_px)
    kind = KINDS.index(family.modulator)
    bank.images, bank.pitches = bank.images[kind :: len(KINDS)], bank.pitches[kind :: len(KINDS)]
    return bank


@lru_cache(maxsize=256)
def _scene(name: str, positions: int, number: int) -> tuple[Scene, float]:
    """A scene of a family and the limit of its phase in px^2."""
    family = FAMILIES[name]
    key = FIRST_SEED + 30_000 + 100 * family.seed + number

    def make(ranges: SceneRanges) -> Scene:
        return random_scene(torch.Generator().manual_seed(key), positions, SIZE, _bank(family), ranges)

    scene, quiet = (
        make(family.ranges),
        make(replace(family.ranges, photons=(NOISELESS, NOISELESS * (1 + 1e-9)))),
    )
    pattern, transmission, darkfield = (
        t.double().numpy() for t in (quiet.reference, scene.transmission, scene.darkfield)
    )
    photons = family.ranges.photons[0]
    information = displacement_information(pattern, transmission, darkfield, photons)
    return scene, phase_limit(information, *_masks())


def _masks() -> tuple[np.ndarray, np.ndarray]:
    """Pixels in which the phase is judged, and those whose mean it is free of."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    radius = np.hypot(y, x) / SIZE
    return radius < 0.42, radius > 0.45


def judge(method: Retriever, family: Family, positions: int) -> dict[str, float] | None:
    """Errors of a method over the scenes of a family; None where it does not take so few or so many positions.

    Root mean squares over the scenes: ``u_px`` (curl off), ``phase_px2``, ``transmission``, ``darkfield``; ``limit``:
    mean of the phase error over its limit; ``slope``: of the slow displacement; ``stated``: rms of error / stated.
    """
    if not method.spec.takes(positions):
        return None
    rows = [_judge_scene(method, *_scene(family.name, positions, k)) for k in range(family.scenes)]
    errors = {
        key: math.sqrt(sum(row[key] ** 2 for row in rows) / len(rows))
        for key in ("u_px", "phase_px2", "transmission", "darkfield", "stated")
    }
    errors["limit"] = sum(row["limit"] for row in rows) / len(rows)
    errors["slope"] = sum(row["slope"] for row in rows) / sum(row["slow_power"] for row in rows)
    return errors


def _judge_scene(method: Retriever, scene: Scene, limit: float) -> dict[str, float]:
    fields = method(scene.sample[None], method.prepare(scene.reference))
    assert fields.ux is not None
    assert fields.uy is not None
    u = torch.stack([fields.ux, fields.uy], 1).cpu().float()
    truth = torch.stack([scene.ux, scene.uy])[None]
    inner = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    error = u - truth
    phase = least_squares_phase(error)[0].double().numpy()
    inside, air = _masks()
    phase_error = float(np.sqrt(np.mean((phase[inside] - phase[air].mean()) ** 2)))
    slow = gaussian(SLOW_PX, truncate=3.0)
    smooth_u, smooth_truth = (filter_xy(part, slow, slow, "mirror")[inner] for part in (u, truth))
    smooth_truth = smooth_truth - smooth_truth.mean((-2, -1), keepdim=True)

    def rms(image: Tensor) -> float:
        return float(image[inner].square().mean().sqrt())

    return {
        "u_px": rms(without_any_curl(error)),
        "phase_px2": phase_error,
        "limit": phase_error / limit,
        "transmission": rms(fields.transmission.cpu() - scene.transmission),
        "darkfield": math.nan if fields.darkfield is None else rms(fields.darkfield.cpu() - scene.darkfield),
        "slope": float((smooth_u * smooth_truth).sum()),
        "slow_power": float(smooth_truth.square().sum()),
        "stated": math.nan
        if fields.displacement_std is None
        else rms(error / fields.displacement_std.cpu()[:, None]),
    }


def evaluate_families(
    methods: dict[str, Retriever], names: Sequence[str] = tuple(FAMILIES)
) -> list[dict[str, Any]]:
    """Rows (family, positions, method, errors...) of all families that are named."""
    rows: list[dict[str, Any]] = []
    for name in names:
        for positions in FAMILIES[name].positions:
            for method, retriever in methods.items():
                errors = judge(retriever, FAMILIES[name], positions)
                if errors is not None:
                    rows.append({"family": name, "positions": positions, "method": method, **errors})
    return rows
