"""Jobs last minutes whatever the method, and what they ask for follows from the shape of the data."""

from __future__ import annotations

import numpy as np
import pytest

from speckleflow.config import ScanConfig, parse_config
from speckleflow.retrieval import registry
from speckleflow.scan.spec import ScanSpec
from speckleflow.workflow.plan import (
    BASE_MB_OTHER,
    TARGET_MB,
    TARGET_SECONDS,
    Plan,
    plan_scan,
    row_mb,
)


def scan_of(method: str, **simulate: int) -> ScanSpec:
    settings = {
        "enabled": True,
        "rows": 2048,
        "columns": 2048,
        "projections": 900,
        "positions": 20,
    } | simulate
    whole = parse_config({"retrieval": {"method": method}, "simulate": settings}, "test")
    return ScanSpec("a", ScanConfig.model_validate(whole.model_dump(exclude={"scans", "results"})))


@pytest.mark.parametrize("method", registry.available())
def test_blocks_cover_the_scan_and_last_about_as_long_as_wanted(method: str):
    plan = plan_scan(scan_of(method))
    assert [stop for _, stop in plan.blocks[:-1]] == [start for start, _ in plan.blocks[1:]]
    assert (plan.blocks[0][0], plan.blocks[-1][1]) == (0, 900)
    longest = max(stop - start for start, stop in plan.blocks)
    assert longest == 1 or longest * plan.seconds_per_projection < 1.1 * TARGET_SECONDS
    assert 60 * plan.runtime_min("retrieve") > longest * plan.seconds_per_projection


def test_the_published_network_is_planned_by_its_own_time():
    own, published = (
        plan_scan(
            ScanSpec(
                "a",
                ScanConfig.model_validate(
                    {
                        "retrieval": {"method": "espinnet", "espinnet": {"weights": weights}},
                        "simulate": {"enabled": True, "rows": 2048, "columns": 2048, "projections": 900},
                    }
                ),
            )
        )
        for weights in ("shipped", "weights/training_model_001500.pt")
    )
    slower = published.seconds_per_projection / own.seconds_per_projection
    assert 5 < slower < 20
    assert len(published.blocks) > len(own.blocks)


def test_time_follows_the_pixels_and_memory_the_positions_but_neither_the_scan():
    small, large = (plan_scan(scan_of("umpa", rows=rows)) for rows in (1024, 2048))
    assert large.seconds_per_projection == pytest.approx(2 * small.seconds_per_projection)
    few, many = (plan_scan(scan_of("umpa", projections=n)) for n in (900, 3600))
    assert few.memory_mb("retrieve") == many.memory_mb("retrieve")
    assert plan_scan(scan_of("umpa", positions=5)).memory_mb("retrieve") < few.memory_mb("retrieve")


@pytest.mark.parametrize(("rows", "columns", "projections"), [(2048, 2048, 1800), (512, 2048, 3600)])
def test_a_slab_keeps_to_the_memory_and_to_the_time(rows, columns, projections):
    """Both limits at once: TARGET_MB of the data of a slab, TARGET_SECONDS of its back-projection."""
    for backend in ("fourier", "tomopy", "cgls"):
        scan = scan_of("umpa", rows=rows, columns=columns, projections=projections)
        tomography = scan.config.tomography.model_copy(update={"backend": backend})
        plan = plan_scan(ScanSpec("a", scan.config.model_copy(update={"tomography": tomography})))
        sizes = np.array([stop - start for start, stop in plan.slabs])
        assert sizes.sum() == rows
        # never less than a pair of rows
        assert sizes.max() == 2 or sizes.max() * plan.seconds_per_row <= TARGET_SECONDS
        assert sizes.max() * row_mb(projections, columns, plan.voxel_std) <= TARGET_MB / 1.5
        assert plan.memory_mb("reconstruct") < 1.2 * TARGET_MB + BASE_MB_OTHER


@pytest.mark.parametrize("padding", ["zero", "edge"])
def test_an_iterative_backend_is_planned_by_its_steps_and_its_slices(padding):
    """Total variation of 60 angles at 1024 columns: 0.14 s a step, 200 steps, three volumes, two threads."""
    scan = scan_of("umpa", rows=1024, columns=1024, projections=60)
    tomography = scan.config.tomography.model_copy(update={"backend": "tv", "padding": padding})
    plan = plan_scan(ScanSpec("a", scan.config.model_copy(update={"tomography": tomography})))
    wide = 4 if padding == "edge" else 1
    assert plan.seconds_per_row == pytest.approx(wide * 3 * 200 * 0.15 / 2, rel=0.2)
    assert not plan.voxel_std
    assert plan.backprojection_mb == pytest.approx(wide * 2 * 1024**2 * 90e-6, rel=0.1)


@pytest.mark.parametrize("positions", [3, 20])
def test_a_retrieval_job_asks_for_what_umpa_says_it_takes(positions):
    """The solver's own estimate of one projection (it makes tiles of an image that does not fit)."""
    from speckleflow.retrieval.umpa.retriever import _bytes_per_pixel

    plan = plan_scan(scan_of("umpa", positions=positions))
    needed = _bytes_per_pixel(positions) * 2048 * 2048 / 1e6
    assert needed < plan.memory_mb("retrieve") < 2.5 * needed


@pytest.mark.parametrize(("rows", "wanted"), [(97, 5), (64, 7), (17, 1), (30, 100)])
def test_slabs_begin_at_even_rows(rows, wanted):
    """FBP transforms slices in pairs: the same pairs whatever the slabs, so that results do not depend on them."""
    scan = scan_of("umpa", rows=rows, columns=64, projections=20)
    execution = scan.config.execution.model_copy(
        update={"tomography": scan.config.execution.tomography.model_copy(update={"rows_per_slab": wanted})}
    )
    slabs = plan_scan(ScanSpec("a", scan.config.model_copy(update={"execution": execution}))).slabs
    assert all(start % 2 == 0 for start, _ in slabs)
    assert (slabs[0][0], slabs[-1][1]) == (0, rows)
    assert [stop for _, stop in slabs[:-1]] == [start for start, _ in slabs[1:]]
    assert max(stop - start for start, stop in slabs) <= max(2, wanted)


def test_runtime_of_a_stage_that_reads_and_writes_alone():
    """100 positions of 10,000 x 10,000 px, 8 bytes a pixel, at 50 MB/s: 1600 s, three times of that asked for."""
    plan = Plan(
        projections=10, positions=100, rows=10_000, columns=10_000, blocks=((0, 10),), slabs=(), tomographic=False,
        has_phase=True, bytes_per_pixel=0.0, seconds_per_projection=1.0, seconds_per_row=1.0,
    )  # fmt: skip
    assert plan.runtime_min("inspect") == plan.runtime_min("correct") == 81
