"""Phase and attenuation with and without wave optics. Writes benchmarks/wave.md.

    OMP_NUM_THREADS=1 python benchmarks/wave.py

Scenes by Fresnel propagation: glass beads behind which a diffuser stands (tests/retrieval/wave_optics/beads.py), and
random samples of the validation family ``waves``, one for each of its beams. Everything is seeded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tests.retrieval.wave_optics.beads import beads, phase_error

from speckleflow.evaluate import families
from speckleflow.evaluate.phase import least_squares_phase
from speckleflow.phase import integrate_displacement
from speckleflow.retrieval.base import Fields
from speckleflow.retrieval.blur import PIXEL_VARIANCE
from speckleflow.retrieval.registry import spec_of
from speckleflow.retrieval.single import retrieve_stack
from speckleflow.scan.acquisition import Acquisition
from speckleflow.scan.geometry import plane_distances
from speckleflow.simulate.fields import random_scene

HERE = Path(__file__).parent
POSITIONS, SIZE = 5, 160
#: name of the method, refinement, positions
RUNS = [
    ("umpa", "none", POSITIONS),
    ("umpa", "wave", POSITIONS),
    ("espinnet", "none", POSITIONS),
    ("espinnet", "wave", POSITIONS),
    ("pwf", "none", POSITIONS),
    ("umpa", "none", 1),
    ("spinnet", "none", 1),
    ("pwf", "none", 1),
]


NOTES = """\
Where p^2 / (lambda d) is below 0.7 the refinement lowers the phase error by up to a factor of two (one scene: by
a tenth), and that of the attenuation of the beads to a fifth (dense) and a half (weak); at 0.38 the attenuation gets
worse by 1.4 and 1.9. Above 1 it gains nothing or loses, and warns. Weak beads have no gain in phase. `pwf` alone, which
begins from zero, is as good as the refined methods on beads and fails on the family, whose smooth samples turn the
phase by tens of radians: there the tracking has to come first. Its single shot is the best of the three on weak beads,
and behind spinnet on dense ones.

## A foam through the workflow

`speckleflow run config/examples/foam-waves.yaml` simulates 60 projections of 112 x 64 px, N = 4, at
p^2 / (lambda d) = 0.17; `speckleflow show` compares with the truth. Means over materials, 2 voxels from their borders,
relative to the truth, or to the range of the quantity where the truth is 0:

| | umpa | umpa, refine: wave |
|---|---|---|
| delta of PMMA / air bubbles / glass | -1.8 % / +14.4 % of range / -8.7 % | +1.0 % / +0.5 % of range / +2.4 % |
| mu of PMMA / air bubbles / glass | -47 % / -268 % of range / +156 % | -1.1 % / -3.6 % of range / -86 % |
| RMSE over range, delta / mu | 9.6 % / 126 % | 4.2 % / 20 % |

