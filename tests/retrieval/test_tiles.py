"""Images in pieces."""

from __future__ import annotations

import torch

from speckleflow.retrieval.tiles import make_tiles


def test_tiles_cover_once():
    count = torch.zeros(96, 160)
    for tile in make_tiles(96, 160, 32, 16, 8):
        count[tile.inner] += 1
        assert tile.core(tile.cut(count)).shape == count[tile.inner].shape
    assert bool((count == 1).all())
    assert len(make_tiles(96, 160, 200, 16, 8)) == 1
