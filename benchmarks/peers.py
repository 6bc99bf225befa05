"""Method `lcs` beside the two public programs that solve the same equations: seconds and errors.

    python -m benchmarks.peers PYTHON > benchmarks/peers.md

PYTHON has LCS-Retrieval and mbipy (PyPI, both MIT); they are measured, not used. All get the same stacks, 512 x 512 px,
a smooth displacement of up to 0.6 px (their equations are linear in it), T and D of 1, 10,000 photons. Each run is a
process of its own with one thread; the least processor time of three in a row counts. Their displacement is taken in
the sign and order that fit best, and where a window leaves a border, inside of it. Errors: 16 px of border left out.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from speckleflow.testing.patterns import make_pair

SIDE, BORDER, LARGEST_PX, PHOTONS = 512, 16, 0.6, 10_000
POSITIONS = (3, 5, 16)

HEAD = """
import json, sys, time
import numpy as np
data = np.load(sys.argv[1])
reference, sample = data["reference"], data["sample"]
def least(run):
    seconds = []
    for _ in range(3):
        start = time.process_time()
        found = run()
        seconds.append(time.process_time() - start)
    return min(seconds), found
"""
OURS = """
import torch
torch.set_num_threads(1)
from speckleflow.retrieval.registry import get, default_settings
name, changes = json.loads(sys.argv[3])
method = get(name)(default_settings(name).model_copy(update=changes))
reference, sample = torch.from_numpy(reference).float(), torch.from_numpy(sample).float()
seconds, fields = least(lambda: method(sample[None], method.prepare(reference)))
np.savez(sys.argv[2], a=fields.ux[0].numpy(), b=fields.uy[0].numpy())
print(seconds)
"""
RETRIEVAL = """
from lcs.api import lcs_df
last = lambda stack: np.ascontiguousarray(stack.transpose(1, 2, 0), np.float32)
reference, sample = last(reference), last(sample)
seconds, found = least(lambda: lcs_df(reference, sample, win_size=1))
np.savez(sys.argv[2], a=found[..., 1], b=found[..., 2])
print(seconds)
"""
MBIPY = """
import importlib.util
from mbipy.src.phase_retrieval.implicit.lcs import lcs
last = lambda stack: np.ascontiguousarray(stack.transpose(1, 2, 0), np.float32)
reference, sample = last(reference), last(sample)
seconds, found = least(lambda: lcs(sample, reference))
np.savez(sys.argv[2], a=np.asarray(found.phase_gx), b=np.asarray(found.phase_gy))
print(seconds)
"""
PROGRAMS = {
    "speckleflow lcs": (OURS, ("lcs", {})),
    "speckleflow lcs, iterations: 1": (OURS, ("lcs", {"iterations": 1})),
    "speckleflow umpa": (OURS, ("umpa", {})),
    "LCS-Retrieval 0.1.1, lcs_df": (RETRIEVAL, None),
    "mbipy 0.1.0, lcs": (MBIPY, None),
}


def run(python: str, code: str, stack: Path, setting: object) -> tuple[float, list[np.ndarray]]:
    """Processor seconds and the two components of a program."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "u.npz"
        command = [python, "-c", HEAD + code, str(stack), str(out), json.dumps(setting)]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        if done.returncode:
            sys.exit(f"{python}: {done.stderr.strip()}")
        found = np.load(out)
        return float(done.stdout.split()[-1]), [found["a"], found["b"]]


def error(found: list[np.ndarray], truth: list[np.ndarray]) -> float:
    """RMSE of u in px, in the best order and signs."""
    cut = (SIDE - found[0].shape[0]) // 2
    inner = slice(BORDER, SIDE - BORDER)
    parts = [part[BORDER - cut : SIDE - BORDER - cut, BORDER - cut : SIDE - BORDER - cut] for part in found]
    true = [part[inner, inner] for part in truth]
    return min(
        float(np.sqrt(np.mean([(s * p - t) ** 2 for s, p, t in zip(signs, order, true, strict=True)])))
        for signs in itertools.product((1, -1), repeat=2)
        for order in itertools.permutations(parts)
    )


def main() -> None:
    peer = sys.argv[1]
    print("# LCS and its peers\n")
    print("Made by `python -m benchmarks.peers PYTHON`, which says how; one thread, processor seconds.\n")
    print("| program | " + " | ".join(f"N = {n}: s | u RMSE (px)" for n in POSITIONS) + " |")
    print("|---" * (1 + 2 * len(POSITIONS)) + "|")
    rows: dict[str, list[str]] = {name: [] for name in PROGRAMS}
    for n in POSITIONS:

        def wave(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return LARGEST_PX * np.sin(x / 30) * np.cos(y / 40)

        pair = make_pair(
            (SIDE, SIDE), n, ux=wave, uy=lambda x, y: wave(y, x), photons=PHOTONS, contrast=0.25, size=2.0
        )
        with tempfile.TemporaryDirectory() as folder:
            stack = Path(folder) / "stack.npz"
            np.savez(stack, reference=pair.reference.numpy(), sample=pair.sample.numpy())
            for name, (code, setting) in PROGRAMS.items():
                seconds, found = run(sys.executable if code is OURS else peer, code, stack, setting)
                rows[name] += [f"{seconds:.2f}", f"{error(found, [pair.ux, pair.uy]):.3f}"]
                print(name, n, *rows[name][-2:], file=sys.stderr)
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
