"""Images in pieces: where they lie, how large they may be, what happens when the memory was not enough."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from speckleflow.errors import SpeckleflowError
from speckleflow.retrieval import tiles
from speckleflow.retrieval.tiles import choose_side, free_memory, in_parts, is_out_of_memory, make_tiles

CPU = torch.device("cpu")


def test_tiles_cover_once():
    count = torch.zeros(96, 160)
    for tile in make_tiles(96, 160, 32, 16, 8):
        count[tile.inner] += 1
        assert tile.core(tile.cut(count)).shape == count[tile.inner].shape
    assert bool((count == 1).all())
    assert len(make_tiles(96, 160, 200, 16, 8)) == 1


@pytest.mark.parametrize(("height", "width"), [(96, 256), (256, 96)])
def test_every_tile_has_its_halo_and_begins_at_a_multiple(height, width):
    """Side 45 and halo 13 of multiples of 8: tiles of 40 with 16 around, cut off where the image ends."""
    image = torch.arange(height * width).view(1, height, width)
    pieces = make_tiles(height, width, 45, 13, 8)
    assert len(pieces) == 3 * 7
    for tile in pieces:
        assert torch.equal(tile.core(tile.cut(image)), image[(..., *tile.inner)])
        for inner, outer, length in zip(tile.inner, tile.outer, (height, width), strict=True):
            assert inner.start % 40 == 0
            assert inner.stop == min(inner.start + 40, length)
            assert (outer.start, outer.stop) == (max(0, inner.start - 16), min(length, inner.stop + 16))


def test_a_side_that_fits_with_its_halos_is_not_cut():
    assert len(make_tiles(64, 72, 40, 16, 8)) == 1
    assert len(make_tiles(64, 80, 40, 16, 8)) == 2
    assert len(make_tiles(80, 64, 40, 16, 8)) == 2


@pytest.mark.parametrize(("width", "height"), [(700, 400), (400, 700)])
def test_the_side_fills_six_tenths_of_what_is_free(width, height):
    """60 % of the free memory less 200 MB, or of a quarter where little is free."""
    needed = height * width * 1000.0
    assert choose_side(height, width, 50, 1000.0, 200e6 + needed / 0.6 + 1e3) == 700
    side = choose_side(height, width, 50, 1000.0, 200e6 + needed / 0.6 - 1e3)
    assert 0.99 * needed < (side + 100) ** 2 * 1000 <= needed
    assert choose_side(5000, 5000, 50, 1000.0, 240e6) == int((0.6 * 60e6 / 1000) ** 0.5) - 100
    assert choose_side(5000, 5000, 400, 1000.0, 1e6) == 50  # never below an eighth of the halo
    assert choose_side(5000, 5000, 40, 1000.0, 1e6) == 16


@pytest.mark.parametrize(
    ("limit", "used", "free"),
    [
        ("4000000000\n", "3000000000\n", 1e9),  # a job of 4 GB that uses 3
        ("max\n", "3000000000\n", 8_000_000 * 1024.0),
        ("90000000000\n", "3000000000\n", 8_000_000 * 1024.0),
        (None, None, 8_000_000 * 1024.0),
    ],
)
def test_free_memory_is_the_smaller_of_machine_and_job(tmp_path, monkeypatch, limit, used, free):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(
        "MemTotal: 16000000 kB\nMemFree: 1000000 kB\nMemAvailable:  8000000 kB\nHugePages_Total: 0\n"
    )
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    if limit is not None:
        (group / "memory.max").write_text(limit)
        (group / "memory.current").write_text(used)
    monkeypatch.setattr(tiles, "Path", lambda path: tmp_path / Path(path).relative_to("/"))
    assert free_memory(CPU) == free


def test_parts_are_joined_in_order_and_halved_when_memory_is_short(caplog):
    batch = torch.arange(7.0)[:, None, None, None].expand(7, 2, 3, 4)
    sizes, asked = [], []

    def run(part):
        sizes.append(len(part))
        if len(part) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")
        return 2 * part[:, 0], part[:, :1, :1, 0]

    with caplog.at_level(logging.WARNING):
        double, column = in_parts(batch, 5, run, lambda: asked.append(1) or False)
    assert sizes == [5, 3, 2, 2, 2, 1]
    assert not asked
    assert torch.equal(double, 2 * batch[:, 0])
    assert torch.equal(column, batch[:, :1, :1, 0])
    assert [line.rsplit(" ", 1)[1] for line in caplog.messages] == ["3", "2"]


def test_a_single_image_asks_for_smaller_tiles_and_then_gives_up():
    left = [True, True, False]

    def run(part):
        raise MemoryError

    with pytest.raises(
        SpeckleflowError, match="a stack of 2 frames of 3 x 4 pixels does not fit even in small"
    ):
        in_parts(torch.zeros(2, 2, 3, 4), 1, run, lambda: left.pop(0))
    assert not left


def test_other_errors_are_not_taken_for_memory():
    def run(part):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        in_parts(torch.zeros(2, 2, 3, 4), 1, run, lambda: True)


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a memory object"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("allocate"), False),
    ],
)  # fmt: skip
def test_words_of_an_allocator_are_known(error, memory):
    assert is_out_of_memory(error) is memory
