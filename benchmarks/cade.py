"""Method cade beside umpa and spinnet on scenes of its own kind: the tables of its model card. Writes cade.md.

    python benchmarks/cade.py [--only shifts star noise windows samples time]

Sandpapers and random numbers that training never saw (Shi et al., secs. II-A and II-E): 30 keV, point source, diffuser
at 1 m, detector at 3 m, 12 um pixels. Everything is seeded; one thread.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from speckleflow.evaluate.star import Setting, resolution, star
from speckleflow.evaluate.table import contenders
from speckleflow.retrieval import registry
from speckleflow.retrieval.base import Retriever
from speckleflow.simulate.forward import transported
from speckleflow.simulate.materials import material
from speckleflow.simulate.optics import (
    LineBlur,
    bin_mean,
    corner_gradients,
    corner_mean,
    gaussian_blur_periodic,
)
from speckleflow.simulate.sandpaper import (
    MARGIN_PX,
    OVERSAMPLING,
    WAVE_OVERSAMPLING,
    DivergentBeam,
    SandpaperRanges,
    Speckle,
    cast_speckle,
    stacked_sandpaper_wave,
)
from speckleflow.simulate.wave import intensity, propagate, transmission_function

HERE = Path(__file__).parent
FIRST_SEED = 910_000  #: far from those of training and validation
BEAM = DivergentBeam()
PATTERNS, SIDE = 5, 128
#: pixels at the border that do not count
END = 12
TRANSMISSION, PHOTONS = 0.9, 1e4
WINDOWS = ("umpa:window=5", "umpa:window=9", "umpa:window=15", "umpa:window=21", "umpa:window=31")


def names() -> tuple[str, ...]:
    """The single-shot methods that are there."""
    wanted = ("cade", "cade:both_ways=false", "spinnet", "umpa", "zncc", "xst")
    return tuple(name for name in wanted if name.partition(":")[0] in registry.available())


@lru_cache(maxsize=1)
def waves() -> list[Tensor]:
    """Waves behind sandpapers that were kept by the rules of training, as many as patterns."""
    ranges, kept, seed = SandpaperRanges(), [], FIRST_SEED
    while len(kept) < PATTERNS:
        key = torch.Generator().manual_seed(seed)
        seed += 1
        grain, height = (
            low * (high / low) ** float(torch.rand((), generator=key))
            for low, high in (ranges.grain_px, ranges.height)
        )
        wave = stacked_sandpaper_wave(
            key, BEAM.parallel, 192, grain, height * grain * BEAM.parallel.pixel_size_m, ranges.layers
        )
        speckle = cast_speckle(wave, BEAM)
        if (
            ranges.fwhm_px[0] <= speckle.fwhm_px <= ranges.fwhm_px[1]
            and speckle.visibility >= ranges.visibility
        ):
            kept.append(wave)
    return kept


@lru_cache(maxsize=1)
def speckles() -> list[Speckle]:
    """Their patterns."""
    return [cast_speckle(wave, BEAM) for wave in waves()]


def detected(images: Tensor, photons: float, seed: int) -> Tensor:
    """Frames (N, y, x) of intensities with margins, two samples a pixel, blurred and counted."""
    size = images.shape[-1] // OVERSAMPLING - 2 * MARGIN_PX
    blur = LineBlur(size, OVERSAMPLING, MARGIN_PX, BEAM.blur_px * OVERSAMPLING, images)
    frames = blur.along_x(blur.along_y(images)).clamp_min(0)
    return torch.poisson(frames * photons, generator=torch.Generator().manual_seed(seed)) / photons


def deformed(
    number: int, u: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], photons: float
) -> tuple[Tensor, Tensor]:
    """Frames (2, y, x) and truth (2, y, x) of a pattern displaced by a function of the pixel (y, x)."""
    image = speckles()[number].image
    side = (SIDE + 2 * MARGIN_PX) * OVERSAMPLING
    place = (torch.arange(side) + 0.5) / OVERSAMPLING - 0.5 - MARGIN_PX
    ux, uy = (field.expand(side, side).contiguous() for field in u(place[:, None], place[None, :]))
    piece = image[:side, :side]
    carried = transported(TRANSMISSION * piece[None], ux, uy, OVERSAMPLING)
    frames = detected(torch.cat([piece[None], carried]), photons, FIRST_SEED + number)
    inner = slice(MARGIN_PX, MARGIN_PX + SIDE)
    return frames, bin_mean(torch.stack([ux, uy]), OVERSAMPLING)[:, inner, inner]


def error(method: Retriever, frames: Tensor, truth: Tensor) -> Tensor:
    """Errors (2, y, x) of the displacement without the border."""
    fields = method(frames[1][None, None], method.prepare(frames[:1]))
    assert fields.ux is not None
    assert fields.uy is not None
    return (torch.cat([fields.ux, fields.uy]) - truth)[:, END:-END, END:-END]


def rms(values: list[Tensor]) -> float:
    return float(torch.stack([v.square().mean() for v in values]).mean().sqrt())


def shifts() -> str:
    """Fig. 3: constant displacements of both components, 0 to 1 px."""
    steps = [k / 10 for k in range(11)]
    lines = [
        "| method | RMSE (px), mean of 0 to 1 px | bias (px), mean size | RMSE at 0.1 px | at 0.5 px | at 0.9 px |",
        "|---|---|---|---|---|---|",
    ]
    for name, method in contenders(names()).items():
        rmse, bias = [], []
        for shift in steps:
            errors = [
                error(method, *deformed(k, lambda y, x, s=shift: (s + 0 * (x + y), s + 0 * (x + y)), PHOTONS))
                for k in range(PATTERNS)
            ]
            rmse.append(rms(errors))
            bias.append(float(torch.stack([e.mean((1, 2)).abs().mean() for e in errors]).mean()))
        mean = [sum(v) / len(v) for v in (rmse, bias)]
        lines.append(
            f"| {name} | {mean[0]:.4f} | {mean[1]:.4f} | {rmse[1]:.4f} | {rmse[5]:.4f} | {rmse[9]:.4f} |"
        )
    return "\n".join(lines) + "\n"


def setting(photons: float = PHOTONS) -> Setting:
    """The star of :mod:`speckleflow.evaluate.star` on these patterns."""
    return Setting("sandpaper", 1, photons, 3, BEAM.blur_px, tuple(s.image for s in speckles()))


def stars() -> str:
    """Fig. 4: resolution on the star pattern."""
    lines = [
        "| method | wavelength (px) at 10 % bias | bias at 16 px | at 32 px | at 64 px |",
        "|---|---|---|---|---|",
    ]
    for name, method in contenders(names()).items():
        rows = star(method, setting())
        at = [min(rows, key=lambda r, w=w: abs(r["wavelength_px"] - w))["bias"] for w in (16, 32, 64)]
        lines.append(f"| {name} | {resolution(rows):.1f} | {at[0]:.1%} | {at[1]:.1%} | {at[2]:.1%} |")
    return "\n".join(lines) + "\n"


def gradient(y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """0 to 1 px from left to right."""
    return x / (SIDE - 1) + 0 * y, 0 * (x + y)


def noise() -> str:
    """A gradient of the displacement, 0 to 1 px, at several numbers of photons."""
    levels = (300.0, 1e3, 1e4, 1e5)
    lines = [f"| method |{''.join(f' {p:g} photons |' for p in levels)}", "|---|---|---|---|---|"]
    for name, method in contenders(names()).items():
        cells = [rms([error(method, *deformed(k, gradient, p)) for k in range(PATTERNS)]) for p in levels]
        lines.append(f"| {name} |{''.join(f' {c:.4f} |' for c in cells)}")
    return "\n".join(lines) + "\n"


def windows() -> str:
    """Fig. 5: windows of umpa beside cade, which has none."""
    lines = ["| method | RMSE (px) on the gradient | wavelength (px) at 10 % bias |", "|---|---|---|"]
    for name, method in contenders(("cade", *WINDOWS)).items():
        value = rms([error(method, *deformed(k, gradient, PHOTONS)) for k in range(PATTERNS)])
        lines.append(f"| {name} | {value:.4f} | {resolution(star(method, setting())):.1f} |")
    return "\n".join(lines) + "\n"


def hills(y: Tensor, x: Tensor) -> Tensor:
    """Thickness of PMMA in pixels of a landscape of smooth hills, (y, x) at the corners of samples."""
    key = torch.Generator().manual_seed(FIRST_SEED)
    total = torch.zeros(y.shape[0], x.shape[1], dtype=torch.float64)
    for _ in range(40):
        cy, cx, size, height = torch.rand(4, generator=key, dtype=torch.float64)
        width = 6 + 14 * size
        away = ((y - 160 * cy + 16) ** 2 + (x - 160 * cx + 16) ** 2) / width**2
        total += height * width * torch.exp(-0.5 * away)
    return total


def balls(y: Tensor, x: Tensor) -> Tensor:
    """Thickness of PMMA in pixels of balls with sharp edges."""
    key = torch.Generator().manual_seed(FIRST_SEED + 1)
    total = torch.zeros(y.shape[0], x.shape[1], dtype=torch.float64)
    for _ in range(9):
        cy, cx, size = torch.rand(3, generator=key, dtype=torch.float64)
        radius = 8 + 22 * size
        total += 2 * (radius**2 - (y - 128 * cy) ** 2 - (x - 128 * cx) ** 2).clamp_min(0).sqrt()
    return total


def waved(
    number: int, thickness: Callable[[Tensor, Tensor], Tensor], strength: float
) -> tuple[Tensor, Tensor]:
    """Frames and truth of a sample behind the diffuser by Fresnel propagation; ``strength``: u in px on 99 %."""
    beam, s = BEAM.parallel, WAVE_OVERSAMPLING
    side = (SIDE + 2 * MARGIN_PX) * s
    corner = torch.arange(side + 1, dtype=torch.float64) / s - MARGIN_PX
    depth = thickness(corner[:, None], corner[None, :])
    unit = corner_gradients(depth)
    largest = float(torch.stack(unit).abs().flatten()[::7].quantile(0.99)) * s
    phase = -depth * beam.phase_per_px * strength / largest
    ux, uy = (g * s / beam.phase_per_px for g in corner_gradients(phase))
    mu = material("PMMA").mu(beam.energy_kev)
    # thickness in m of the PMMA that shifts the phase so
    metres = -phase / (beam.wavenumber_m * material("PMMA").delta(beam.energy_kev))
    sample = transmission_function(corner_mean(phase).float(), (mu * corner_mean(metres)).float())
    incident = waves()[number][:side, :side]
    images = intensity(propagate(torch.stack([incident, incident * sample]), beam.fresnel_number / s**2))
    images = bin_mean(images, s // OVERSAMPLING)
    frames = detected(images / images[0].mean(), PHOTONS, FIRST_SEED + 50 + number)
    inner = slice(MARGIN_PX, MARGIN_PX + SIDE)
    return frames, bin_mean(torch.stack([ux, uy]).float(), s)[:, inner, inner]


def samples() -> str:
    """Samples by wave optics: fringes and diffraction of the pattern by the sample are in the frames."""
    scenes = {"hills, 0.3 px": (hills, 0.3), "hills, 0.9 px": (hills, 0.9), "balls, 0.3 px": (balls, 0.3),
              "balls, 0.9 px": (balls, 0.9)}  # fmt: skip
    lines = [f"| method |{''.join(f' {name} |' for name in scenes)}", "|---|" + "---|" * len(scenes)]
    made = {name: [waved(k, *how) for k in range(PATTERNS)] for name, how in scenes.items()}
    zero = [rms([truth[:, END:-END, END:-END] for _, truth in pairs]) for pairs in made.values()]
    lines.append(f"| zero |{''.join(f' {z:.4f} |' for z in zero)}")
    for name, method in contenders(names()).items():
        cells = [rms([error(method, *pair) for pair in pairs]) for pairs in made.values()]
        lines.append(f"| {name} |{''.join(f' {c:.4f} |' for c in cells)}")
    return "\n".join(lines) + "\n"


def seconds() -> str:
    """CPU seconds of one thread for one projection, least of three."""
    sizes = (256, 512, 768)
    lines = [f"| method |{''.join(f' {n} x {n} |' for n in sizes)}", "|---|---|---|---|"]
    for name, method in contenders(names()).items():
        cells = []
        for size in sizes:
            frame = 1 + gaussian_blur_periodic(
                torch.randn(size, size, generator=torch.Generator().manual_seed(1)), 1.2
            )
            state = method.prepare(frame[None])
            taken = []
            for _ in range(3):
                before = time.process_time()
                method(0.9 * frame.roll((1, 0), (0, 1))[None, None], state)
                taken.append(time.process_time() - before)
            cells.append(min(taken))
        lines.append(f"| {name} |{''.join(f' {c:.2f} |' for c in cells)}")
    return "\n".join(lines) + "\n"


SECTIONS: dict[str, Callable[[], str]] = {
    "shifts": shifts,
    "star": stars,
    "noise": noise,
    "windows": windows,
    "samples": samples,
    "time": seconds,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    chosen = parser.parse_args().only
    torch.set_num_threads(1)
    path = HERE / "cade.md"
    text = f"# Method cade\n\nWritten by `python benchmarks/cade.py` ({platform.machine()}, one thread).\n\n"
    sizes = ", ".join(f"{s.fwhm_px:.1f} px / {s.visibility:.2f}" for s in speckles())
    text += f"Patterns (speckle size / visibility): {sizes}. {PHOTONS:g} photons, transmission {TRANSMISSION:g}.\n"
    for name in chosen:
        function = SECTIONS[name]
        text += f"\n## {name}\n\n{function.__doc__}\n\n{function()}"
        path.write_text(text)
        print(name, flush=True)


if __name__ == "__main__":
    main()
