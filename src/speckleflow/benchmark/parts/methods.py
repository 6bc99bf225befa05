"""Every method with a phase beside every other: errors, their limits, seconds and memory."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from speckleflow.benchmark.measure import (
    Array,
    Found,
    cost,
    displacement_error,
    level_free,
    phase_methods,
    retrieve,
    rms,
)
from speckleflow.benchmark.part import Conditions, Outcome, Part, Row
from speckleflow.benchmark.scenes import WaveScene, ellipsoids, grid_places, wave_scene
from speckleflow.simulate.materials import material
from speckleflow.simulate.modulators import Modulator
from speckleflow.simulate.optics import Beam

BORDER = 10


@lru_cache(maxsize=4)
def beads(side: int, positions: int, seed: int = 3, photons: float = 20_000.0) -> WaveScene:
    """Glass beads before sandpaper, as in the paper on preconditioned Wirtinger flow."""
    beam, glass = Beam(10.0, 0.65e-6, 23e-3), material("glass")
    thickness = ellipsoids(seed, 6, 0.5 * side, (6.0, 14.0))

    def sample(y: Array, x: Array) -> tuple[Array, Array]:
        depth = thickness(y, x) * beam.pixel_size_m
        return -beam.wavenumber_m * glass.delta(10.0) * depth, glass.mu(10.0) * depth

    # grains of P3000: 7 um; the height of a grain makes a visibility of about 0.3
    paper = Modulator.usual("sandpaper", 7e-6, 12e-6)
    return wave_scene(
        sample, paper, beam, (side, side), grid_places(positions, 23.0),
        photons=photons, blur_px=0.8, seed=seed, behind_m=3e-3,
    )  # fmt: skip


@lru_cache(maxsize=4)
def soft(side: int, positions: int, seed: int = 5, photons: float = 10_000.0) -> WaveScene:
    """Soft pieces of PMMA behind a coded mask, where fringes are weak."""
    beam, plastic = Beam(20.0, 6.5e-6, 1.0), material("PMMA")
    thickness = ellipsoids(seed, 7, 0.6 * side, (10.0, 30.0), power=2.0)

    def sample(y: Array, x: Array) -> tuple[Array, Array]:
        depth = thickness(y, x) * beam.pixel_size_m
        return -beam.wavenumber_m * plastic.delta(20.0) * depth, plastic.mu(20.0) * depth

    mask = Modulator.usual("mask", 30e-6, 4e-6)
    return wave_scene(
        sample, mask, beam, (side, side), grid_places(positions, 3.7), photons=photons, blur_px=0.7, seed=seed
    )


def make(conditions: Conditions) -> Outcome:
    side = conditions.choose(96, 144)
    counts = conditions.choose((1, 5), (1, 3, 5, 20))
    rows: list[Row] = []
    maps: dict[str, dict[str, Array]] = {}
    megabytes: dict[tuple[str, int], float] = {}
    scenes = {"beads": beads, "soft": soft}
    for title in conditions.choose(("beads",), tuple(scenes)):
        make_scene = scenes[title]
        whole = make_scene(side, max(counts))
        inside = np.zeros(whole.phase.shape, bool)
        inside[BORDER:-BORDER, BORDER:-BORDER] = True
        for n in counts:
            part = whole.first(n)
            u_limit, phase_limit = part.limits(inside)
            for name in phase_methods(n):
                # to rest pwf takes minutes in a quick run; where it would diverge from zero it is capped
                tried = "pwf:iterations=100" if name == "pwf" and conditions.quick else name
                found = retrieve(tried, part)
                if (name, n) not in megabytes and not conditions.quick:
                    few = {"iterations": 2} if name == "pwf" else {}
                    megabytes[name, n] = cost(name, n, 512, threads=conditions.threads, **few).megabytes
                error = level_free(found.phase, whole.phase, inside)
                if n in (1, 5):
                    maps.setdefault(title, {})[f"{name}, N = {n}"] = error
                row = _row(title, tried, n, found, part, inside, u_limit, error, phase_limit)
                rows.append(row | {"MB": megabytes.get((name, n), "")})
    notes = (
        "double_exposure is not in the table: its generator's weights are not shipped.",
        f"Scenes of {side} x {side} pixels by wave optics. beads: glass, 10 keV, 0.65 um, sandpaper 3 mm behind them, "
        "detector 23 mm, p^2 / (lambda d) = 0.15, 20,000 photons. soft: PMMA, 20 keV, 6.5 um, 1 m, coded mask of "
        "30 um, p^2 / (lambda d) = 0.68, 10,000 photons. Seconds: of the processor, this scene; MB: what a "
        "process of 512 x 512 pixels needs beyond one of 64 x 64 (full run). The mean of the phase is taken off.",
    )
    return Outcome(rows, notes, lambda path: _draw(path, maps))


def _row(
    title: str,
    name: str,
    n: int,
    found: Found,
    part: WaveScene,
    inside: np.ndarray,
    u_limit: float,
    error: Array,
    phase_limit: float,
) -> Row:
    transmission = found.fields.transmission[0].double().numpy() - np.exp(-part.attenuation)
    return {
        "scene": title,
        "N": n,
        "method": name,
        "u RMSE (px)": displacement_error(found.fields, part, inside),
        "limit of u (px)": u_limit,
        "phase RMSE (rad)": rms(error[inside]),
        "limit (rad)": phase_limit,
        "T RMSE": rms(transmission[inside]),
        "seconds": found.seconds,
    }


def _draw(path: Path, maps: dict[str, dict[str, Array]]) -> None:
    from matplotlib.figure import Figure

    columns = max(len(errors) for errors in maps.values())
    figure = Figure(figsize=(2.1 * columns, 2.5 * len(maps)), layout="constrained")
    axes = figure.subplots(len(maps), columns, squeeze=False)
    for line, (title, errors) in zip(axes, maps.items(), strict=True):
        high = 3 * float(np.median([error.std() for error in errors.values()]))
        for axis in line:
            axis.set_axis_off()
        for axis, (name, error) in zip(line, errors.items(), strict=False):
            shown = axis.imshow(error, vmin=-high, vmax=high, cmap="RdBu")
            axis.set_title(f"{title}: {name}", fontsize=7)
        figure.colorbar(shown, ax=line, label="phase error (rad)")
    figure.savefig(path, dpi=80)


PARTS = (
    Part(
        name="methods",
        title="Every method on the same frames",
        repeats="No single figure: the methods of all five papers beside each other, N = 1, 3, 5 and 20.",
        differs="The papers compare two or three methods each, on data of their own.",
        seconds=600,
        quick_seconds=15,
        make=make,
    ),
)
