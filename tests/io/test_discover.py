"""A table proposed from a folder: opened again, it gives the scans that lie there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from tests.raw_scan import RawScan, write_data_exchange

from speckleflow.config import load_scans, parse_config
from speckleflow.errors import InputError
from speckleflow.inspection.scan import inspect_scan
from speckleflow.io.discover import propose_scans
from speckleflow.scan.manifest import Manifest
from speckleflow.scan.spec import ScanSpec


def opened(root: Path, folder: str = "raw", **geometry) -> tuple[dict[str, Manifest], list[str]]:
    """The scans of the proposed table, read back and inspected; what was unclear."""
    proposal = propose_scans(root / folder, root)
    (root / "scans.tsv").write_text(proposal.text())
    config = parse_config({"scans": "scans.tsv", "geometry": geometry}, "test")
    scans = load_scans(config, root)
    return {name: inspect_scan(ScanSpec(name, c, root)) for name, c in scans.items()}, proposal.unclear


def frames(count: int, level: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(level, (count, 12, 40)).astype(np.uint16)


def write_folder(folder: Path, stack: np.ndarray, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(stack):
        tifffile.imwrite(folder / f"{name}_{number:04d}.tif", frame)


def absorption(path: Path, *, projections: int = 16, seed: int = 1) -> None:
    write_data_exchange(
        path,
        frames(projections, 5000, seed),
        flats=frames(6, 5000, seed + 1),
        darks=frames(6, 100, seed + 2),
        angles_deg=np.arange(projections) * 180 / projections,
        pixel_size_um=1.5,
    )


def test_positions_are_those_with_a_reference_of_the_same_number(raw_scan: RawScan):
    raw_scan.write()
    shutil.copytree(raw_scan.root / "raw/a", raw_scan.root / "raw/b")
    found, unclear = opened(raw_scan.root)
    assert list(found) == ["a", "b"]
    for name, manifest in found.items():
        assert (manifest.n_projections, manifest.n_positions) == (4, 3)
        assert [e.path for e in manifest.files if e.role == "reference"] == [
            f"raw/{name}/reference_{n:02d}.h5" for n in (1, 2, 3)
        ]
    assert unclear == []


def test_references_in_a_folder_above_are_shared(raw_scan: RawScan):
    raw_scan.write()
    raw = raw_scan.root / "raw"
    (raw / "refs").mkdir()
    shutil.copytree(raw / "a", raw / "b")
    for n in (1, 2, 3):
        shutil.move(raw / f"a/reference_{n:02d}.h5", raw / "refs")
        (raw / f"b/reference_{n:02d}.h5").unlink()
    found, unclear = opened(raw_scan.root)
    assert list(found) == ["a", "b"]
    for manifest in found.values():
        assert [e.path for e in manifest.files if e.role == "reference"] == [
            f"raw/refs/reference_{n:02d}.h5" for n in (1, 2, 3)
        ]
    assert unclear == []


def test_numbered_files_without_references_are_scans_of_their_own(tmp_path):
    for number, projections in ((7, 16), (8, 20)):
        absorption(tmp_path / f"raw/tooth_{number:04d}.h5", projections=projections)
    found, unclear = opened(tmp_path)
    assert {name: manifest.n_projections for name, manifest in found.items()} == {
        "tooth_0007": 16,
        "tooth_0008": 20,
    }
    assert unclear == []


@pytest.mark.parametrize("mixed", [False, True], ids=["a folder of each kind", "all in one folder"])
def test_image_folders_with_flats_that_two_scans_share(tmp_path, mixed):
    """The angles and the pixel size, which images do not hold, are said to be assumed or missing."""
    raw = tmp_path / "raw"
    for scan, count in (("leaf", 16), ("bone", 18)):
        write_folder(raw / scan / ("" if mixed else "proj"), frames(count, 5000), "proj")
    for kind, level in (("flat", 5000), ("dark", 100)):
        for place in (raw / "leaf", raw / "bone") if mixed else (raw,):
            write_folder(place / ("" if mixed else kind), frames(6, level, 3), kind)
    found, unclear = opened(tmp_path, pixel_size_um=2.0)
    assert {name: manifest.n_projections for name, manifest in found.items()} == {"leaf": 16, "bone": 18}
    for name, manifest in found.items():
        place = f"raw/{name}/flat_*.tif" if mixed else "raw/flat"
        assert manifest.flats == place
        assert manifest.last_angle_deg == pytest.approx(180 - 180 / manifest.n_projections)
    assert len(unclear) == 2
    assert "geometry.pixel_size_um" in unclear[0]
    assert "0 to 180 degrees" in unclear[1]


@pytest.mark.parametrize("mixed", [False, True], ids=["a folder of each kind", "all in one folder"])
def test_one_view_at_several_positions(tmp_path, mixed):
    """A number in the folder's own path is no position; a reference series of another length is averaged."""
    raw = tmp_path / "beamtime2/raw"
    for kind, seed in (("mesh_obj", 0), ("mesh_ref", 1)):
        write_folder(
            raw / "rods" / ("" if mixed else kind), frames(13, 5000, seed), kind if mixed else "frame"
        )
    write_folder(raw / "rods" / ("" if mixed else "flat"), frames(5, 5000, 3), "flat")
    found = propose_scans(raw, tmp_path)
    assert list(found.scans) == ["rods_mesh" if mixed else "rods_mesh_frame"]
    (row,) = found.scans.values()
    sample, reference = (Path(row[f"files.{role}"]) for role in ("sample", "reference"))
    here = [raw.relative_to(tmp_path) / "rods" / ("" if mixed else kind) for kind in ("mesh_obj", "mesh_ref")]
    assert [sample.parent, reference.parent] == here
    assert sample.name == ("mesh_obj_{position:04d}.tif" if mixed else "frame_{position:04d}.tif")
    assert row["note"] == "1 frame of 40 x 12, 13 positions"
    assert "geometry.angles" not in row

    for image in [*raw.rglob("mesh_ref*.tif"), *raw.rglob("mesh_ref/*.tif")][:3]:
        image.unlink()
    (row,) = propose_scans(raw, tmp_path).scans.values()
    assert row["note"] == "13 frames of 40 x 12"
    assert row["files.reference"].endswith("mesh_ref_*.tif" if mixed else "mesh_ref")


