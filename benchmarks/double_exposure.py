"""Method double_exposure beside the same trackers without it: the tables of its model card. Writes double_exposure.md.

    python benchmarks/double_exposure.py [--weights path] [--scenes 3] [--only walls papers spheres streaks time]

With the weights of a generator, and always with the true in-line image, which is what a perfect generator would give.
Held-out samples by wave optics (15 keV, 0.6 m, 3.25 um, sandpaper of 8.6 um grains). Everything is seeded; one thread.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from speckleflow.evaluate.phase import least_squares_phase
from speckleflow.retrieval import registry
from speckleflow.retrieval.double_exposure.network import Generator
from speckleflow.retrieval.double_exposure.retriever import DoubleExposure
from speckleflow.retrieval.double_exposure.settings import DoubleExposureSettings
from speckleflow.simulate.cellular import (
    MARGIN_PX,
    OVERSAMPLING,
    SAMPLES,
    Exposures,
    SampleKind,
    SpeckleSetup,
    counted,
    expose,
    random_exposures,
    sandpaper_wave,
)
from speckleflow.simulate.materials import material
from speckleflow.tomo.single import reconstruct_sinogram
from speckleflow.train.checkpoint import save_weights

HERE = Path(__file__).parent
PICTURES = HERE.parent / "docs" / "pictures"
FIRST_SEED = 920_000  #: far from those of training and validation
SETUP = SpeckleSetup()
SIZE, PHOTONS = 160, 1e4
#: pixels at the border that do not count; a wall is where the displacement exceeds WALL_PX, and 5 px around
END, WALL_PX, NEAR_PX = 12, 0.3, 5
#: struts of the sponge, radius in px of the ball that holds their centres, projections, columns of air at either side
STRUTS, RADIUS_PX, PROJECTIONS, AIR_PX = 40, 32, 360, 8
TRACKERS = ("umpa", "spinnet", "cade")


class TrueInline(DoubleExposure):
    """The method with the true in-line image in place of the generated one: what a perfect generator would give."""

    truth: Tensor

    def inline_image(self, frame: Tensor, state: Any) -> Tensor:
        return self.truth


def make(kind: type[DoubleExposure], tracker: str, path: str) -> Any:
    """The method with a tracker."""
    return kind(DoubleExposureSettings(weights=path, tracker=tracker))


def plain(tracker: str) -> Any:
    """The tracker alone."""
    return registry.get(tracker)(registry.default_settings(tracker))


def scene(kind: SampleKind, number: int, setup: SpeckleSetup = SETUP) -> tuple[Exposures, Tensor, Tensor]:
    """Exposures of a held-out sample, and frames (speckle, reference) with noise."""
    key = torch.Generator().manual_seed(FIRST_SEED + 100 * SAMPLES.index(kind) + number)
    made = random_exposures(key, kind, SIZE, setup)
    speckle, reference = counted(key, torch.stack([made.speckle, made.reference]), PHOTONS)
    return made, speckle, reference


def near_walls(displacement: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels within NEAR_PX of walls, and the others, without the border."""
    wall = (displacement.abs().amax(0) > WALL_PX).float()
    near = F.max_pool2d(wall[None, None], 2 * NEAR_PX + 1, 1, NEAR_PX)[0, 0] > 0
    inside = torch.zeros_like(near)
    inside[END:-END, END:-END] = True
    return near & inside, ~near & inside


def figures(method: Any, made: Exposures, speckle: Tensor, reference: Tensor) -> list[float]:
    """Median and RMS error within 5 px of walls and RMS error elsewhere (px), RMS error of the phase (px^2)."""
    if isinstance(method, TrueInline):
        method.truth = made.inline
    fields = method(speckle[None, None], method.prepare(reference[None]))
    error = torch.cat([fields.ux, fields.uy]) - made.displacement
    near, far = near_walls(made.displacement)
    inner = error[:, END:-END, END:-END]
    phase = least_squares_phase(inner[None])[0]
    return [
        float(error[:, near].abs().median()),
        float(error[:, near].square().mean().sqrt()),
        float(error[:, far].square().mean().sqrt()),
        float(phase.std()),
    ]


