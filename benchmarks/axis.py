"""The rotation axis by every method on twenty simulated scans and two measured ones.

    python -m benchmarks.axis [SHARED_DATA] > benchmarks/axis.md

The scans (benchmarks/axis_scans.py): 200 columns, 8 rows, exact line integrals averaged over a pixel, noise. Every
column of a method is its error in px; '-' where it has no answer. The goal: within 0.25 px, or a warning.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

import h5py
import numpy as np
import tifffile
from benchmarks.axis_scans import SimulatedScan, simulated_scans

from speckleflow.tomo.axis import find_axis
from speckleflow.tomo.axis_search import AxisSearch, search_axis

METHODS = ("mirror", "opposite", "fourier", "sharpness")
GOAL_PX = 0.25


def algotom_vo(scan: SimulatedScan) -> tuple[float, float]:
    """Median axis of three rows by algotom's find_center_vo (its own search range), and its seconds."""
    from algotom.prep.calculation import find_center_vo

    half = scan.sinograms[:, scan.angles_deg - scan.angles_deg.min() < 180]
    start = time.perf_counter()
    found = [find_center_vo(half[row], ncore=1) for row in (0, 3, 7)]
    return float(np.median(found)), time.perf_counter() - start


def line(scan: SimulatedScan) -> tuple[str, bool]:
    """A line of the table, and whether it is right or warned of."""
    start = time.perf_counter()
    mirror_alone = find_axis(scan.sinograms, scan.angles_deg)
    alone_s = time.perf_counter() - start
    start = time.perf_counter()
    result = search_axis(scan.sinograms, scan.angles_deg)
    seconds = time.perf_counter() - start
    vo, vo_s = algotom_vo(scan)
    words = result.warnings(columns=scan.sinograms.shape[2])
    error = result.axis_px - scan.axis_px
    good = abs(error) <= GOAL_PX or bool(words)
    cells = [
        f"{mirror_alone.axis_px - scan.axis_px:+.2f}{'' if mirror_alone.trusted else ' (doubted)'}",
        *(_vote(result, method, scan.axis_px) for method in METHODS),
        f"**{error:+.2f}** ({result.method})",
        "; ".join("disagree" if "disagree" in w else "edge" if "edge" in w else "uncertain" for w in words)
        or "-",
        f"{vo - scan.axis_px:+.2f}",
        f"{alone_s:.1f} / {seconds:.1f} / {vo_s:.1f}",
    ]
    return f"| {scan.name} | " + " | ".join(cells) + " |", good


def _vote(result: AxisSearch, method: str, truth: float) -> str:
    vote = next((v for v in result.votes if v.method == method), None)
    return "-" if vote is None else f"{vote.axis_px - truth:+.2f} ± {vote.error_px:.2f}"


def savu(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Line integrals (row, angle, x) and angles of the tomography of Savu's tests (axis 85.83 px by CIL)."""
    base = folder / "savu-24737"
    files = sorted((base / "tiffs").rglob("*.tif*"))
    frames = [f for f in files if not any(w in f.name.lower() for w in ("dark", "flat"))]
    dark, flat = (
        np.mean(
            [tifffile.imread(f).astype(float) for f in base.rglob("*.tif*") if w in f.name.lower()], axis=0
        )
        for w in ("dark", "flat")
    )
    data = np.stack([tifffile.imread(f) for f in frames]).astype(float)
    angles = np.loadtxt(base / "angles.txt").ravel()[10:101]
    values = -np.log(np.clip((data - dark) / np.maximum(flat - dark, 1.0), 1e-3, None))
    rows = np.linspace(0, values.shape[1] - 1, 18).astype(int)[1:-1]
    return values[:, rows].swapaxes(0, 1), angles


def tooth(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Line integrals and angles of tomopy's tooth (axis 295.8 px)."""
    with h5py.File(folder / "tooth.h5") as file:
        dark, white = file["exchange/data_dark"][:].mean(0), file["exchange/data_white"][:].mean(0)
        values = (file["exchange/data"][:] - dark) / (white - dark)
        return -np.log(np.clip(values, 1e-3, None)).swapaxes(0, 1), file["exchange/theta"][:]


def main(folder: Path | None) -> None:
    warnings.simplefilter("ignore")
    print("# Rotation axis: four methods and their vote\n")
    print(f"Made by `python -m benchmarks.axis ../shared/data`, 1 thread of {os.cpu_count()} cores.\n")
    print("Errors in px. `before`: mirror symmetry alone, dead columns not filled.\n")
    print(
        "| scan | before | mirror | opposite | fourier | sharpness | used | warning | algotom's Vo "
        "| s: before / all / algotom's Vo, 3 rows |"
    )
    print("|" + "---|" * 10)
    good = 0
    scans = simulated_scans()
    for scan in scans:
        text, fine = line(scan)
        good += fine
        print(text, flush=True)
    print(f"\n{good} of {len(scans)} are within {GOAL_PX} px or warned of.\n")
    if folder is None:
        return
    print("| measured scan | known | used | votes (px) | warning | s |\n|---|---|---|---|---|---|")
    for name, known, read in (("Savu", "85.83", savu), ("tooth", "295.8", tooth)):
        values, angles = read(folder)
        start = time.perf_counter()
        result = search_axis(values, angles)
        seconds = time.perf_counter() - start
        votes = ", ".join(vote.text() for vote in result.votes)
        said = "; ".join(result.warnings(columns=values.shape[2])) or "-"
        print(
            f"| {name} | {known} | {result.axis_px:.3f} ({result.method}) | {votes} | {said} | {seconds:.1f} |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
