from __future__ import annotations

import pytest
import torch

from speckleflow.errors import SpeckleflowError
from speckleflow.retrieval.base import FLAG_EDGE, Fields
from speckleflow.retrieval.flags import FOLD_LIMIT, edge_flags, fold_flags, jacobian
from speckleflow.retrieval.grids import to_landing, to_reference

Y, X = torch.meshgrid(torch.arange(80.0), torch.arange(100.0), indexing="ij")


def u_reference(x, y):
    return 2.0 * torch.sin(x / 9) * torch.cos(y / 11) + 1.0, 1.5 * torch.cos(x / 10 + y / 8)


def fields_reference() -> Fields:
    ux, uy = u_reference(X, Y)
    return Fields(
        transmission=(0.8 + 0.1 * torch.sin(X / 12))[None],
        ux=ux[None],
        uy=uy[None],
        flags=torch.zeros(1, 80, 100, dtype=torch.uint8),
    )


def test_landing_fields_say_where_the_ray_came_from():
    landing = to_landing(fields_reference())
    px, py = X - landing.ux[0], Y - landing.uy[0]
    ux, uy = u_reference(px, py)
    inside = (px > 6) & (px < 93) & (py > 6) & (py < 73)  # splines end at the border with zero slope
    torch.testing.assert_close(landing.ux[0][inside], ux[inside], atol=5e-4, rtol=0)
    torch.testing.assert_close(landing.uy[0][inside], uy[inside], atol=5e-4, rtol=0)
    torch.testing.assert_close(
        landing.transmission[0][inside], (0.8 + 0.1 * torch.sin(px / 12))[inside], atol=1e-3, rtol=0
    )
    assert bool((landing.flags[0][px < 0] & FLAG_EDGE).all())


def test_there_and_back():
    start = fields_reference()
    back = to_reference(to_landing(start))
    for name in ("ux", "uy", "transmission"):
        a, b = getattr(back, name)[0, 8:-8, 8:-8], getattr(start, name)[0, 8:-8, 8:-8]
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)


def test_absorption_alone_has_no_other_grid():
    with pytest.raises(SpeckleflowError, match="no displacement"):
        to_landing(Fields(transmission=torch.ones(1, 8, 8)))


def test_jacobian_and_fold_flags():
    ux, uy = (0.3 * X + 0.1 * Y)[None], (-0.2 * X - 0.5 * Y)[None]
    torch.testing.assert_close(
        jacobian(ux, uy), torch.full_like(ux, 1.3 * 0.5 + 0.1 * 0.2), atol=1e-4, rtol=0
    )
    assert not fold_flags(ux, uy).any()
    crossing = torch.where(X > 50, -3.0, 0.0)[None]
    flagged = fold_flags(crossing, torch.zeros_like(crossing))[0]
    assert bool(flagged[:, 50:52].all())
    assert not flagged[:, :49].any()
    assert 0 < FOLD_LIMIT < 1


def test_edge_flags_count_the_landing_place_too():
    ux = torch.full((1, 80, 100), 4.0)
    flagged = edge_flags(ux, torch.zeros_like(ux), 2)[0] > 0
    assert bool(flagged[:, :2].all())
    assert bool(flagged[:, 94:].all())
    assert not flagged[2:-2, 2:94].any()