@lru_cache
def random_weights(width: float) -> str:
    """A file of random weights: what takes the true image does not use them, and they cost the same."""
    path = f"{tempfile.mkdtemp()}/random-{width:g}.safetensors"
    torch.manual_seed(0)
    save_weights(Generator(width), path, {"network": "double_exposure", "width": repr(width), "inputs": "1"})
    return path


def rows(path: str | None, trackers: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """The methods of a table."""
    for tracker in trackers:
        yield tracker, plain(tracker)
        if path is not None:
            yield f"{tracker}, generated in-line image", make(DoubleExposure, tracker, path)
        yield f"{tracker}, true in-line image", make(TrueInline, tracker, random_weights(1 / 32))


def walls(path: str | None, scenes: int) -> str:
    """Held-out samples: median / RMS error within 5 px of walls, RMS error elsewhere (px), of the phase (px^2)."""
    made = {kind: [scene(kind, k) for k in range(scenes)] for kind in SAMPLES}
    lines = [f"| method |{''.join(f' {kind} |' for kind in SAMPLES)}", "|---|" + "---|" * len(SAMPLES)]
    for name, method in rows(path, TRACKERS):
        cells = []
        for kind in SAMPLES:
            values = torch.tensor([figures(method, *each) for each in made[kind]]).mean(0).tolist()
            cells.append(f" {values[0]:.3f} / {values[1]:.3f}, {values[2]:.3f}, {values[3]:.2f} |")
        lines.append(f"| {name} |{''.join(cells)}")
    method = None if path is None else make(DoubleExposure, "umpa", path)
    lines += [
        "",
        "| in-line image, RMS error |" + "".join(f" {kind} |" for kind in SAMPLES),
        "|---|" + "---|" * 3,
    ]
    errors: dict[str, list[str]] = {
        "1 everywhere": [],
        "umpa's transmission with fringes": [],
    }
    if method is not None:
        errors["generated"] = []
    for kind in SAMPLES:
        sums = dict.fromkeys(errors, 0.0)
        for exposures, speckle, reference in made[kind]:
            by_umpa = plain("umpa")
            fields = by_umpa(speckle[None, None], by_umpa.prepare(reference[None]))
            guesses = [torch.ones_like(speckle), fields.transmission_measured[0]]
            if method is not None:
                state = method.prepare(reference[None])
                guesses.append(method.inline_image(speckle / state.scale, state))
            for name, guess in zip(sums, guesses, strict=True):
                off = (guess - exposures.inline)[END:-END, END:-END]
                sums[name] += float(off.square().mean()) / scenes
        for name, value in sums.items():
            errors[name].append(f" {value**0.5:.3f} |")
    lines += [f"| {name} |{''.join(cells)}" for name, cells in errors.items()]
    return "\n".join(lines) + "\n"


def papers(path: str | None, scenes: int) -> str:
    """Foam behind sandpapers of other heights: umpa alone and with the true in-line image (columns as above)."""
    lines = [
        "| height of the grains (um) | visibility | umpa | umpa, true in-line image |",
        "|---|---|---|---|",
    ]
    for height in (2.5, 5.0, 10.0, 20.0):
        setup = replace(SETUP, height_m=height * 1e-6)
        made = [scene("foam", k, setup) for k in range(scenes)]
        cells = []
        for method in (plain("umpa"), make(TrueInline, "umpa", random_weights(1 / 32))):
            values = torch.tensor([figures(method, *each) for each in made]).mean(0).tolist()
            cells.append(f" {values[0]:.3f} / {values[1]:.3f}, {values[2]:.3f}, {values[3]:.2f} |")
        visibility = float(torch.stack([e.reference.std() for e, _, _ in made]).mean())
        lines.append(f"| {height:g} | {visibility:.2f} |{''.join(cells)}")
    return "\n".join(lines) + "\n"


def pom_sphere() -> tuple[Exposures, Tensor, Tensor]:
    """A POM sphere of 100 um radius in the middle of the frame."""
    key = torch.Generator().manual_seed(FIRST_SEED + 999)
    side = SIZE + 2 * MARGIN_PX
    corner = torch.arange(side * OVERSAMPLING + 1, dtype=torch.float64) / OVERSAMPLING - side / 2
    radius = 100e-6 / SETUP.beam.pixel_size_m
    chord = 2 * (radius**2 - corner[:, None] ** 2 - corner[None, :] ** 2).clamp_min(0).sqrt()
    wave = sandpaper_wave(key, SETUP, side)
    made = expose(key, wave, chord * SETUP.beam.pixel_size_m, material("POM"), SETUP)
    speckle, reference = counted(key, torch.stack([made.speckle, made.reference]), PHOTONS)
    return made, speckle, reference


def spheres(path: str | None, scenes: int) -> str:
    """Fig. 6: phase of a POM sphere of 100 um radius: in its middle, and RMS error over the frame (rad); air = 0."""
    made, speckle, reference = pom_sphere()
    inner = (slice(END, -END), slice(END, -END))
    truth = made.phase[inner]
    middle = truth.shape[0] // 2
    lines = [
        f"Theory in the middle: {float(truth[middle, middle]):.2f} rad.\n",
        "| method | middle (rad) | RMS error (rad) |",
        "|---|---|---|",
    ]
    for name, method in rows(path, ("umpa",)):
        if isinstance(method, TrueInline):
            method.truth = made.inline
        fields = method(speckle[None, None], method.prepare(reference[None]))
        u = torch.cat([fields.ux, fields.uy])[(slice(None), *inner)]
        phase = SETUP.beam.phase_per_px * least_squares_phase(u[None])[0]
        phase = phase - (phase - truth)[truth == 0].mean()
        error = float((phase - truth).square().mean().sqrt())
        lines.append(
            f"| {name} | {float(phase[middle - 1 : middle + 1, middle - 1 : middle + 1].mean()):.2f} | {error:.2f} |"
        )
    return "\n".join(lines) + "\n"


def sponge(key: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Centres in px and matrices (x, y, z) of thin ellipsoids in all directions, in a ball about the rotation axis."""
    struts = []
    for _ in range(STRUTS):
        turn = torch.linalg.qr(torch.randn(3, 3, generator=key, dtype=torch.float64))[0]
        axes = torch.tensor([3.0, 3.0, 25.0], dtype=torch.float64)
        place = torch.randn(3, generator=key, dtype=torch.float64)
        radius = RADIUS_PX * float(torch.rand((), generator=key)) ** (1 / 3)
        struts.append((place / place.norm() * radius, turn @ torch.diag(axes**-2) @ turn.T))
    return struts


def projected(struts: list[tuple[Tensor, Tensor]], angle: float) -> Tensor:
    """Thickness in px along the beam z at the corners of the samples, the sponge turned about y."""
    side = SIZE + 2 * MARGIN_PX
    corner = torch.arange(side * OVERSAMPLING + 1, dtype=torch.float64) / OVERSAMPLING - side / 2
    c, s = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)
    total = torch.zeros(len(corner), len(corner), dtype=torch.float64)
    for place, matrix in struts:
        at, a = turn @ place, turn @ matrix @ turn.T
        x, y = corner[None, :] - at[0], corner[:, None] - at[1]
        linear = a[0, 2] * x + a[1, 2] * y
        rest = a[0, 0] * x**2 + 2 * a[0, 1] * x * y + a[1, 1] * y**2 - 1
        total += 2 * (linear**2 - a[2, 2] * rest).clamp_min(0).sqrt() / a[2, 2]
    return total


def streaks(path: str | None, scenes: int) -> str:
    """Slices of a sponge (360 projections, FBP, Shepp-Logan): RMS error over its delta, in the air and inside."""
    key = torch.Generator().manual_seed(FIRST_SEED + 500)
    struts = sponge(key)
    wave = sandpaper_wave(key, SETUP, SIZE + 2 * MARGIN_PX)
    matter = material("polyurethane")
    angles = torch.arange(PROJECTIONS, dtype=torch.float64) * (180.0 / PROJECTIONS)
    inner = slice(END, -END)
    methods, state = list(rows(path, ("umpa",))), {}
    lines: dict[str, list[Tensor]] = {}
    rows_px = torch.linspace(SIZE / 2 - 30, SIZE / 2 + 30, 5).round().long() - END
    for angle in angles:
        place = torch.Generator().manual_seed(1)  # the same sandpaper behind every projection
        depth = projected(struts, math.radians(angle)) * SETUP.beam.pixel_size_m
        made = expose(place, wave, depth, matter, SETUP)
        speckle = counted(key, made.speckle, PHOTONS)
        if not state:
            reference = counted(key, made.reference.expand(20, -1, -1), PHOTONS).mean(0)
            state = {name: method.prepare(reference[None]) for name, method in methods}
        lines.setdefault("true phase", []).append(made.phase[inner, inner][rows_px])
        for name, method in methods:
            if isinstance(method, TrueInline):
                method.truth = made.inline
            fields = method(speckle[None, None], state[name])
            u = torch.cat([fields.ux, fields.uy])[:, inner, inner]
            phase = SETUP.beam.phase_per_px * least_squares_phase(u[None])[0]
            air = torch.cat([phase[:, :AIR_PX], phase[:, -AIR_PX:]], 1)
            lines.setdefault(name, []).append((phase - air.mean())[rows_px])
    slices = {name: _slices(torch.stack(parts), angles) for name, parts in lines.items()}
    truth = slices.pop("true phase")
    n = truth.shape[-1]
    away = (torch.arange(n) - (n - 1) / 2).square()
    away = (away[:, None] + away).sqrt()
    air, inside = (away > RADIUS_PX + 27) & (away < n / 2 - 1), away < RADIUS_PX
    delta = matter.delta(SETUP.beam.energy_kev)
    table = ["| method | air (%) | inside (%) |", "|---|---|---|"]
    for name, found in slices.items():
        error = (found - truth) / delta
        figures = [100 * float(error[:, part].square().mean().sqrt()) for part in (air, inside)]
        table.append(f"| {name} | {figures[0]:.1f} | {figures[1]:.1f} |")
    _draw({"true phase": truth, **slices}, delta)
    return "\n".join(table) + "\n\n![slices](../docs/pictures/double-exposure-sponge.png)\n"


def _slices(lines: Tensor, angles: Tensor) -> Tensor:
    """delta (slice, y, x) of phases (projection, slice, x)."""
    scale = 1 / (SETUP.beam.wavenumber_m * SETUP.beam.pixel_size_m)
    axis = (lines.shape[-1] - 1) / 2
    made = [
        reconstruct_sinogram(-lines[:, k].double().numpy(), angles.numpy(), axis, "fourier", "shepp")
        for k in range(lines.shape[1])
    ]
    return torch.from_numpy(np.stack(made)) * scale


def _draw(slices: dict[str, Tensor], delta: float) -> None:
    """The middle slices beside each other, from -0.3 to 1 delta of the material."""
    shown = torch.cat([found[len(found) // 2] for found in slices.values()], 1) / delta
    grey = ((shown + 0.3) / 1.3 * 255).clamp(0, 255).round().to(torch.uint8).numpy()
    Image.fromarray(np.kron(grey, np.ones((2, 2), np.uint8))).save(PICTURES / "double-exposure-sponge.png")


def seconds(path: str | None, scenes: int) -> str:
    """CPU seconds of one thread for 512 x 512, least of three (full width: of one)."""
    frame = 1 + 0.3 * torch.randn(512, 512, generator=torch.Generator().manual_seed(1))
    lines = ["| width | generator (s) | method with umpa (s) |", "|---|---|---|"]
    for width in (1 / 8, 1.0):
        method = make(DoubleExposure, "umpa", random_weights(width))
        state = method.prepare(frame[None])
        taken: list[list[float]] = [[], []]
        for _ in range(3 if width < 1 else 1):
            before = time.process_time()
            with torch.inference_mode():
                method.inline_image(frame, state)
            between = time.process_time()
            method(frame[None, None], state)
            taken[0].append(between - before)
            taken[1].append(time.process_time() - between)
        lines.append(f"| {width:g} | {min(taken[0]):.2f} | {min(taken[1]):.2f} |")
    return "\n".join(lines) + "\n"


SECTIONS: dict[str, Callable[[str | None, int], str]] = {
    "walls": walls,
    "papers": papers,
    "spheres": spheres,
    "streaks": streaks,
    "time": seconds,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", help="of a generator; none come with the package")
    parser.add_argument("--scenes", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--output", type=Path, default=HERE / "double_exposure.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = "# Method double_exposure\n\nWritten by `python benchmarks/double_exposure.py`.\n"
    for name in options.only:
        function = SECTIONS[name]
        text += f"\n## {name}\n\n{function.__doc__}\n\n{function(options.weights, options.scenes)}"
        options.output.write_text(text)
        print(name, flush=True)


if __name__ == "__main__":
    main()
