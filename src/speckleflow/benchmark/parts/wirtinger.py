"""The paper on preconditioned Wirtinger flow: convergence, predicted speckle, and where it wins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from speckleflow.benchmark.measure import Array, Found, level_free, retrieve, rms
from speckleflow.benchmark.part import Conditions, Outcome, Part, Row
from speckleflow.benchmark.parts.methods import BORDER, beads
from speckleflow.benchmark.scenes import WaveScene
from speckleflow.retrieval.base import Fields
from speckleflow.retrieval.grids import to_detector
from speckleflow.retrieval.pwf.retriever import Pwf
from speckleflow.retrieval.pwf.settings import PwfSettings
from speckleflow.retrieval.wave.solver import Solution, solve

#: published: iterations to rest, and the bound of the correlation at which it rests
ITERATIONS = "700 to 1300"
SHOTS = 12


def solved(scene: WaveScene, iterations: int, preconditioner: bool, tolerance: float) -> Solution:
    """The iterations themselves on the first shot."""
    method = Pwf(PwfSettings(preconditioner=preconditioner))
    state = method.prepare(scene.reference[:1], scene.acquisition)
    rules = replace(state.rules, iterations=iterations, tolerance=tolerance)
    measured = scene.sample[None, :1]
    with torch.inference_mode():
        return solve(state.scan.optics, state.scan.grid.forth(measured / measured.mean()), rules)


def convergence(conditions: Conditions) -> Outcome:
    side, plain_iterations = conditions.choose((96, 300), (160, 2000))
    scene = beads(side, 1)
    quick = np.array([float(x) for x in solved(scene, conditions.choose(100, 300), True, 0.0).course])
    plain = np.array([float(x) for x in solved(scene, plain_iterations, False, 0.0).course])
    rows: list[Row] = []
    for iteration in conditions.choose((5, 10, 20, 50), (5, 10, 20, 50, 100, 200)):
        loss = quick[iteration - 1]
        reached = np.flatnonzero(plain <= loss)
        rows.append(
            {
                "iterations": iteration,
                "loss over the first, preconditioned": loss / quick[0],
                "loss over the first, plain": plain[iteration - 1] / plain[0],
                "iterations of the plain flow to that loss": int(reached[0]) + 1
                if len(reached)
                else f"more than {plain_iterations}",
                "times as many": (int(reached[0]) + 1) / iteration if len(reached) else "",
            }
        )
    notes = [f"One shot of {side} x {side} pixels (the scene `beads` of the part `methods`)."]
    if not conditions.quick:
        rest = solved(scene, 5000, True, 1e-5)
        notes.append(
            f"To rest (change of exp(psi) below the paper's bound over ten iterations): {int(rest.iterations[0])} "
            f"iterations; published: {ITERATIONS} for 2560 x 2160 pixels."
        )
    return Outcome(rows, tuple(notes), lambda path: _curves(path, quick / quick[0], plain / plain[0]))


def _curves(path: Path, quick: Array, plain: Array) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for name, course in (("preconditioned", quick), ("plain", plain)):
        axis.plot(np.arange(1, len(course) + 1), course, label=name)
    axis.set(xscale="log", yscale="log", xlabel="iteration", ylabel="loss over the first")
    axis.legend()
    figure.savefig(path, dpi=80)


def predicted(fields: Fields, reference: Array) -> Array:
    """Frames (N, y, x) that tracking's model makes of the reference: T r(x - u), on the detector grid."""
    seen = to_detector(fields)
    assert seen.ux is not None
    assert seen.uy is not None
    y, x = np.mgrid[: reference.shape[1], : reference.shape[2]].astype(float)
    places = [y - seen.uy[0].numpy(), x - seen.ux[0].numpy()]
    light = seen.transmission_measured if seen.transmission_measured is not None else seen.transmission
    t = light[0].numpy()
    d = 1.0 if seen.darkfield is None else seen.darkfield[0].numpy()
    frames = [1 + d * (map_coordinates(frame, places, order=3, mode="nearest") - 1) for frame in reference]
    return np.asarray(t * np.stack(frames), np.float64)


