"""Time and memory of every method that gives a displacement, and of loops over pixels. Writes benchmarks/methods.md.

    OMP_NUM_THREADS=1 python benchmarks/methods.py [--methods umpa lcs ...] [--side 512]

One thread. Each method and number of positions runs in a process of its own: CPU seconds of the second of two
projections (the first one loads and compiles), and peak memory above that of a 64 x 64 image. The loops do the same as
`lcs` (iterations = 1), `xsvt`, `xst` and `zncc` pixel by pixel, with numpy and, where it is installed, scikit-image.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from speckleflow.retrieval.registry import get, spec_of, specs
from speckleflow.testing.patterns import Pair, make_pair, rms

HERE = Path(__file__).parent
POSITIONS = (1, 3, 5, 20)
#: smooth displacement of up to 1.7 px under 8000 photons
FIELDS = {
    "ux": lambda x, y: 1.3 * np.sin(x / 17 + y / 29) + 0.4,
    "uy": lambda x, y: -0.9 * np.cos(x / 23 - y / 19),
    "photons": 8000.0,
}


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1])


def measure(name: str, positions: int, side: int) -> tuple[float, float, float]:
    """CPU seconds of a projection, MB above those of a small image, and seconds that the plan asks for."""
    torch.set_num_threads(1)
    spec = spec_of(name)
    method = get(name)(spec.settings() if spec.settings else None)
    generator = torch.Generator().manual_seed(positions)
    small = 1 + 0.3 * torch.rand(positions, 64, 64, generator=generator)
    method(small[None], method.prepare(small))
    reference = 1 + 0.3 * torch.rand(positions, side, side, generator=generator)
    sample = 0.9 * reference.roll((1, -2), (1, 2))[None]
    before = peak_bytes()
    state = method.prepare(reference)
    method(sample, state)
    memory = (peak_bytes() - before) / 1e6
    start = time.process_time()
    method(sample, state)
    planned = spec.seconds_per_pixel(positions, method.settings) * side * side
    return time.process_time() - start, memory, planned


def methods_table(names: list[str], side: int) -> str:
    """All methods, each measured in its own process."""
    lines = [
        f"CPU seconds of a projection of {side} x {side} px and MB, by number of positions; in brackets the seconds "
        "that the planner reckons with.\n",
        "| method | " + " | ".join(f"N = {n}" for n in POSITIONS) + " |",
        "|---|" + "---|" * len(POSITIONS),
    ]
    for name in names:
        cells = []
        for n in POSITIONS:
            if not spec_of(name).takes(n):
                cells.append("")
                continue
            words = [sys.executable, __file__, "--one", name, str(n), "--side", str(side)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            seconds, memory, planned = (float(value) for value in done.stdout.split())
            cells.append(f"{seconds:.2f} s ({planned:.2f}), {memory:.0f} MB")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def lcs_loop(pair: Pair, rows: slice, columns: slice) -> np.ndarray:
    """u_x of the published LCS, one least-squares problem a pixel."""
    reference, sample = pair.reference.double().numpy(), pair.sample.double().numpy()
    _, ry, rx = np.gradient(reference)
    out = []
    for y in range(rows.start, rows.stop):
        for x in range(columns.start, columns.stop):
            a = np.stack([sample[:, y, x], rx[:, y, x], ry[:, y, x]], 1)
            out.append(np.linalg.lstsq(a, reference[:, y, x], rcond=None)[0][1])
    return np.reshape(out, (rows.stop - rows.start, -1))


def _paraboloid(values: np.ndarray, reach: int) -> float:
    """u_x of the peak of correlations (y, x), by the parabola through its row."""
    j, i = np.unravel_index(values.argmax(), values.shape)
    i = min(max(i, 1), values.shape[1] - 2)
    before, middle, after = values[j, i - 1 : i + 2]
    bend = 2 * middle - before - after
    return float(i - reach + (after - before) / 2 / bend if bend > 0 else i - reach)


def vector_loop(pair: Pair, rows: slice, columns: slice, half: int = 2, reach: int = 6) -> np.ndarray:
    """u_x of XSVT: at every pixel the vector's correlation with those of all displacements."""
    reference, sample = pair.reference.double().numpy(), pair.sample.double().numpy()
    side, out = 2 * half + 1, []
    for y in range(rows.start, rows.stop):
        for x in range(columns.start, columns.stop):
            one = reference[:, y - half : y + half + 1, x - half : x + half + 1].ravel()
            wide = half + reach
            area = sample[:, y - wide : y + wide + 1, x - wide : x + wide + 1]
            views = np.lib.stride_tricks.sliding_window_view(area, (side, side), (1, 2))
            others = views.transpose(1, 2, 0, 3, 4).reshape(2 * reach + 1, 2 * reach + 1, -1)
            a, b = one - one.mean(), others - others.mean(-1, keepdims=True)
            out.append(_paraboloid(b @ a / np.linalg.norm(b, axis=-1) / np.linalg.norm(a), reach))
    return np.reshape(out, (rows.stop - rows.start, -1))


