"""Reading raw frames with every frame looked at, against h5py and tifffile alone.

    python benchmarks/throughput.py [FOLDER]     writes some 0.5 GB there (default: a temporary folder), prints a table

In turns; medians over the rounds, of the ratios round by round, so that other programs disturb both alike.
The files are in the page cache, so that the programs are compared and not the disk.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from speckleflow.config import ScanConfig
from speckleflow.correction import prepare_correction
from speckleflow.frame_faults import FrameLooker
from speckleflow.io.scan import Scan, open_scan
from speckleflow.scan.spec import ScanSpec

FRAMES, SIZE, ROUNDS, BATCH = 45, (1024, 2048), 15, 15  # 63 MB at a time, as inspect --full reads them


def make(folder: Path) -> dict[str, str]:
    """One scan as Data Exchange, chunked and plain, and as TIFF folder and stack; name of each -> pattern."""
    rng = np.random.default_rng(0)
    frames = rng.poisson(8000, (FRAMES, *SIZE)).astype(np.uint16)
    np.save(folder / "flat.npy", rng.poisson(9000, (5, *SIZE)).astype(np.uint16))
    np.save(folder / "dark.npy", rng.poisson(100, (5, *SIZE)).astype(np.uint16))
    for name, how in {"plain.h5": {}, "gzip.h5": {"chunks": (1, *SIZE), "compression": "gzip"}}.items():
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("exchange/data", data=frames[: 12 if how else FRAMES], **how)
    (folder / "tiffs").mkdir()
    for number, frame in enumerate(frames):
        tifffile.imwrite(folder / f"tiffs/f_{number:04d}.tif", frame)
    tifffile.imwrite(folder / "stack.tif", frames, photometric="minisblack")
    return {"HDF5": "plain.h5", "HDF5, gzip": "gzip.h5", "TIFF folder": "tiffs", "TIFF stack": "stack.tif"}


def opened(folder: Path, name: str) -> Scan:
    files = {"sample": name, "reference": None, "flat": "flat.npy", "dark": "dark.npy"}
    config = ScanConfig.model_validate(
        {
            "files": files,
            "geometry": {"pixel_size_um": 1.0, "angles": "range"},
            "retrieval": {"method": "absorption"},
            "correct": {"air_px": [0, 0, 0, 0], "flux": "none"},
        }
    )
    return open_scan(ScanSpec("a", config, folder))


def looked_at(scan: Scan, looker: FrameLooker) -> None:
    for first in range(0, scan.n_projections, BATCH):
        raw = scan.read_sample(slice(first, min(first + BATCH, scan.n_projections)))
        faults, _ = looker.look(raw, first)
        assert not faults


def alone(path: Path) -> None:
    """The same batches by the library alone."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            data = file["exchange/data"]
            for first in range(0, len(data), BATCH):
                data[first : first + BATCH]
    elif path.is_dir():
        files = sorted(path.iterdir())
        for first in range(0, len(files), BATCH):
            np.stack([tifffile.imread(file) for file in files[first : first + BATCH]])
    else:
        with tifffile.TiffFile(path) as file:
            for first in range(0, len(file.pages), BATCH):
                file.asarray(key=range(first, min(first + BATCH, len(file.pages))))


def timed(*programs: Callable[[], None]) -> NDArray:
    """(clock, processor) seconds of each in every round, in turns: (round, program, 2)."""
    spent = np.empty((ROUNDS, len(programs), 2))
    for turn in spent:
        for program, seconds in zip(programs, turn, strict=True):
            clock, processor = time.perf_counter(), time.process_time()
            program()
            seconds[:] = time.perf_counter() - clock, time.process_time() - processor
    return spent


def main(folder: Path) -> None:
    print(
        "| stored as | MB/s alone | MB/s read | MB/s read and looked at | ratio (clock) | ratio (processor) |"
    )
    print("|---|---|---|---|---|---|")
    for kind, name in make(folder).items():
        scan = opened(folder, name)
        looker = FrameLooker(scan, prepare_correction(scan))
        megabytes = scan.n_projections * SIZE[0] * SIZE[1] * 2 / 1e6
        spent = timed(
            lambda name=name: alone(folder / name),
            lambda scan=scan: [
                scan.read_sample(slice(f, min(f + BATCH, scan.n_projections)))
                for f in range(0, scan.n_projections, BATCH)
            ],
            lambda scan=scan, looker=looker: looked_at(scan, looker),
        )
        speeds = " | ".join(f"{megabytes / seconds:.0f}" for seconds in np.median(spent[..., 0], 0))
        clock, processor = np.median(spent[:, 0] / spent[:, 2], 0)
        print(f"| {kind} | {speeds} | {clock:.2f} | {processor:.2f} |")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(made))
