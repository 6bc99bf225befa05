"""Methods on a scene: fields, phase, processor seconds; and the memory of a process that does one retrieval."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from speckleflow.benchmark.scenes import WaveScene
from speckleflow.errors import SpeckleflowError
from speckleflow.evaluate.table import contenders
from speckleflow.phase import integrate_displacement
from speckleflow.retrieval.base import Fields
from speckleflow.retrieval.registry import get, spec_of, specs
from speckleflow.scan.acquisition import Acquisition
from speckleflow.scan.geometry import plane_distances

Array = NDArray[np.float64]

#: of the processes whose memory is measured, for methods that ask for it
SOME_ACQUISITION = Acquisition(
    energy_kev=20.0,
    pixel_x_m=1e-6,
    pixel_y_m=1e-6,
    distance_m=0.05,
    diffuser_distance_m=0.0,
    magnification=1.0,
    detector_blur_x_px=1.0,
    detector_blur_y_px=1.0,
)


def phase_methods(positions: int) -> list[str]:
    """Methods of the registry that end with a phase of so many positions and need nothing that is not shipped."""
    return [
        name
        for name, spec in sorted(specs().items())
        if spec.has_phase and spec.takes(positions) and name != "double_exposure"
    ]


@dataclass(frozen=True)
class Found:
    """What a method found on a scene: fields (1, y, x), phase in rad (y, x), and processor seconds of a projection."""

    fields: Fields
    phase: Array
    seconds: float


def retrieve(name: str, scene: WaveScene) -> Found:
    """A method, by its name in tables ('umpa:window=9'), on all positions of a scene."""
    method = contenders([name])[name]
    if not name.startswith("pwf"):  # loading and compiling are not counted
        part = slice(0, 64)
        method(
            scene.sample[None, :, part, part],
            method.prepare(scene.reference[:, part, part], scene.acquisition),
        )
    start = time.process_time()
    fields = method(scene.sample[None], method.prepare(scene.reference, scene.acquisition))
    seconds = time.process_time() - start
    return Found(fields, phase_of(fields, scene.acquisition), seconds)


def phase_of(fields: Fields, known: Acquisition) -> Array:
    """Phase (y, x) in rad, as the method gives it or by integration of its displacement."""
    if fields.phase is not None:
        return np.asarray(fields.phase[0].double().numpy(), np.float64)
    assert fields.ux is not None
    assert fields.uy is not None
    assert known.energy_kev is not None
    assert known.pixel_x_m is not None
    assert known.distance_m is not None
    phase = integrate_displacement(
        fields.ux.numpy(),
        fields.uy.numpy(),
        energy_kev=known.energy_kev,
        pixel_size_m=known.pixel_x_m,
        distance_m=plane_distances(known.distance_m, known.diffuser_distance_m, 1.0)[1],
        sigma=None if fields.displacement_std is None else fields.displacement_std.numpy(),
    )
    return np.asarray(phase[0], np.float64)


def rms(error: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(error))))


def level_free(phase: Array, truth: Array, inside: NDArray[np.bool_]) -> Array:
    """Error of a phase, its mean over a mask taken off."""
    error = phase - truth
    return np.asarray(error - error[inside].mean())


def displacement_error(fields: Fields, scene: WaveScene, inside: NDArray[np.bool_]) -> float:
    """RMSE in px of both components over a mask; NaN of a method that gives none."""
    if fields.ux is None or fields.uy is None:
        return float("nan")
    both = [(fields.ux[0].numpy() - scene.ux)[inside], (fields.uy[0].numpy() - scene.uy)[inside]]
    return rms(np.concatenate(both))


def peak_bytes() -> int:
    """Largest resident memory of this process so far (Linux; elsewhere 0)."""
    try:
        with Path("/proc/self/status").open() as stream:
            return 1024 * int(next(line for line in stream if line.startswith("VmHWM")).split()[1])
    except OSError:
        return 0


@dataclass(frozen=True)
class Cost:
    """Of a projection: processor and clock seconds of the second batch, MB above those of a small image, and the plan's
    seconds.
    """

    seconds: float
    clock: float
    megabytes: float
    planned: float


def cost(name: str, positions: int, side: int, batch: int = 1, threads: int = 1, **settings: object) -> Cost:
    """Cost of a method in a process of its own.

    Parameters
    ----------
    name : of the method.
    positions, side, batch : of the stacks: N frames of side x side, of ``batch`` projections.
    threads : of torch.
    settings : of the method where they are not the defaults.

    Raises
    ------
    SpeckleflowError
        The process failed; its last line is the reason.
    """
    task = json.dumps([name, positions, side, batch, threads, settings])
    # threads that wait would else spin, and take the time of those that work
    env = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS=str(threads))
    done = subprocess.run(
        [sys.executable, "-m", __name__, task], capture_output=True, text=True, env=env, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"signal {-done.returncode}"]
        raise SpeckleflowError(f"{name}, N = {positions}, {side} px: {lines[-1]}")
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def _cost_here(
    name: str, positions: int, side: int, batch: int, threads: int, settings: dict[str, Any]
) -> Cost:
    torch.set_num_threads(threads)
    spec = spec_of(name)
    method = get(name)(spec.settings(**settings) if spec.settings else None)
    generator = torch.Generator().manual_seed(positions)
    small = 1 + 0.3 * torch.rand(positions, 64, 64, generator=generator)
    method(small[None], method.prepare(small, SOME_ACQUISITION))
    reference = 1 + 0.3 * torch.rand(positions, side, side, generator=generator)
    sample = (0.9 * reference.roll((1, -2), (1, 2))[None]).repeat(batch, 1, 1, 1)
    before = peak_bytes()
    state = method.prepare(reference, SOME_ACQUISITION)
    method(sample, state)  # loads and compiles
    memory = (peak_bytes() - before) / 1e6
    clock, start = time.perf_counter(), time.process_time()
    method(sample, state)
    seconds, clock = time.process_time() - start, time.perf_counter() - clock
    planned = spec.seconds_per_pixel(positions, method.settings) * side * side
    return Cost(seconds / batch, clock / batch, memory, planned)


if __name__ == "__main__":
    one = _cost_here(*json.loads(sys.argv[1]))
    print(json.dumps([one.seconds, one.clock, one.megabytes, one.planned]))
