"""Names in a folder: one complete series, a gap, or something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from speckleflow.errors import InputError
from speckleflow.io.images import Images
from speckleflow.io.names import natural_key, read_series
from speckleflow.io.open import open_source


def numbered(numbers: list[int], pattern: str = "proj_{:04d}.tif") -> list[str]:
    return sorted((pattern.format(n) for n in numbers), key=natural_key)


@pytest.mark.parametrize(
    ("names", "missing", "length"),
    [
        (numbered(list(range(3, 14))), [], 11),
        (numbered([n for n in range(20) if n not in (7, 8)]), [7, 8], 20),
        (numbered(list(range(0, 1800, 15))), [], 120),
        (numbered([n for n in range(0, 100, 5) if n != 45]), [9], 20),
        (numbered(list(range(9)), "scan2_{}.tif"), [], 9),
        # a time beside the number that counts
        ([f"a_{160000 + 7 * n + n % 3}_{n:03d}.tif" for n in range(9)], [], 9),
        # times alone count nothing
        ([f"a_{t}.tif" for t in (160001, 160009, 160011, 160024, 160031)], [], 5),
    ],
)
def test_series(names: list[str], missing: list[int], length: int):
    series = read_series(names, "folder")
    assert (series.missing, series.length) == (missing, length)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            [*numbered(list(range(9))), "average.tif"],
            r"names of 2 kinds: proj_#.tif \(9\), average.tif",
        ),
        ([*numbered(list(range(9))), "proj_0004 (1).tif"], r"kinds: proj_#.tif \(9\), proj_0004 \(1\).tif"),
        ([*numbered(list(range(9))), *numbered([0, 1], "dark_{}.tif")], r"dark_#.tif \(2\)"),
        ([*numbered(list(range(9))), "proj_00004.tif"], r"found proj_0004.tif and proj_00004.tif"),
        ([f"a_{n}_{p}.tif" for n in range(4) for p in range(3)], r"two that vary, 4 x 3"),
    ],
)
def test_no_series(names: list[str], said: str):
    with pytest.raises(InputError, match=said):
        read_series(sorted(names, key=natural_key), "folder")


def test_frames_keep_their_place_over_a_gap(tmp_path: Path):
    frames = np.random.default_rng(1).integers(0, 999, (9, 4, 5)).astype(np.uint16)
    for number, frame in enumerate(frames):
        if number not in (3, 4):
            tifffile.imwrite(tmp_path / f"p_{number + 10}.tif", frame)
    source = Images.open(tmp_path, "folder")
    assert source.shape == frames.shape
    numbers, why = source.lost()
    assert numbers.tolist() == [3, 4]
    assert why == "no file of number 13, 14"
    np.testing.assert_array_equal(source.read(slice(5, 9)), frames[5:])


@pytest.mark.parametrize("folder", ["run 7 (Büro's)", "proj [a]", "a*b", "x?y"])
@pytest.mark.parametrize("pattern", ["", "p_*.tif"])
def test_signs_of_patterns_in_a_folder_that_is_there(tmp_path: Path, folder: str, pattern: str):
    (tmp_path / folder).mkdir()
    frames = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    for number, frame in enumerate(frames):
        tifffile.imwrite(tmp_path / folder / f"p_{number}.tif", frame)
    source = open_source(tmp_path / folder / pattern, folder)
    np.testing.assert_array_equal(source.read(), frames)
