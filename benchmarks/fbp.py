"""Seconds and error of filtered back-projection: every backend, and ASTRA's own FBP, in one run.

    python -m benchmarks.fbp > benchmarks/fbp.md

Shepp-Logan (Toft's contrasts), 1024 x 1024 from 900 angles over 180 degrees, exact line integrals: as a
detector takes them (mean over a pixel) and along the rays through the pixel centres. The truth is the mean
over a pixel's area. Error: RMSE over standard deviation of the truth inside 0.95 R. Seconds a slice: least of
three, arrays in memory; `fourier` over 8 slices, with its set-up and without, the others one at a time.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from tests.tomo.ellipses import image, shepp_logan, sinogram

from speckleflow.errors import SpeckleflowError
from speckleflow.tomo.backends import BACKENDS, make_backend

SIDE, ANGLES, SLICES, RUNS, FINE = 1024, 900, 8, 3, 8


def machine() -> str:
    """Processor, cores, and the versions that were timed."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    names = ("numpy", "scipy", "finufft", "astra-toolbox", "tomopy")
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return f"{cpu[1] if cpu else platform.processor()}, {os.cpu_count()} cores; " + ", ".join(found)


def least(call: Callable[[], object]) -> float:
    """Seconds of the fastest of RUNS calls."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def astra_fbp(data: np.ndarray, angles_deg: np.ndarray) -> tuple[np.ndarray, float]:
    """ASTRA's own CPU FBP (Ram-Lak, linear) of one sinogram, and its seconds."""
    import astra

    side = data.shape[1]
    sinograms = astra.create_proj_geom("parallel", 1.0, side, np.deg2rad(-angles_deg))
    slices = astra.create_vol_geom(side, side)
    projector = astra.create_projector("linear", sinograms, slices)
    source, target = astra.data2d.create("-sino", sinograms, data), astra.data2d.create("-vol", slices)
    config = astra.astra_dict("FBP") | {
        "ProjectorId": projector, "ProjectionDataId": source, "ReconstructionDataId": target,
        "FilterType": "ram-lak",
    }  # fmt: skip
    algorithm = astra.algorithm.create(config)
    seconds = least(lambda: astra.algorithm.run(algorithm))
    return astra.data2d.get(target), seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--threads", type=int, default=2)
    threads = options.parse_args().threads
    angles = np.arange(ANGLES) * 180.0 / ANGLES
    head = shepp_logan(SIDE / 2)
    truth = image(head, SIDE, supersample=FINE)
    centre = (SIDE - 1) / 2
    y, x = np.ogrid[:SIDE, :SIDE]
    inside = (x - centre) ** 2 + (y - centre) ** 2 < (0.95 * SIDE / 2) ** 2

    def error(found: np.ndarray) -> float:
        return float(np.sqrt(np.mean((found - truth)[inside] ** 2)) / truth[inside].std())

    data = [sinogram(head, angles, SIDE, centre, supersample) for supersample in (FINE, 1)]
    rows = []
    own, own_seconds = astra_fbp(data[0], angles)
    rows.append(
        (
            "ASTRA's own FBP, CPU, linear",
            "ramlak",
            "",
            own_seconds,
            error(own),
            error(astra_fbp(data[1], angles)[0]),
        )
    )
    for name in BACKENDS:
        for filter in ("ramlak", "shepp") if name == "fourier" else ("ramlak",):
            try:
                plan = make_backend(name, angles, SIDE, centre, filter, threads=threads)
            except SpeckleflowError as reason:
                print(f"{name}: {reason}", file=sys.stderr)
                continue
            slices = SLICES if name == "fourier" else 1
            stack = np.stack([data[0]] * slices)
            found = plan(np.stack(data))
            alone = least(lambda plan=plan, stack=stack: plan(stack)) / slices
            whole = least(
                lambda name=name, filter=filter, stack=stack: make_backend(
                    name, angles, SIDE, centre, filter, threads=threads
                )(stack)
            )
            rows.append((name, filter, whole / slices, alone, error(found[0]), error(found[1])))
    print("# Filtered back-projection: Shepp-Logan 1024 x 1024 from 900 angles\n")
    print(f"{machine()}; {threads} threads, load average {os.getloadavg()[0]:.0f}.")
    print("Made by `python -m benchmarks.fbp > benchmarks/fbp.md`, which says how.\n")
    print("| program | filter | s/slice, set-up too | s/slice | x ASTRA's FBP | error | error, centre rays |")
    print("|---|---|---|---|---|---|---|")
    for name, filter, whole, alone, e1, e2 in rows:
        setup = f"{whole:.3f}" if whole else "-"
        print(
            f"| {name} | {filter} | {setup} | {alone:.3f} | {own_seconds / alone:.1f} | {e1:.4f} | {e2:.4f} |"
        )
    print(
        "\nRays through pixel centres hold frequencies beyond the detector's limit. ASTRA's linear "
        "interpolation damps them and the edges alike; `fourier` damps nothing and leaves that to the filter."
    )


if __name__ == "__main__":
    main()