def template_loop(pair: Pair, rows: slice, columns: slice, half: int = 4, reach: int = 6) -> np.ndarray:
    """u_x of XST by scikit-image's match_template at every pixel."""
    from skimage.feature import match_template

    reference, sample, out = pair.reference[0].double().numpy(), pair.sample[0].double().numpy(), []
    wide = half + reach
    for y in range(rows.start, rows.stop):
        for x in range(columns.start, columns.stop):
            values = match_template(
                sample[y - wide : y + wide + 1, x - wide : x + wide + 1],
                reference[y - half : y + half + 1, x - half : x + half + 1],
            )
            out.append(_paraboloid(values, reach))
    return np.reshape(out, (rows.stop - rows.start, -1))


def compare(
    name: str, positions: int, loop: Callable[[Pair, slice, slice], np.ndarray], side: int, **settings: object
) -> str:
    """A row: microseconds a pixel and error of both on the same scene."""
    torch.set_num_threads(1)
    pair = make_pair((256, 256), positions, **FIELDS)
    rows = columns = slice(24, 24 + side)
    start = time.process_time()
    naive = loop(pair, rows, columns)
    slow = (time.process_time() - start) / side**2
    method = get(name)(spec_of(name).settings(**settings))  # type: ignore[misc]
    state = method.prepare(pair.reference)
    method(pair.sample[None], state)
    start = time.process_time()
    found = method(pair.sample[None], state).ux
    fast = (time.process_time() - start) / 256**2
    truth = pair.ux[rows, columns]
    ours = rms(found[:, rows, columns], truth, 1)
    theirs = rms(torch.from_numpy(naive), truth, 1)
    times = f"{1e6 * slow:.1f} | {1e6 * fast:.2f} | {slow / fast:.0f}"
    return f"| {name} | {positions} | {times} | {theirs:.3f} | {ours:.3f} |"


def loops_table() -> str:
    """The methods beside loops over pixels."""
    lines = [
        "CPU microseconds a pixel on one thread (loops over 48 x 48 pixels, methods over 256 x 256), and RMSE of u_x "
        "in px in the loop's pixels, on a smooth displacement of up to 1.7 px under 8000 photons. Loops: `lcs` numpy's "
        "lstsq at every pixel (first order, no warping, as iterations = 1; the last row is the default), `xsvt` numpy "
        "over all displacements at once at every pixel (window 5, search 6), `xst` and `zncc` scikit-image's "
        "match_template at every pixel (window 9, search 6).\n",
        "| method | N | loop, us | method, us | ratio | loop, RMSE | method, RMSE |",
        "|---|---|---|---|---|---|---|",
        compare("lcs", 5, lcs_loop, 48, iterations=1),
        compare("xsvt", 5, vector_loop, 48),
        compare("xst", 1, template_loop, 48),
        compare("zncc", 1, template_loop, 48),
        compare("lcs", 5, lcs_loop, 48),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    tracked = sorted(name for name, spec in specs().items() if spec.gives_displacement and not spec.needs)
    parser.add_argument("--methods", nargs="+", default=tracked)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--one", nargs=2)
    options = parser.parse_args()
    if options.one:
        print(*measure(options.one[0], int(options.one[1]), options.side))
        return
    report = [
        "# Methods\n\nMade by `OMP_NUM_THREADS=1 python benchmarks/methods.py`. Their errors are in families.md.\n",
        methods_table(options.methods, options.side),
        "## Beside loops over pixels\n",
        loops_table(),
    ]
    (HERE / "methods.md").write_text("\n".join(report))


if __name__ == "__main__":
    main()