def test_series_of_the_same_numbers_may_be_a_reference(tmp_path):
    for name in ("with", "without"):
        write_folder(tmp_path / "raw", frames(5, 5000), name)
    found = propose_scans(tmp_path / "raw", tmp_path)
    assert list(found.scans) == ["with", "without"]
    (sentence,) = [s for s in found.unclear if "files.reference" in s]
    assert "raw/with_*.tif and raw/without_*.tif carry the same numbers" in sentence


def test_what_is_not_understood_is_listed_and_stops_nothing(tmp_path):
    raw = tmp_path / "raw"
    absorption(raw / "good.h5")
    (raw / "notes.txt").write_text("sample of Tuesday")
    (raw / "cut.h5").write_bytes((raw / "good.h5").read_bytes()[:5000])
    with h5py.File(raw / "table.h5", "w") as file:
        file["temperature"] = np.arange(5)
    os.mkfifo(raw / "pipe.h5")
    tifffile.imwrite(raw / "dark_of_another_camera.tif", frames(3, 100)[:, :6], photometric="minisblack")
    found, unclear = opened(tmp_path)
    assert list(found) == ["good"]
    for name in ("notes.txt", "cut.h5", "table.h5", "pipe.h5", "dark_of_another_camera.tif"):
        assert sum(name in sentence for sentence in unclear) == 1, name
    comments = [line for line in (tmp_path / "scans.tsv").read_text().splitlines() if line.startswith("#")]
    assert comments == [f"# {sentence}" for sentence in unclear]


def test_an_empty_or_absent_folder_is_said(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=f"{place}: expected"):
            propose_scans(place)
