from __future__ import annotations

import pytest
import torch

from speckleflow.errors import SpeckleflowError
from speckleflow.retrieval.base import FLAG_BOUND, FLAG_EDGE, FLAG_FOLD, Fields
from speckleflow.retrieval.flags import edge_flags, fold_flags, jacobian
from speckleflow.retrieval.grids import to_detector, to_reference

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


def test_fields_on_the_detector_grid_say_where_the_ray_came_from():
    detector = to_detector(fields_reference())
    px, py = X - detector.ux[0], Y - detector.uy[0]
    ux, uy = u_reference(px, py)
    inside = (px > 6) & (px < 93) & (py > 6) & (py < 73)  # splines end at the border with zero slope
    torch.testing.assert_close(detector.ux[0][inside], ux[inside], atol=4e-5, rtol=0)
    torch.testing.assert_close(detector.uy[0][inside], uy[inside], atol=4e-5, rtol=0)
    torch.testing.assert_close(
        detector.transmission[0][inside], (0.8 + 0.1 * torch.sin(px / 12))[inside], atol=3e-6, rtol=0
    )
    outside = (px < -0.01) | (px > 99.01) | (py < -0.01) | (py > 79.01)
    within = (px > 0.01) & (px < 98.99) & (py > 0.01) & (py < 78.99)
    assert bool((detector.flags[0][outside] & FLAG_EDGE).all())
    assert not detector.flags[0][within].any()


def test_there_and_back():
    start = fields_reference()
    back = to_reference(to_detector(start))
    for name in ("ux", "uy", "transmission"):
        a, b = getattr(back, name)[0, 8:-8, 8:-8], getattr(start, name)[0, 8:-8, 8:-8]
        near = 3e-6 if name == "transmission" else 1e-4  # measured: 9e-7, 3.3e-5
        torch.testing.assert_close(a, b, atol=near, rtol=0)


def test_absorption_alone_has_no_other_grid():
    with pytest.raises(SpeckleflowError, match="no displacement"):
        to_detector(Fields(transmission=torch.ones(1, 8, 8)))


def test_jacobian_and_fold_flags():
    ux, uy = (0.3 * X + 0.1 * Y)[None], (-0.2 * X - 0.5 * Y)[None]
    torch.testing.assert_close(
        jacobian(ux, uy), torch.full_like(ux, 1.3 * 0.5 + 0.1 * 0.2), atol=6e-6, rtol=0
    )
    assert not fold_flags(ux, uy).any()
    crossing = torch.where(X > 50, -3.0, 0.0)[None]
    flagged = fold_flags(crossing, torch.zeros_like(crossing))[0]
    assert bool(flagged[:, 50:52].all())
    assert not flagged[:, :49].any()


def test_folds_are_what_a_field_of_true_jacobian_below_zero_comes_out_as():
    """Simulated: crossing rays (-0.7) come out at up to 0.34, those that stay apart (0.17) at 0.42 and more."""
    for slope, flagged in ((-0.66, True), (-0.58, False)):
        for ux, uy in ((slope * X, 0 * Y), (0 * X, slope * Y)):
            assert bool((fold_flags(ux[None], uy[None]) == FLAG_FOLD * flagged).all())


@pytest.mark.parametrize("half_window", [0, 2, 5])
@pytest.mark.parametrize(("dx", "dy"), [(4.0, -2.5), (-3.5, 1.0)])
def test_edge_flags_count_the_landing_place_too(half_window, dx, dy):
    """Window of the pixel and window of the place where its ray lands: both inside, or flagged."""
    flagged = edge_flags(torch.full((2, 80, 100), dx), torch.full((2, 80, 100), dy), half_window)
    expected = torch.zeros(80, 100, dtype=torch.uint8)
    for row in range(80):
        for column in range(100):
            for x, y in ((column, row), (column + dx, row + dy)):
                if min(x, y, 99 - x, 79 - y) < half_window:
                    expected[row, column] = FLAG_EDGE
    assert torch.equal(flagged, expected.expand(2, -1, -1))


@pytest.mark.parametrize(("dx", "dy"), [(3.2, -2.3), (-4.3, 5.2)])
def test_flags_travel_with_their_ray(dx, dy):
    """A flag of the reference pixel (y, x) is that of the detector pixel (y + dy, x + dx), and back."""
    flags = torch.zeros(1, 80, 100, dtype=torch.uint8)
    flags[0, 40, 60], flags[0, 30, 20] = FLAG_FOLD, FLAG_BOUND
    moved = Fields(
        torch.ones(1, 80, 100), torch.full((1, 80, 100), dx), torch.full((1, 80, 100), dy), flags=flags
    )
    landed = to_detector(moved).flags[0]
    assert landed[40 + round(dy), 60 + round(dx)] == FLAG_FOLD
    assert landed[30 + round(dy), 20 + round(dx)] == FLAG_BOUND
    rows, columns = torch.arange(80)[:, None] - dy, torch.arange(100) - dx
    outside = (rows < 0) | (rows > 79) | (columns < 0) | (columns > 99)
    assert torch.equal((landed & FLAG_EDGE) > 0, outside)
    assert int((landed & ~FLAG_EDGE > 0).sum()) == 2
    back = to_reference(moved).flags[0]
    assert back[40 - round(dy), 60 - round(dx)] == FLAG_FOLD
