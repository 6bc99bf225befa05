"""What a .npy file may hold in place of an array of numbers, each said in plain words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speckleflow.errors import InputError
from speckleflow.io.npy import load_npy
from speckleflow.io.open import open_source

IMAGES = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


def test_the_array_in_any_order_mapped_or_not(tmp_path: Path):
    for stored in (IMAGES, np.asfortranarray(IMAGES), IMAGES.astype(">f4")):
        np.save(tmp_path / "a.npy", stored)
        for mapped in (False, True):
            assert np.array_equal(load_npy(tmp_path / "a.npy", "a.npy", mapped=mapped), IMAGES)


def archive(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, a=IMAGES)


def objects(path: Path) -> None:
    np.save(path, np.array([IMAGES, None], dtype=object), allow_pickle=True)


def cut(path: Path) -> None:
    np.save(path, IMAGES)
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (archive, "a.npy: expected a .npy file of numbers, found an archive of several arrays"),
        (objects, "a.npy: expected a .npy file of numbers, found Python objects"),
        (cut, "a.npy: expected 368 bytes, as its header says, found 300: the file was cut short"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\xff"), "a.npy: .* found damage"),
        (lambda path: path.write_bytes(b""), "a.npy: .* found an empty file"),
    ],
)
def test_what_is_no_whole_array_is_said(tmp_path: Path, make, words: str):
    make(tmp_path / "a.npy")
    for mapped in (False, True):
        with pytest.raises(InputError, match=words) as refused:
            load_npy(tmp_path / "a.npy", "a.npy", mapped=mapped)
        assert "allow_pickle" not in str(refused.value)
    with pytest.raises(InputError, match=words):  # as frames too
        open_source(tmp_path / "a.npy", "a.npy")
