"""ESPINNet Fig. 4 and SPINNet Fig. 6: the phase of a beryllium lens, and its residual in wavelengths."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speckleflow.benchmark.measure import Array, displacement_error, level_free, phase_methods, retrieve, rms
from speckleflow.benchmark.part import Conditions, Outcome, Part, Row
from speckleflow.benchmark.scenes import WaveScene, grid_places, wave_scene
from speckleflow.simulate.materials import Material
from speckleflow.simulate.modulators import Modulator
from speckleflow.simulate.optics import Beam

BEAM = Beam(14.0, 0.65e-6, 0.5)
#: apex radius of each of the two surfaces
RADIUS_M = 200e-6
MASK = Modulator.usual("mask", 5e-6, 1.5e-6)
STEP_M = 3e-6
BERYLLIUM = Material("beryllium", "Be", 1.848)
#: published: RMS error of the phase over the wavelength, against XSVT with N = 100; of spinnet against XST
PUBLISHED = {("espinnet", 20): "1/11", ("xsvt", 20): "1/9", ("spinnet", 1): "0.02"}


def lens_scene(side: int, positions: int, photons: float = 10_000.0) -> tuple[WaveScene, NDArray[np.bool_]]:
    """The middle of the lens with its rim inside the image, and the mask of what is judged."""
    rim_px = 0.42 * side
    delta, mu = BERYLLIUM.delta(BEAM.energy_kev), BERYLLIUM.mu(BEAM.energy_kev)

    def lens(y: Array, x: Array) -> tuple[Array, Array]:
        square = np.minimum(y**2 + x**2, rim_px**2) * BEAM.pixel_size_m**2
        thickness = square / RADIUS_M  # both surfaces, r^2 / 2R each
        return -BEAM.wavenumber_m * delta * thickness, mu * thickness

    scene = wave_scene(
        lens, MASK, BEAM, (side, side), grid_places(positions, STEP_M / BEAM.pixel_size_m),
        photons=photons, blur_px=0.8, seed=4,
    )  # fmt: skip
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return scene, np.hypot(y, x) < 0.85 * rim_px


def fitted_radius_um(phase: Array, inside: NDArray[np.bool_]) -> tuple[float, Array]:
    """Apex radius by the paraboloid that fits the phase in a mask, and what is left of the phase."""
    y, x = (np.mgrid[: phase.shape[0], : phase.shape[1]] - (phase.shape[0] - 1) / 2) * BEAM.pixel_size_m
    basis = np.stack([np.ones_like(x), x, y, x**2 + y**2], -1)
    factors = np.linalg.lstsq(basis[inside], phase[inside], rcond=None)[0]
    curvature = -factors[3] / (BEAM.wavenumber_m * BERYLLIUM.delta(BEAM.energy_kev))
    return 1e6 / curvature, phase - basis @ factors


def make(conditions: Conditions) -> Outcome:
    side = conditions.choose(192, 384)
    scene, inside = lens_scene(side, conditions.choose(5, 20))
    rows: list[Row] = []
    errors: dict[str, Array] = {}
    for positions in conditions.choose((5, 1), (20, 5, 3, 1)):
        part = scene.first(positions)
        u_limit, phase_limit = part.limits(inside)
        for name in phase_methods(positions):
            if name == "pwf" and (conditions.quick or positions > 1):
                continue
            found = retrieve(name, part)
            error = level_free(found.phase, scene.phase, inside)
            radius, _ = fitted_radius_um(found.phase, inside)
            waves = rms(error[inside]) / (2 * math.pi)
            errors[f"{name}, N = {positions}"] = error / (2 * math.pi)
            rows.append(
                {
                    "N": positions,
                    "method": name,
                    "phase error (wavelengths)": waves,
                    "as a fraction": f"1/{1 / waves:.0f}",
                    "published": PUBLISHED.get((name, positions), ""),
                    "limit (wavelengths)": phase_limit / (2 * math.pi),
                    "R of the fit (um)": radius,
                    "u RMSE (px)": displacement_error(found.fields, part, inside),
                    "limit of u (px)": u_limit,
                    "seconds": found.seconds,
                }
            )
    notes = (
        f"Lens of {2 * 0.42 * side * BEAM.pixel_size_m * 1e6:.0f} um across its rim, R = 200 um, {side} x {side} "
        f"pixels of 0.65 um, 10,000 photons; displacement up to {np.abs(scene.ux[inside]).max():.1f} px, phase "
        f"{np.ptp(scene.phase[inside]) / (2 * math.pi):.1f} wavelengths. Judged inside 0.85 of the rim.",
        "pwf is run on one position only, whose time is ten to two hundred times a tracking method's."
        if not conditions.quick
        else "pwf is left to the full run.",
    )
    return Outcome(rows, notes, lambda path: _draw(path, scene, errors, inside))


def _draw(path: Path, scene: WaveScene, errors: dict[str, Array], inside: NDArray[np.bool_]) -> None:
    from matplotlib.figure import Figure

    most = len(scene.sample)
    shown = [name for n in (most, 1) for name in errors if name.endswith(f"N = {n}")]
    columns = 4
    lines = -(-(len(shown) + 1) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.1 * lines), layout="constrained")
    axes = figure.subplots(lines, columns).ravel()
    image = axes[0].imshow(np.where(inside, scene.phase / (2 * math.pi), np.nan), cmap="viridis")
    axes[0].set_title("true phase (wavelengths)")
    figure.colorbar(image, ax=axes[0])
    high = 3 * float(np.median([errors[name][inside].std() for name in shown]))
    for axis, name in zip(axes[1:], shown, strict=False):
        image = axis.imshow(np.where(inside, errors[name], np.nan), vmin=-high, vmax=high, cmap="RdBu")
        axis.set_title(f"{name}: error")
        figure.colorbar(image, ax=axis)
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(path, dpi=70)


PARTS = (
    Part(
        name="lens",
        title="Phase of a beryllium lens",
        repeats="Fig. 4 of ESPINNet (doi:10.1107/S1600577526000846) and Fig. 6 of SPINNet (Optica 9, 391): a lens of "
        "R = 200 um at 14 keV, 0.5 m, behind a coded mask of 5 um moved by 3 um in XY; published: RMS 1/11 of a "
        "wavelength (ESPINNet, N = 20), 1/9 (XSVT, N = 20), 0.02 (SPINNet against XST).",
        differs="Simulated by wave optics, so that the truth is the lens itself; the papers measured, and took XSVT "
        "with N = 100 (or XST) for it, whose own errors, beam and mask drifts are in their figures. The middle of the "
        "lens instead of all of it: slow errors, which grow with the field, are smaller here.",
        seconds=300,
        quick_seconds=25,
        make=make,
    ),
)
