"""The manifest is the contract: what is opened later is what was inspected, or a sentence says what is not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from speckleflow.errors import InputError
from speckleflow.io.scan import open_scan
from speckleflow.scan.manifest import Manifest
from speckleflow.stages.raw import open_manifest
from speckleflow.workflow.plan import plan_scan
from tests.stages.chain import Chain


def again(path: Path, keep_time: bool) -> None:
    """Put other data of the same size into a raw file."""
    stat = path.stat()
    with h5py.File(path, "r+", locking=False) as file:
        file["exchange/data"][...] = file["exchange/data"][...][::-1]
    assert path.stat().st_size == stat.st_size
    if keep_time:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def grow(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".tmp"))
    with h5py.File(path.with_suffix(".tmp"), locking=False) as old, h5py.File(path, "r+") as file:
        del file["exchange/data"]
        file["exchange/data"] = np.concatenate([old["exchange/data"][:]] * 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.unlink(), "no such file"),
        (grow, "bytes in place of"),
        (lambda path: again(path, keep_time=False), "one that was changed since"),
        (lambda path: again(path, keep_time=True), "another one of the same size and time"),
        (lambda path: os.truncate(path, 1000), "one of 1000 bytes in place of"),
    ],
    ids=["absent", "grown", "changed", "replaced", "truncated"],
)
@pytest.mark.parametrize("stage", ["correct", "retrieve"])
def test_a_raw_file_that_is_no_longer_the_one_inspected_stops_every_stage(chain, change, words, stage):
    path = chain.raw.path("sample_02")
    change(path)
    with pytest.raises(InputError, match=words) as caught:
        chain.correct() if stage == "correct" else chain.retrieve(0)
    assert str(caught.value).startswith("raw/a/sample_02.h5: expected the raw file that was inspected")


def test_a_file_that_arrives_later_is_not_looked_at(chain):
    """positions: auto was globbed anew in every block: N changed between blocks."""
    before = chain.files("fields")[0].read_bytes()
    for role in ("sample", "reference"):
        shutil.copy(chain.raw.path(f"{role}_03"), chain.raw.path(f"{role}_04"))
    chain.retrieve(0)
    assert chain.files("fields")[0].read_bytes() == before
    assert Manifest.load(chain.manifest).positions == (1, 2, 3)


def test_the_manifest_opens_the_scan_that_was_inspected(chain):
    manifest = Manifest.load(chain.manifest)
    opened, direct = (
        open_manifest(manifest, chain.spec),
        open_scan(chain.spec),
    )
    for key in ("n_projections", "n_positions", "rows", "columns", "dtype", "geometry", "layout"):
        assert getattr(opened, key) == getattr(direct, key), key
    assert np.array_equal(opened.angles_deg, direct.angles_deg)
    assert np.array_equal(opened.read_sample(), direct.read_sample())
    assert np.array_equal(opened.read_reference(), direct.read_reference())
    assert np.array_equal(opened.read_dark().mean, direct.read_dark().mean)
    assert dict(manifest.geometry_from) == dict.fromkeys(
        ("energy_kev", "pixel_size_um", "distance_m"), "raw/a/sample_01.h5"
    )


@pytest.mark.parametrize("damage", ["absent", "cut", "edited", "other settings", "other scan"])
def test_a_manifest_that_is_not_the_one_written_is_refused(chain, damage):
    path = chain.manifest
    values = json.loads(path.read_text())
    words = "manifest"
    if damage == "absent":
        path.unlink()
        words = "no such file"
    elif damage == "cut":
        os.truncate(path, 300)
        words = "damage"
    elif damage == "edited":
        path.write_text(json.dumps({**values, "n_positions": 2}))
        words = "changed or damaged since"
    elif damage == "other settings":
        chain.sections = {"geometry": {"distance_m": 0.3}}
        words = r"one of others \(geometry.distance_m: null -> 0.3\)"
    else:
        other = Chain(chain.raw)
        shutil.copytree(chain.raw.root / "raw/a", chain.raw.root / "raw/b")
        from speckleflow.scan.spec import ScanSpec
        from speckleflow.stages.inspect import inspect

        inspect(ScanSpec("b", other.config, chain.raw.root), output=path)
        words = "expected the manifest of scan a, found that of b"
    for call in (chain.correct, lambda: chain.retrieve(0), lambda: chain.integrate(0), chain.assemble):
        with pytest.raises(InputError, match=words) as caught:
            call()
        assert str(path) in str(caught.value)


def test_an_older_copy_of_a_result_is_refused_by_its_settings(chain):
    """Each stage compares the settings that a result was made with to those of the job."""
    for name, sections, call, words in (
        ("projections.h5", {"tomography": {"axis_px": 22.0}}, lambda: chain.reconstruct(0),
         r"tomography.axis_px: 23.5 -> 22.0"),
        ("corrected.h5", {"correct": {"bad_pixel_sigma": 7.0}}, lambda: chain.retrieve(0),
         r"correct.bad_pixel_sigma: 8.0 -> 7.0"),
    ):  # fmt: skip
        chain.sections = sections
        chain.inspect()
        with pytest.raises(InputError, match=words) as caught:
            call()
        assert name in str(caught.value)


def test_the_plan_follows_from_the_manifest_without_opening_a_header(chain, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a header was opened")

    from_header = plan_scan(chain.spec)
    monkeypatch.setattr("speckleflow.workflow.plan.scan_shape", refuse)
    assert plan_scan(chain.spec, chain.manifest) == from_header
    monkeypatch.undo()
    # other settings or other raw files: the manifest is not asked
    other = chain.raw.spec(correct={"exclude_projections": "1-2"})
    assert plan_scan(other, chain.manifest).projections == 4
    os.utime(chain.raw.path("sample_01"))
    monkeypatch.setattr("speckleflow.workflow.plan.scan_shape", refuse)
    with pytest.raises(AssertionError):
        plan_scan(chain.spec, chain.manifest)
