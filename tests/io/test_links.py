"""Virtual datasets and links of HDF5 files: frames that are not there are numbered, circles are refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.raw_scan import RawScan

from speckleflow.errors import InputError
from speckleflow.io.base import InputProblems
from speckleflow.io.open import open_source
from speckleflow.io.scan import open_scan

FRAMES = np.random.default_rng(3).integers(1, 999, (8, 4, 5)).astype(np.uint16)


def virtual(path: Path, parts: int = 4) -> Path:
    """Frames in ``parts`` files of two, joined by a virtual dataset."""
    layout = h5py.VirtualLayout(FRAMES.shape, FRAMES.dtype)
    for part in range(parts):
        with h5py.File(path.parent / f"part_{part}.h5", "w") as file:
            file["frames"] = FRAMES[2 * part : 2 * part + 2]
        layout[2 * part : 2 * part + 2] = h5py.VirtualSource(f"part_{part}.h5", "frames", (2, 4, 5))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("exchange/data", layout)
    return path


def test_a_source_that_is_not_there(tmp_path: Path):
    source = open_source(virtual(tmp_path / "a.h5"), "a.h5")
    np.testing.assert_array_equal(source.read(), FRAMES)
    assert len(source.lost()[0]) == 0
    (tmp_path / "part_2.h5").unlink()
    numbers, why = source.lost()
    assert numbers.tolist() == [4, 5]
    assert why == "their source part_2.h5 is not there"


def test_chunks_that_were_never_written(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("exchange/data", FRAMES.shape, FRAMES.dtype, chunks=(1, 2, 5))
        made[:5] = FRAMES[:5]
        made[6, :2] = FRAMES[6, :2]
        made[7] = FRAMES[7]
    numbers, why = open_source(tmp_path / "a.h5", "a.h5").lost()
    assert (numbers.tolist(), why) == ([5, 6], "never written")


def test_a_virtual_dataset_of_itself(tmp_path: Path):
    layout = h5py.VirtualLayout(FRAMES.shape, FRAMES.dtype)
    layout[:] = h5py.VirtualSource(".", "/exchange/data", FRAMES.shape)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("exchange/data", layout)
    with pytest.raises(InputError, match="found one that is made of itself"):
        open_source(tmp_path / "a.h5", "a.h5")


def test_links_in_a_circle(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = h5py.SoftLink("/exchange/other")
        file["exchange/other"] = h5py.SoftLink("/exchange/data")
    with pytest.raises(InputError, match="found links that lead in a circle"):
        open_source(tmp_path / "a.h5", "a.h5")


def test_missing_frames_are_refused_or_left_out_with_the_right_angles(raw_scan: RawScan):
    raw_scan.write()
    path = raw_scan.path("sample_02")
    with h5py.File(path, "r+") as file:
        frames = file["exchange/data"][()]
        del file["exchange/data"]
        made = file.create_dataset("exchange/data", frames.shape, frames.dtype, chunks=(1, *frames.shape[1:]))
        made[[0, 1, 3]] = frames[[0, 1, 3]]
        made.attrs["axes"] = "theta:y:x"
    with pytest.raises(
        InputProblems, match="expected 4 frames, found 1 of them missing, frame 2: never written"
    ):
        open_scan(raw_scan.spec())
    scan = open_scan(raw_scan.spec(files={"missing_frames": "allow"}))
    assert scan.excluded == (2,)
    np.testing.assert_array_equal(scan.angles_deg, np.array([0.0, 45.0, 135.0]))
    np.testing.assert_array_equal(scan.read_sample()[:, 1], frames[[0, 1, 3]])
