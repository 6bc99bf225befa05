"""Parallel map over tiles: the same bits for any number of threads, errors that reach the caller."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from speckleflow.retrieval.filters import gaussian
from speckleflow.retrieval.normal import make_basis, measure, solve
from speckleflow.retrieval.parallel import map_rows, parallel_for, row_strips, thread_pool
from speckleflow.retrieval.umpa.retriever import Umpa

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_fields_do_not_depend_on_the_number_of_threads():
    from speckleflow.retrieval.umpa.settings import UmpaSettings

    noise = torch.Generator().manual_seed(5)
    reference = torch.rand(5, 200, 192, generator=noise) + 1
    sample = 0.8 * reference.roll((1, 2), (1, 2)) + 0.02 * torch.rand(5, 200, 192, generator=noise)
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        retriever = Umpa(UmpaSettings(), "cpu")
        found.append(retriever(sample[None], retriever.prepare(reference)))
        assert torch.get_num_threads() == count
    for other in found[1:]:
        for name in ("ux", "uy", "transmission", "darkfield", "displacement_std", "flags"):
            assert torch.equal(getattr(found[0], name), getattr(other, name)), name


def test_every_item_is_worked_on_once_and_by_single_threads():
    torch.set_num_threads(2)
    seen = torch.zeros(40, dtype=torch.int64)
    counts: list[int] = []

    def work(k: int) -> None:
        seen[k] += 1
        counts.append(torch.get_num_threads())

    with torch.inference_mode(), thread_pool(CPU):
        parallel_for(work, range(40))
    assert seen.eq(1).all()
    assert set(counts) == {1}
    assert torch.get_num_threads() == 2


def test_an_error_in_an_item_reaches_the_caller_and_the_threads_come_back():
    torch.set_num_threads(2)

    def work(k: int) -> None:
        if k == 7:
            raise ValueError("item 7")

    with pytest.raises(ValueError, match="item 7"), thread_pool(CPU):
        parallel_for(work, range(20))
    assert torch.get_num_threads() == 2


def test_strips_cover_every_row_once():
    items = row_strips(20, 517, 700, CPU)
    assert len(items) > 2
    assert [row for item in items for row in range(item.start, item.stop)] == list(range(517))
    for height in range(1, 30):  # 13 rows of 3 x 100 values of 4 bytes, and a little less than another
        items = row_strips(3, height, 100, CPU, size=4 * 3 * 100 * 14 - 1)
        assert [row for item in items for row in range(item.start, item.stop)] == list(range(height))
        assert max(item.stop - item.start for item in items) == min(13, height)
    assert len(row_strips(3, 5, 100, CPU, size=1)) == 5  # a row at least
    assert row_strips(20, 517, 700, torch.device("cuda")) == [slice(0, 517)]


def test_systems_solved_by_strips_are_those_of_linear_algebra():
    noise = torch.Generator().manual_seed(2)
    frames = torch.rand(9, 900, 400, generator=noise) + 1
    mean = torch.full((900, 400), 1.5)
    basis = make_basis(frames, mean, gaussian(0.6))
    zero = torch.zeros(900, 400)
    right = measure(frames, basis, zero, zero).h
    torch.set_num_threads(2)
    with thread_pool(CPU):
        found, diagonal = solve(basis.gram, right)
        (twice,) = map_rows(lambda part: (2 * part,), (right,), right)
    assert torch.equal(twice, 2 * right)
    full = torch.empty(900, 400, 4, 4, dtype=torch.float64)
    order = [(i, j) for i in range(4) for j in range(i, 4)]
    for k, (i, j) in enumerate(order):
        full[..., i, j] = full[..., j, i] = basis.gram[k]
    expected = torch.linalg.solve(full, right.permute(1, 2, 0).double()).permute(2, 0, 1)
    inner = slice(2, -2), slice(2, -2)
    assert float((found - expected)[:, *inner].abs().max()) < 1e-3 * float(expected[:, *inner].abs().max())
    variances = torch.diagonal(torch.linalg.inv(full), dim1=-2, dim2=-1).permute(2, 0, 1)
    assert torch.allclose(diagonal.double(), variances, rtol=1e-2)
