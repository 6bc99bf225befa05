"""Seconds, memory and error of method `umpa`, beside the C++ package UMPA where a Python that has it is named.

    python benchmarks/umpa.py --stack ../shared/data/sim512/stack.npz --peer PYTHON > benchmarks/umpa.md

The stack holds `reference`, `sample` (N, y, x) and the truth on the detector grid. It follows equation (1) of the
papers, without fringes of light, so that T is compared as measured. Every run is a process of its
own, the runs of both programs take turns, the least of the repetitions counts. Beside the seconds on the clock
stand those of the processor: on a machine that others use as well, the clock measures them too. Each process
does its work twice, and the better counts: the first meets memory that the process never had, a scan has
hundreds of projections. The peer
(github.com/optimato/UMPA, GPL) is measured, not used; without --peer its rows are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BORDER = 16

OURS = """
import json, resource, sys, time
import numpy as np, torch
from speckleflow.retrieval.umpa.settings import UmpaSettings
from speckleflow.allocator import keep_freed_memory
from speckleflow.retrieval.grids import to_detector
from speckleflow.retrieval.single import retrieve_stack
path, out, n, window, side = sys.argv[1:6]
torch.set_num_threads(2)
keep_freed_memory()
data, n, side = np.load(path), int(n), int(side)
times = side // data["sample"].shape[-1]
stack = lambda key: torch.from_numpy(np.tile(data[key][:n], (1, times, times)).astype(np.float32))
reference, sample = stack("reference"), stack("sample")
settings = UmpaSettings(window=window if window == "auto" else int(window))
seconds = [1e9, 1e9]
for _ in range(2):
    clock, cpu = time.perf_counter(), time.process_time()
    fields = retrieve_stack(reference, sample, settings=settings)
    seconds = [min(a, b) for a, b in zip(seconds, (time.perf_counter() - clock, time.process_time() - cpu))]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
fields = to_detector(fields)
np.savez(out, ux=fields.ux[0], uy=fields.uy[0], T=fields.transmission_measured[0], D=fields.darkfield[0])
print(json.dumps([*seconds, peak]))
"""

PEER = """
import json, resource, sys, time
import numpy as np
from UMPA.model import UMPAModelDF
path, out, n, window, side = sys.argv[1:6]
data, n = np.load(path), int(n)
sample = [np.ascontiguousarray(a, dtype=np.float64) for a in data["sample"][:n]]
reference = [np.ascontiguousarray(a, dtype=np.float64) for a in data["reference"][:n]]
seconds = [1e9, 1e9]
for _ in range(2):
    clock, cpu = time.perf_counter(), time.process_time()
    model = UMPAModelDF(sample, reference, window_size=int(window) // 2, max_shift=8)  # (4 leaves more outliers)
    found = model.match(num_threads=2, quiet=True)
    seconds = [min(a, b) for a, b in zip(seconds, (time.perf_counter() - clock, time.process_time() - cpu))]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
np.savez(out, ux=-found["dx"], uy=-found["dy"], T=found["T"], D=found["df"])
print(json.dumps([*seconds, peak]))
"""


def run(
    python: str, code: str, stack: Path, n: int, window: str, side: int
) -> tuple[list[float], dict[str, float]]:
    """(seconds on the clock, of the processor, peak GB) and the errors of one run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "fields.npz"
        # threads that wait spin by default: on a shared machine they would take the time of those that work
        env = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="2")
        command = [python, "-c", code, str(stack), str(out), str(n), window, str(side)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        if done.returncode:
            sys.exit(f"{python}: {done.stderr.strip().splitlines()[-1]}")
        return json.loads(done.stdout.splitlines()[-1]), errors(np.load(out), np.load(stack))


def errors(found: np.lib.npyio.NpzFile, truth: np.lib.npyio.NpzFile) -> dict[str, float]:
    """RMSE of u (both components), T and D; the peer's maps are smaller and lie in the middle."""

    def square(name: str, key: str) -> float:
        field, true = found[name], truth[key]
        cut = (true.shape[0] - field.shape[0]) // 2
        if cut < 0:
            return float("nan")
        full = np.full(true.shape, np.nan)
        full[cut : cut + field.shape[0], cut : cut + field.shape[1]] = field
        difference = (full - true)[BORDER:-BORDER, BORDER:-BORDER]
        return float(np.nanmean(difference**2))

    u = (square("ux", "ux") + square("uy", "uy")) / 2
    return {"u": u**0.5, "T": square("T", "transmission") ** 0.5, "D": square("D", "darkfield") ** 0.5}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stack", type=Path, required=True, help="npz with reference, sample and truth")
    parser.add_argument("--peer", help="a Python that has UMPA installed")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--large", type=int, default=2048, help="side of the memory test; 0: none")
    args = parser.parse_args()

    with np.load(args.stack) as data:
        most, side = data["sample"].shape[0], data["sample"].shape[-1]
    cases = [(n, program, window) for n in (20, 5) if n <= most for program, window in _programs(args.peer)]
    best: dict[tuple[int, str, str], list[float]] = {}
    error: dict[tuple[int, str, str], dict[str, float]] = {}
    for _ in range(args.repeat):
        for case in cases:
            n, program, window = case
            python, code = (args.peer, PEER) if program == "UMPA (C++)" else (sys.executable, OURS)
            numbers, error[case] = run(python, code, args.stack, n, window, side)
            best[case] = [min(a, b) for a, b in zip(best.get(case, numbers), numbers, strict=True)]

    print("# umpa\n")
    print(
        f"{_machine()}, 2 threads, {side} x {side} pixels, prepared and retrieved; border of {BORDER} px left out."
    )
    if not args.peer:
        print("\nThe C++ package UMPA was not measured (no --peer).")
    print(
        "\nTimes faster: than UMPA with its 7 x 7 window, by the clock / by processor seconds.\n\n"
        "| N | program | window | s (clock) | s (processor) | times faster | u RMSE (px) | T | D |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for case in cases:
        n, program, window = case
        peer = best.get((n, "UMPA (C++)", "7"))
        ratio = (
            " / ".join(f"{a / b:.1f}" for a, b in zip(peer[:2], best[case][:2], strict=True)) if peer else "-"
        )
        e = error[case]
        print(
            f"| {n} | {program} | {window} | {best[case][0]:.2f} | {best[case][1]:.2f} | {ratio} "
            f"| {e['u']:.4f} | {e['T']:.4f} | {e['D']:.4f} |"
        )
    if args.large:
        print("\n| pixels | N | s (clock) | s (processor) | peak memory (GB) |\n|---|---|---|---|---|")
        for large in (side, args.large // 2, args.large):
            (clock, cpu, peak), _ = run(sys.executable, OURS, args.stack, most, "auto", large)
            print(f"| {large} x {large} | {most} | {clock:.2f} | {cpu:.2f} | {peak:.2f} |")


def _programs(peer: str | None) -> list[tuple[str, str]]:
    ours = [("speckleflow", window) for window in ("auto", "7", "3")]
    return [*ours, ("UMPA (C++)", "7"), ("UMPA (C++)", "3")] if peer else ours


def _machine() -> str:
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