The glass beads are a few voxels wide and take 2 % of the light; their mu stays wrong. The retrieval of the refined scan
took 8 minutes on a busy core (a tracking alone: seconds).
"""


class Case(NamedTuple):
    """Stacks, what is known of the measurement, and how a phase in rad (y, x) and an attenuation are judged."""

    name: str
    reference: torch.Tensor
    sample: torch.Tensor
    acquisition: Acquisition
    phase: Callable[[NDArray[np.float64]], float]
    attenuation: NDArray[np.float64]


def of_beads() -> Iterator[Case]:
    """Dense and weak beads, a diffuser 3 mm behind them; phase errors in rad."""
    for name, scale in (("beads", 1.0), ("weak beads", 0.1)):
        scene = beads((SIZE, SIZE), POSITIONS, scale, seed=3)

        def judge(phase: NDArray[np.float64], truth: NDArray[np.float64] = scene.phase) -> float:
            return phase_error(torch.from_numpy(phase), truth)

        yield Case(name, scene.reference, scene.sample, scene.acquisition, judge, scene.attenuation)


def of_family() -> Iterator[Case]:
    """A scene for each beam of the validation family; phase errors in rad."""
    family = families.FAMILIES["waves"]
    bank = families._bank(family)
    inside, air = families._masks()
    for number, incident in enumerate(sorted(bank.waves, key=lambda wave: wave.beam.fresnel_number)):
        generator = torch.Generator().manual_seed(7000 + number)
        ranges = replace(family.ranges, darkfield_min=1.0)
        one = copy(bank)
        one.waves = [incident]
        scene = random_scene(generator, POSITIONS, SIZE, one, ranges)
        beam = incident.beam
        blur = math.sqrt(float(scene.blur_px) ** 2 + PIXEL_VARIANCE + beam.source_blur_px**2)
        known = Acquisition(
            energy_kev=beam.energy_kev,
            pixel_x_m=beam.pixel_size_m,
            pixel_y_m=beam.pixel_size_m,
            distance_m=beam.distance_m,
            magnification=1.0,
            detector_blur_x_px=blur,
            detector_blur_y_px=blur,
        )
        slope = torch.stack([scene.ux, scene.uy])[None]
        truth = (beam.phase_per_px * least_squares_phase(slope)[0]).double().numpy()

        def judge(phase: NDArray[np.float64], truth: NDArray[np.float64] = truth) -> float:
            error = phase - truth
            return float(np.sqrt(np.mean((error - error[air].mean())[inside] ** 2)))

        name = f"waves, p^2 / (lambda d) = {beam.fresnel_number:.2f}"
        attenuation = -np.log(scene.transmission.double().numpy())
        yield Case(name, scene.reference, scene.sample, known, judge, attenuation)


def phase_of(fields: Fields, known: Acquisition) -> NDArray[np.float64]:
    """Phase (y, x) in rad, as the method gives it or by integration of its displacement."""
    if fields.phase is not None:
        return fields.phase[0].double().numpy()
    assert fields.ux is not None
    assert fields.uy is not None
    assert known.energy_kev is not None
    assert known.pixel_x_m is not None
    assert known.distance_m is not None
    lever = plane_distances(known.distance_m, known.diffuser_distance_m, 1.0)[1]
    phase = integrate_displacement(
        fields.ux.numpy(),
        fields.uy.numpy(),
        energy_kev=known.energy_kev,
        pixel_size_m=known.pixel_x_m,
        distance_m=lever,
        sigma=None if fields.displacement_std is None else fields.displacement_std.numpy(),
    )
    return phase[0].astype(np.float64)


def measured(case: Case, method: str, refine: str, positions: int) -> tuple[float, float, float]:
    """Error of the phase in rad, of the attenuation, and seconds on one thread."""
    settings = None
    known = case.acquisition
    if hasattr(spec_of(method).settings, "detector_blur_px"):
        settings = spec_of(method).settings(
            detector_blur_px=math.sqrt(known.detector_blur_x_px**2 - PIXEL_VARIANCE)
        )
    before = time.process_time()
    fields = retrieve_stack(
        case.reference[:positions],
        case.sample[:positions],
        method,
        settings,
        acquisition=known,
        refine=refine,
    )
    seconds = time.process_time() - before
    a = (
        fields.attenuation[0]
        if fields.attenuation is not None
        else -fields.transmission[0].clamp_min(0.01).log()
    )
    error = (a.double().numpy() - case.attenuation)[10:-10, 10:-10]
    return case.phase(phase_of(fields, known)), float(np.sqrt(np.mean(error**2))), seconds


def main() -> None:
    """Run and write."""
    torch.set_num_threads(1)
    names = [f"{m}{' + wave' if r == 'wave' else ''}, N = {n}" for m, r, n in RUNS]
    lines = [
        f"# {__doc__.splitlines()[0].split('. Writes')[0]}\n" if __doc__ else "",
        "Made by `OMP_NUM_THREADS=1 python benchmarks/wave.py`: RMSE of the phase in rad / of the attenuation "
        f"(-ln T) / CPU seconds of an image of {SIZE} x {SIZE} px, the blur of the detector told to each method that "
        "takes it.\n",
        "| scene | " + " | ".join(names) + " |",
        "|" + "---|" * (len(names) + 1),
    ]
    for case in (*of_beads(), *of_family()):
        cells = [measured(case, *run) for run in RUNS]
        lines.append(
            f"| {case.name} | " + " | ".join(f"{p:.3f} / {a:.4f} / {s:.1f}" for p, a, s in cells) + " |"
        )
        print(lines[-1], flush=True)
    (HERE / "wave.md").write_text("\n".join(lines) + "\n\n" + NOTES)


if __name__ == "__main__":
    main()
