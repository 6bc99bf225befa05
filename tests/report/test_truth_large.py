"""The comparison with the truth, slice by slice: the same figures as from whole arrays, in bounded memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from speckleflow.report import truth
from speckleflow.report.neighbourhood import grown_plane
from speckleflow.report.truth import evaluate_truth

SHAPE = (37, 60, 54)
Z, Y, X = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
MATERIALS = {
    "glass": (Z - 12) ** 2 + (Y - 22) ** 2 + (X - 20) ** 2 < 64,
    "foam": (Z - 3) ** 2 + (Y - 40) ** 2 + (X - 34) ** 2 < 50,  # reaches the first slice
    "foil": (Z == 25) & (abs(Y - 30) < 5) & (abs(X - 30) < 9),  # one slice
}
TRUE = 50 * MATERIALS["glass"] + 300 * MATERIALS["foil"].astype(np.float32)
VALUE = (1.03 * TRUE + 1.5 + 15 * np.random.default_rng(0).normal(size=SHAPE) + 0.2 * (X - 27)).astype(
    np.float32
)


def distance(mask: np.ndarray) -> np.ndarray:
    """To the nearest voxel of the mask."""
    return ndimage.distance_transform_edt(~mask)


@pytest.mark.parametrize("radius", [0, 1, 2, 4, 5])
def test_growing_by_a_ball(radius):
    mask = np.random.default_rng(radius).random((9, 20, 17)) < 0.004
    mask[0, 0, 0] = mask[8, 10, 16] = True
    wanted = distance(mask) <= radius
    for z in range(9):
        np.testing.assert_array_equal(grown_plane(lambda k: mask[k], z, 9, radius), wanted[z])


@pytest.mark.parametrize("margin", [0, 1, 2, 3])
def test_figures_are_those_of_the_whole_arrays(margin):
    """Means, errors, background and its drift by scipy on the whole volume, with the definitions in words."""
    table = evaluate_truth({"mu": VALUE}, {"mu": TRUE}, MATERIALS, margin=margin)
    assert (table.slices, table.total_slices, table.margin) == (37, 37, margin)
    for row in table.materials:
        core = distance(~MATERIALS[row.material]) > margin
        core = core if core.any() else MATERIALS[row.material]
        assert row.voxels == core.sum()
        assert row.mean == pytest.approx(VALUE[core].mean(dtype=float), rel=1e-6)
        assert row.expected == pytest.approx(TRUE[core].mean(dtype=float))
        reference = row.expected if row.material != "foam" else 300
        assert row.relative_to == ("range" if row.material == "foam" else "expected")
        assert row.error == pytest.approx((row.mean - row.expected) / reference, abs=1e-9)
    whole = np.any(list(MATERIALS.values()), axis=0)
    circle = np.broadcast_to(np.hypot(Y - 29.5, X - 26.5) <= 26.5, SHAPE)
    background = (distance(whole) > 2 * margin) & circle
    outside = VALUE[background].astype(float)
    weight = ndimage.gaussian_filter(background.astype(float), 4.0)
    smooth = ndimage.gaussian_filter(np.where(background, VALUE, 0).astype(float), 4.0)
    level = (smooth / np.maximum(weight, 1e-9))[background & (weight > 0.5)]
    elsewhere = VALUE[whole & (TRUE == 0)].astype(float)
    wanted = {
        "rmse": np.sqrt(np.mean((VALUE.astype(float) - TRUE)[whole] ** 2)),
        "background_mean": outside.mean(),
        "background_std": outside.std(),
        "background_drift": np.percentile(level, 99) - np.percentile(level, 1),
        "elsewhere_mean": elsewhere.mean(),
        "elsewhere_p95": np.percentile(np.abs(elsewhere), 95),
    }
    (row,) = table.quantities
    assert row.range == 300
    for name, value in wanted.items():
        assert getattr(row, name) == pytest.approx(value / 300, rel=1e-6), name


def test_some_slices_of_a_large_volume(monkeypatch):
    """A quarter of the slices; the foil lies between them and is looked up in its own."""
    monkeypatch.setattr(truth, "COMPARED_VOXELS", 9 * 60 * 54)
    monkeypatch.setattr(truth, "DRIFT_VOXELS", 4 * 60 * 54)
    monkeypatch.setattr(truth, "PERCENTILE_VALUES", 5000)
    some = evaluate_truth({"mu": VALUE}, {"mu": TRUE}, MATERIALS)
    monkeypatch.undo()
    every = evaluate_truth({"mu": VALUE}, {"mu": TRUE}, MATERIALS)
    assert (some.slices, some.total_slices) == (9, 37)
    assert "from 9 of 37 slices" in some.text()
    assert "slices" not in every.text()
    rows = {row.material: row for row in some.materials}
    glass = sum((distance(~MATERIALS["glass"]) > 2)[z].sum() for z in range(2, 37, 4))
    assert rows["glass"].voxels == glass
    assert rows["glass"].mean == pytest.approx(every.materials[0].mean, abs=1.5)  # 400 voxels of 15
    assert rows["foil"].voxels == 9 * 17
    assert rows["foil"].mean == pytest.approx(every.materials[2].mean)
    (few,), (all_,) = some.quantities, every.quantities
    assert few.background_std == pytest.approx(all_.background_std, rel=0.02)
    assert few.background_drift == pytest.approx(all_.background_drift, rel=0.1)
    assert few.elsewhere_p95 == pytest.approx(all_.elsewhere_p95, rel=0.1)


JOB = r"""
import re, resource, sys
from pathlib import Path
import h5py, numpy as np, scipy.ndimage
from speckleflow.report import truth
truth.COMPARED_VOXELS = truth.DRIFT_VOXELS = 2**20
def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = peak()
status = Path("/proc/self/status").read_text()
used = int(re.search(r"VmSize:\s+(\d+)", status)[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20,) * 2)
with h5py.File(sys.argv[1]) as file:
    table = truth.evaluate_truth(file["volumes"], file["truth"], file["masks"])
print(peak() - before, table.slices, table.materials[0].mean)
"""


@pytest.mark.slow
@pytest.mark.parametrize("rows", [40, 160])
def test_memory_does_not_grow_with_the_volume(tmp_path, rows):
    """Under an address limit of 100 MB beyond the imports; the larger volumes and masks take 190 MB."""
    import h5py

    side = 220
    y, x = np.ogrid[:side, :side]
    disc = (y - 100) ** 2 + (x - 120) ** 2 < 60**2
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        chunks = (1, side, side)
        for name in ("delta", "mu", "darkfield"):
            for kind, scale in (("volumes", 1.02), ("truth", 1.0)):
                made = file.create_dataset(f"{kind}/{name}", (rows, side, side), np.float32, chunks=chunks)
                for z in range(rows):
                    made[z] = scale * disc
        made = file.create_dataset("masks/glass", (rows, side, side), np.uint8, chunks=chunks)
        for z in range(rows):
            made[z] = disc
    command = [sys.executable, "-c", JOB, str(tmp_path / "scan.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    grown, slices, mean = done.stdout.split()
    assert float(grown) < 100  # MB; measured 76 and 82 (83 with 500 rows)
    assert int(slices) == 21
    assert float(mean) == pytest.approx(1.02)
