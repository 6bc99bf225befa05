"""Stacks for the command line."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from speckleflow.errors import InputError
from speckleflow.io.stack import read_stack

STACK = np.arange(12 * 4 * 5, dtype=np.uint16).reshape(12, 4, 5)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "stack.tif", STACK)
    np.save(tmp_path / "stack.npy", STACK)
    (tmp_path / "images").mkdir()
    for i, image in enumerate(STACK):
        tifffile.imwrite(tmp_path / f"images/a_{i}.tiff", image)
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["deep/frames"], file["note"] = STACK, "text"
    return tmp_path


@pytest.mark.parametrize(
    "name", ["stack.tif", "stack.npy", "images", "images/a_*.tiff", "stack.h5:/deep/frames"]
)
def test_every_way_of_storing(stored: Path, name: str):
    stack = read_stack(f"{stored}/{name}")
    assert stack.dtype == STACK.dtype
    np.testing.assert_array_equal(stack, STACK)


def test_one_image_is_a_stack_of_one(stored: Path):
    assert read_stack(f"{stored}/images/a_3.tiff").shape == (1, 4, 5)
    np.save(stored / "one.npy", STACK[0].astype(np.float64))
    assert read_stack(f"{stored}/one.npy").dtype == np.float64


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.tif", "gone.tif: expected an image file, found no such file"),
        ("b_*.tif", "expected at least one image, found no file of that pattern"),
        ("stack.h5", "expected .*stack.h5:/dataset, found no dataset named; the file holds deep, note"),
        ("stack.h5:/deep/other", r"expected a dataset /deep/other, found none \(/deep holds frames\)"),
        ("stack.h5:/deep", r"expected a dataset /deep, found a group"),
        ("stack.h5:/note", r"expected numbers of shape \(N, y, x\), found .* of shape \(\)"),
        ("gone.h5:/a", "gone.h5: expected an HDF5 file, found no such file"),
        ("empty", "expected a folder with images .*, found none in it$"),
        (
            "nested",
            r"found none in it, but 2 folder\(s\), a_2 the first; a pattern such as .*nested",
        ),
        ("empty.tif", r"empty.tif: expected an image file, found an empty file"),
        ("text.tif", "text.tif: expected a complete image file, found damage"),
        ("text.npy", "text.npy: expected a .npy file of numbers, found damage"),
        ("nan.npy", "nan.npy: expected finite values, found 2 NaN or infinite"),
        ("five.npy", "five.npy: expected one image"),
        ("colour.tif", "colour.tif: expected grey images, found 3 samples a pixel"),
        (
            "mixed",
            r"mixed/b.tif: expected uint16 of shape \(4, 5\) as in a.tif, found uint16 of shape \(4, 4\)",
        ),
    ],
)
def test_what_is_no_stack(stored: Path, name: str, said: str):
    (stored / "empty").mkdir()
    (stored / "empty.tif").touch()
    (stored / "text.tif").write_text("hello")
    (stored / "nested/a_10").mkdir(parents=True)
    (stored / "nested/a_2").mkdir()
    (stored / "text.npy").write_text("hello")
    nan = STACK.astype(np.float32)
    nan[1, 1, 1:3] = np.nan
    np.save(stored / "nan.npy", nan)
    np.save(stored / "five.npy", STACK[None, None])
    tifffile.imwrite(stored / "colour.tif", np.zeros((8, 9, 3), np.uint8), photometric="rgb")
    (stored / "mixed").mkdir()
    tifffile.imwrite(stored / "mixed/a.tif", STACK[0])
    tifffile.imwrite(stored / "mixed/b.tif", STACK[0, :, :4])
    with pytest.raises(InputError, match=said):
        read_stack(f"{stored}/{name}")


def test_a_truncated_tiff(stored: Path):
    with (stored / "stack.tif").open("r+b") as stream:
        stream.truncate(300)
    with pytest.raises(InputError, match="found 300: the file was cut short"):
        read_stack(f"{stored}/stack.tif")
