"""CPU seconds of the weighted integration beside those of umpa, and how far its phase is from the exact least squares.

    speckleflow simulate CONFIG; python benchmarks/integration.py CONFIG [--tile 2] [--save FILE] [--against FILE]

The first projection of a scan is retrieved and integrated in turns, on one thread; the least processor time of the
repetitions counts. `--tile` repeats the frames along both axes, for images of twice the size. `--save` keeps the phase,
`--against` compares with one that was kept: of an earlier version on the same scan, or of one run to the end
(`--tolerance 1e-9`). The measure is the background noise: the standard deviation of the phase in the air margins.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

import speckleflow as sf
from speckleflow.allocator import keep_freed_memory
from speckleflow.margins import air_mask
from speckleflow.phase import remove_drift, solve
from speckleflow.stages.phase import rejected_pixels


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--tile", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--boundary", default="mirror")
    parser.add_argument("--tolerance", type=float)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--against", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    if args.tolerance is not None:
        solve.CG_TOLERANCE, solve.CG_STEPS = args.tolerance, 1000

    scan = sf.open(args.config)
    air, geometry = scan.air, scan.geometry
    reference, sample = (
        np.tile(a, (1, args.tile, args.tile)) for a in (scan.reference, scan.frames(0)) if a is not None
    )
    seconds = {"umpa": np.inf, "integrate": np.inf}
    for _ in range(args.repeat):
        before = time.process_time()
        fields = sf.retrieve(reference, sample, "umpa")
        middle = time.process_time()
        ux, uy, _ = remove_drift(fields["ux"][None], fields["uy"][None], air)
        fields |= {"ux": ux[0], "uy": uy[0]}
        start = time.process_time()
        phase = sf.integrate(fields, geometry, air=air, settings={"boundary": args.boundary})
        seconds = {
            "umpa": min(seconds["umpa"], middle - before),
            "integrate": min(seconds["integrate"], time.process_time() - start),
        }
    empty = air_mask(phase.shape, air)
    noise, ratio = phase[empty].std(), seconds["integrate"] / seconds["umpa"]
    rejected = rejected_pixels(fields["flags"][None]).mean()
    print(
        f"{phase.shape[1]} x {phase.shape[0]}, N = {len(sample)}, {args.boundary}, {rejected:.2%} rejected: umpa "
        f"{seconds['umpa']:.2f} s, integrate {seconds['integrate']:.2f} s, ratio {ratio:.2f}; "
        f"background noise {noise:.3g} rad"
    )
    if args.save:
        np.save(args.save, phase)
    if args.against:
        difference = np.abs(phase - np.load(args.against)) / noise
        rms = np.sqrt(np.mean(difference**2, dtype=np.float64))
        print(
            f"difference over the background noise: rms {rms:.1e}, median {np.median(difference):.1e}, largest "
            f"{difference.max():.1e}; rms in the air {np.sqrt(np.mean(difference[empty] ** 2)):.1e}"
        )


if __name__ == "__main__":
    main()
