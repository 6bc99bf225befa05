"""Error of slices whose sinograms have stripes of every kind, by ring filter and contrast.

    python -m benchmarks.rings > benchmarks/rings.md

Shepp-Logan 256 x 256 from 360 angles (benchmarks/ring_scans.py), filter shepp. NRMSE in % within 0.88 of the radius,
mean of three draws; in brackets `auto` relative to the best of the others.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from benchmarks.ring_scans import ANGLES, AXIS, COLUMNS, COUNT, KINDS, striped, truth

from speckleflow.tomo.backends import make_backend
from speckleflow.tomo.geometry import slice_coordinates
from speckleflow.tomo.rings import RING_FILTERS, filter_rings

DRAWS = 3


def error_of() -> tuple[object, object]:
    """Functions of sinograms (angle, x): slice, and NRMSE in %."""
    plan, true = make_backend("fourier", ANGLES, COLUMNS, AXIS), truth()
    y, x = slice_coordinates(COLUMNS)
    inside = x**2 + y**2 < (0.44 * COLUMNS) ** 2

    def image(sinogram: np.ndarray) -> np.ndarray:
        return plan(sinogram[None])[0]

    def error(sinogram: np.ndarray) -> float:
        return 100 * float(np.sqrt(np.mean((image(sinogram) - true)[inside] ** 2)) / true[inside].std())

    return image, error


def draw(path: Path) -> None:
    """Slices of mixed stripes, before and after every filter."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    image, error = error_of()
    figure = Figure(figsize=(15, 8), layout="constrained")
    for row, kind in enumerate(("mixed", "none")):
        data = striped(kind)
        for number, name in enumerate(RING_FILTERS):
            cleaned = filter_rings(data[None], name)[0][0]
            axes = figure.add_subplot(2, len(RING_FILTERS), row * len(RING_FILTERS) + number + 1)
            axes.imshow(image(cleaned), cmap="gray", vmin=-0.1, vmax=0.6)
            axes.set_title(f"{kind}: {name}, {error(cleaned):.1f} %", fontsize=9)
            axes.axis("off")
    FigureCanvasAgg(figure).print_png(str(path))


def main() -> None:
    warnings.simplefilter("ignore")
    _, error = error_of()
    print("# Ring filters: NRMSE of slices in %\n")
    print(
        f"Made by `python -m benchmarks.rings > benchmarks/rings.md`, 1 thread of {os.cpu_count()} cores.\n"
    )
    filter_rings(striped("dense")[None], "fft")  # algotom is imported before the clock runs
    for contrast in ("absorption", "phase"):
        print(f"{contrast}: {'white' if contrast == 'absorption' else 'integrated'} noise\n")
        print("| filter | " + " | ".join(KINDS) + " | ns a pixel |\n|" + "---|" * (len(KINDS) + 2))
        data = {kind: np.stack([striped(kind, contrast, n) for n in range(DRAWS)]) for kind in KINDS}
        table = {}
        for name in RING_FILTERS:
            start = time.process_time()
            cleaned = {kind: filter_rings(values, name)[0] for kind, values in data.items()}
            seconds = (time.process_time() - start) / (len(KINDS) * DRAWS * COUNT * COLUMNS)
            table[name] = [float(np.mean([error(s) for s in cleaned[kind]])) for kind in KINDS]
            cells = [f"{value:.1f}" for value in table[name]]
            print(f"| {name} | " + " | ".join(cells) + f" | {1e9 * seconds:.0f} |", flush=True)
        others = np.min([table[name] for name in RING_FILTERS if name != "auto"], axis=0)
        print(
            "| auto over the best other | "
            + " | ".join(f"{a / b:.2f}" for a, b in zip(table["auto"], others, strict=True))
            + " | |\n"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        draw(Path(sys.argv[1]))
    else:
        main()