def speckle(conditions: Conditions) -> Outcome:
    side = conditions.choose(96, 160)
    shots = conditions.choose(4, SHOTS)
    scene = beads(side, shots)
    inside = np.zeros(scene.phase.shape, bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    noise = 100 * float(np.sqrt(scene.sample.mean() / scene.photons))
    rows: list[Row] = []
    maps: dict[str, Array] = {}
    runs = [("pwf", 1), ("spinnet", 1), ("umpa", 1), ("lcs", shots), ("umpa", shots), ("espinnet", shots)]
    if not conditions.quick:
        runs.insert(1, ("pwf", shots))
    for name, n in runs:
        part = scene.first(n)
        tried = "pwf:iterations=100" if name == "pwf" and conditions.quick else name
        if name == "pwf":
            found, misfit = _wirtinger(tried, part)
        else:
            found = retrieve(tried, part)
            difference = (
                predicted(found.fields, part.reference.double().numpy()) - part.sample.double().numpy()
            )
            misfit = 100 * rms(difference[:, inside])
        error = level_free(found.phase, scene.phase, inside)
        transmission = found.fields.transmission[0].double().numpy()
        attenuation = -np.log(np.clip(transmission, 0.01, None)) - scene.attenuation
        maps[f"{name}, N = {n}"] = error
        rows.append(
            {
                "method": tried,
                "N": n,
                "speckle RMSE (%)": misfit,
                "shot noise (%)": noise,
                "phase RMSE (rad)": rms(error[inside]),
                "limit (rad)": part.limits(inside)[1],
                "attenuation RMSE": rms(attenuation[inside]),
                "seconds": found.seconds,
            }
        )
    note = (
        f"{side} x {side} pixels, glass beads of 4 to 9 um radius, 20,000 photons. Speckle RMSE: measured frames "
        "against those that the method's own model predicts, over the mean of the reference.",
    )
    return Outcome(rows, note, lambda path: _maps(path, scene, maps))


def _wirtinger(name: str, part: WaveScene) -> tuple[Found, float]:
    """What pwf found, and its speckle RMSE in % from the loss."""
    found = retrieve(name, part)
    method = Pwf(PwfSettings(iterations=100 if "=" in name else 5000))
    state = method.prepare(part.reference, part.acquisition)
    level = part.sample.mean()
    with torch.inference_mode():
        solution = solve(state.scan.optics, state.scan.grid.forth(part.sample[None] / level), state.rules)
    weight = float(state.scan.optics.mask.square().sum())
    return found, 100 * float(level) * float((2 * solution.loss[0] / weight).sqrt())


def _maps(path: Path, scene: WaveScene, maps: dict[str, Array]) -> None:
    from matplotlib.figure import Figure

    columns = -(-(len(maps) + 1) // 2)
    figure = Figure(figsize=(3 * columns, 5.6), layout="constrained")
    axes = figure.subplots(2, columns).ravel()
    shown = axes[0].imshow(scene.phase, cmap="viridis")
    axes[0].set_title("true phase (rad)", fontsize=9)
    figure.colorbar(shown, ax=axes[0])
    high = 3 * float(np.median([error.std() for error in maps.values()]))
    for axis, (name, error) in zip(axes[1:], maps.items(), strict=False):
        shown = axis.imshow(error, vmin=-high, vmax=high, cmap="RdBu")
        axis.set_title(f"{name}: error (rad)", fontsize=9)
    figure.colorbar(shown, ax=list(axes[1:]))
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(path, dpi=80)


PARTS = (
    Part(
        name="pwf-convergence",
        title="Wirtinger flow with and without the preconditioner",
        repeats="The convergence curve of preconditioned Wirtinger flow (doi:10.1038/s41377-025-02118-z), eq. 6 to 11, "
        f"and its rule of rest; published: {ITERATIONS} iterations, 5 to 6 s on a GeForce RTX 4090.",
        differs="Simulated beads, a smaller image, and a step that never exceeds 1 / (largest curvature).",
        seconds=200,
        quick_seconds=10,
        make=convergence,
    ),
    Part(
        name="pwf-speckle",
        title="Predicted speckle, phase and attenuation of beads",
        repeats="Fig. 2 of preconditioned Wirtinger flow (doi:10.1038/s41377-025-02118-z): speckle RMSE in %, phase by "
        "one shot of pwf beside LCS of twelve (the figure's values are not in its Methods section, the text at hand).",
        differs="Simulated, so that phase and attenuation have a truth; the paper judges by speckle RMSE and FSC.",
        seconds=240,
        quick_seconds=15,
        make=speckle,
    ),
)
