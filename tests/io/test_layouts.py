"""One scan in every layout gives the same corrected frames, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fabio.edfimage
import h5py
import numpy as np
import pytest
import tifffile

from speckleflow.config import parse_config
from speckleflow.correction import prepare_correction
from speckleflow.io.scan import open_scan
from speckleflow.scan.spec import ScanSpec

N, COUNT, ROWS, COLUMNS = 3, 5, 14, 22
_RNG = np.random.default_rng(11)
REFERENCE = _RNG.integers(4000, 9000, (N, ROWS, COLUMNS)).astype(np.uint16)
SAMPLE = (REFERENCE[None] * _RNG.uniform(0.9, 1.0, (COUNT, N, ROWS, COLUMNS))).astype(np.uint16)
ANGLES = np.arange(COUNT) * 36.0
BASE = {
    "geometry": {"energy_kev": 20, "pixel_size_um": 1.3, "distance_m": 0.2},
    "correct": {"air_px": [3, 3, 0, 0]},
}
RANGE = {"angles": "range", "angle_start_deg": 0, "angle_stop_deg": 180}


def exchange(path: Path, frames: np.ndarray, axes: str | None = None) -> None:
    with h5py.File(path, "w") as file:
        file["exchange/data"] = frames
        file["exchange/theta"] = ANGLES
        if axes is not None:
            file["exchange/data"].attrs["axes"] = axes


def edf(path: Path, frames: np.ndarray) -> None:
    image = fabio.edfimage.EdfImage(data=frames[0])
    for frame in frames[1:]:
        image.append_frame(data=frame)
    image.write(str(path))


def tif(path: Path, frames: np.ndarray) -> None:
    tifffile.imwrite(path, frames, photometric="minisblack")


def mirrored_tif(path: Path, frames: np.ndarray) -> None:
    tags = [(274, "H", 1, 4, False)]
    tifffile.imwrite(path, frames[..., ::-1, :], photometric="minisblack", metadata=None, extratags=tags)


def appended_tif(path: Path, frames: np.ndarray) -> None:
    for number, frame in enumerate(frames):
        tifffile.imwrite(path, frame, append=number > 0)


def each_position(suffix: str, write: Callable[[Path, np.ndarray], None]) -> Callable[[Path], dict]:
    """A file for each position, references as one frame."""

    def make(folder: Path) -> dict:
        for n in range(N):
            write(folder / f"s_{n}.{suffix}", SAMPLE[:, n])
            write(folder / f"r_{n}.{suffix}", REFERENCE[n][None])
        return {"sample": f"s_{{position}}.{suffix}", "reference": f"r_{{position}}.{suffix}"}

    return make


def folders(folder: Path) -> dict:
    for n in range(N):
        (folder / f"p{n}").mkdir()
        tif(folder / f"r_{n}.tif", REFERENCE[n])
        for k in range(COUNT):
            tif(folder / f"p{n}" / f"proj_{k + 8}.tif", SAMPLE[k, n])
    return {"sample": "p{position}", "reference": "r_{position}.tif"}


def nexus(path: Path, frames: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry["definition"] = "NXtomo"
        entry["instrument/detector/data"] = np.concatenate([frames[:1], frames])
        entry["instrument/detector/image_key"] = [3, *[0] * len(frames)]
        angles = [0.0, *ANGLES[: len(frames)]]
        entry.create_dataset("sample/rotation_angle", data=angles).attrs["units"] = "degree"


def four_axes(order: str) -> Callable[[Path], dict]:
    def make(folder: Path) -> dict:
        usual = ["theta", "position", "y", "x"]
        exchange(folder / "s.h5", SAMPLE.transpose([usual.index(axis) for axis in order.split(":")]), order)
        exchange(folder / "r.h5", REFERENCE[None])
        return {"sample": "s.h5", "reference": "r.h5"}

    return make


def stack(axes: list[str], turned: bool = False) -> Callable[[Path], dict]:
    """One stack of three axes, in which angles and positions follow each other."""

    def make(folder: Path) -> dict:
        frames = SAMPLE if axes[0] == "angle" else SAMPLE.swapaxes(0, 1)
        turn = (lambda a: a.swapaxes(-1, -2)[..., ::-1, :]) if turned else (lambda a: a)
        # upright again: transposed, then mirrored left to right
        tif(folder / "s.tif", turn(frames.reshape(-1, ROWS, COLUMNS)))
        np.save(folder / "r.npy", turn(REFERENCE)[None])
        files = {"sample": "s.tif", "reference": "r.npy", "axes": axes, "positions": "1-3"}
        return files | ({"transpose": True, "flip_x": True} if turned else {})

    return make


LAYOUTS: dict[str, Callable[[Path], dict]] = {
    "Data Exchange, a file a position": each_position("h5", exchange),
    "NXtomo, a file a position": each_position("nxs", nexus),
    "TIFF stacks": each_position("tif", tif),
    "TIFF, appended": each_position("tif", appended_tif),
    "TIFF, mirrored by its tag": each_position("tif", mirrored_tif),
    "EDF stacks": each_position("edf", edf),
    "npy": each_position("npy", np.save),
    "folders": folders,
    "four axes": four_axes("theta:position:y:x"),
    "four axes, positions first": four_axes("position:theta:y:x"),
    "four axes, x first": four_axes("x:y:position:theta"),
    "stack, angles first": stack(["angle", "position", "y", "x"]),
    "stack, positions first": stack(["position", "angle", "y", "x"]),
    "stack, turned": stack(["angle", "position", "y", "x"], turned=True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_corrected_frames_do_not_depend_on_the_layout(tmp_path: Path, layout: str):
    files = LAYOUTS[layout](tmp_path)
    raw = {**BASE, "files": {"dark": "subtracted", **files}}
    if not list(tmp_path.glob("s*.h5")) and not list(tmp_path.glob("*.nxs")):
        raw["geometry"] = {**BASE["geometry"], **RANGE}
    scan = open_scan(ScanSpec("s", parse_config(raw, layout), tmp_path))
    assert (scan.n_projections, scan.n_positions) == (COUNT, N)
    np.testing.assert_array_equal(scan.angles_deg, ANGLES)
    np.testing.assert_array_equal(scan.read_sample(), SAMPLE)
    np.testing.assert_array_equal(scan.read_reference(), REFERENCE.astype(np.float32))
    corrected = prepare_correction(scan).correct_frames(scan.read_sample(slice(1, 4)))
    light = REFERENCE.mean((1, 2), dtype=np.float64)
    expected = SAMPLE[1:4].astype(np.float32)
    reference = REFERENCE * (light.mean() / light).astype(np.float32)[:, None, None]
    air = np.r_[0:3, COLUMNS - 3 : COLUMNS]
    beam = reference[..., air].mean((1, 2), dtype=np.float64)
    expected = expected * (beam / expected[..., air].mean((2, 3), dtype=np.float64))[..., None, None]
    np.testing.assert_allclose(corrected, expected, rtol=2e-6)
    known = _CORRECTED.setdefault("frames", corrected)
    np.testing.assert_array_equal(corrected, known)


_CORRECTED: dict[str, np.ndarray] = {}
