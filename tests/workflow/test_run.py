"""The real Snakemake on a tiny scan: what comes out, what a second run does, what a kill leaves."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.workflow.conftest import Project, environment

pytestmark = pytest.mark.workflow


def hashes(folder: Path) -> dict[str, str]:
    """Hash of every data file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.h5"))
    }


def test_a_run_gives_volumes_with_units_and_a_report(finished):
    with h5py.File(finished.results() / "volumes.h5") as file:
        assert {name for name, item in file.items() if isinstance(item, h5py.Dataset)} == {
            "delta",
            "mu",
            "darkfield",
            *("delta_std", "mu_std", "darkfield_std", "field_of_view"),
        }
        for name, unit in (("delta", "1"), ("mu", "1/m"), ("darkfield", "1/m")):
            assert file[name].shape == (32, 64, 64)
            assert file[name].attrs["units"] == unit
            assert np.allclose(file[name].attrs["voxel_size_m"], 6.5e-6)
            assert np.isfinite(file[name][:]).all()
        assert np.isfinite(file.attrs["rotation_axis_px"])
    assert "<html" in (finished.results() / "report.html").read_text().lower()


def test_blocks_are_joined_in_order(finished):
    with h5py.File(finished.results() / "projections.h5") as file:
        angles = file["angle_deg"][:]
        assert np.allclose(angles, np.arange(12) * 15.0)
        for b in range(3):
            with h5py.File(finished.results() / "fields" / f"block_{b:04d}.h5") as block:
                assert np.array_equal(file["ux"][4 * b : 4 * b + 4], block["ux"][:])
        assert np.abs(file["phase"][:]).max() > 0


def test_results_can_be_moved_as_a_whole(finished, tmp_path):
    moved = tmp_path / "elsewhere"
    subprocess.run(["cp", "-r", finished.results(), moved], check=True)
    with h5py.File(moved / "projections.h5") as file:
        assert np.abs(file["ux"][:]).max() > 0


@pytest.mark.parametrize("limit", [(), ("--max-checksum-file-size", "0")], ids=["small files", "large files"])
def test_a_second_run_has_nothing_to_do(finished, limit):
    """Files under 1 MB are compared by checksum; a limit of 0 stands for blocks of any real size."""
    done = finished.run("--dry-run", *limit)
    assert "Nothing to be done" in done.stderr + done.stdout


def test_an_absent_block_is_made_again(project, finished):
    copy = project()
    subprocess.run(["cp", "-rp", *finished.folder.glob("*"), copy.folder], check=True)
    subprocess.run(["cp", "-rp", finished.folder / ".snakemake", copy.folder], check=True)
    gone = copy.results() / "phase" / "block_0001.h5"
    gone.unlink()
    copy.run()
    assert hashes(copy.results()) == hashes(finished.results())
    for folder in ("fields", "phase"):
        (copy.results() / folder / "block_0002.h5").unlink()
    planned = copy.run("--dry-run").stdout
    assert planned.count("rule retrieve:") == planned.count("rule integrate:") == 1


@pytest.mark.parametrize("after", ["fields/block_0001.h5", "slabs/slab_0000.h5"])
def test_kill_9_in_mid_run_then_the_same_command_again(project, finished, after):
    killed: Project = project()
    running = subprocess.Popen(
        killed.command(cores=1),
        cwd=killed.folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    give_up = time.monotonic() + 240
    while not (killed.results() / after).exists():
        assert running.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < give_up
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    again = killed.run(cores=1)
    assert "its lock was removed" in again.stdout + again.stderr
    assert hashes(killed.results()) == hashes(finished.results())
    assert hashes(killed.folder / "raw") == hashes(finished.folder / "raw")
    assert not list(killed.folder.rglob("*.part")), "private files of the killed jobs are gone"


def test_a_changed_setting_makes_only_what_depends_on_it_again(project, finished):
    copy = project()
    subprocess.run(["cp", "-rp", *finished.folder.glob("*"), copy.folder], check=True)
    subprocess.run(["cp", "-rp", finished.folder / ".snakemake", copy.folder], check=True)
    Project(copy.folder, _with_filter(copy.folder))
    plan = copy.run("--dry-run", "--quiet", "rules").stdout
    jobs = copy.run("--dry-run").stdout
    assert "reconstruct" in jobs, plan
    assert "rule retrieve" not in jobs
    assert "rule correct" not in jobs


def _with_filter(folder: Path) -> dict:
    import yaml

    config = yaml.safe_load((folder / "config.yaml").read_text())
    config.setdefault("tomography", {})["filter"] = "hann"
    return config


def test_an_absent_scan_does_not_stop_the_others(project):
    """Two scans, one without raw files: the other is finished, the absent one has one line."""
    two = project(table="scan\tsimulate.enabled\ntiny\ttrue\ngone\tfalse\n", retrieval={"method": "umpa"})
    planned = two.run("--dry-run", "results/tiny/report.html")
    assert "rule report" in planned.stdout
    done = two.run(check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "raw/gone/sample_{position:02d}.h5: expected at least one sample file" in said
    assert (two.results("tiny") / "report.html").exists()
    assert (two.results("tiny") / "volumes.h5").exists()
    assert not (two.results("gone") / "manifest.json").exists()


def test_signs(finished):
    """A PMMA sphere: phase negative inside, delta positive, the pattern moved outward (a convex lens for X-rays
    spreads: n < 1)."""
    with h5py.File(finished.folder / "raw/tiny/truth.h5") as truth:
        axis = round(truth.attrs["axis_px"])
        true = [truth[f"projected/{name}"][:].mean(0) for name in ("ux", "uy")]
    with h5py.File(finished.results() / "projections.h5") as file:
        phase, ux, uy, t = (file[name][:].mean(0) for name in ("phase", "ux", "uy", "transmission"))
    assert phase[12:20, axis - 4 : axis + 5].mean() < -1
    # 0.9 % is absorbed in the middle, while refraction dims it by 2 % and brightens the edge by 24 %
    assert t[12:20, axis - 4 : axis + 5].mean() == pytest.approx(0.9910, abs=0.008)  # measured: 0.9952
    right, left = np.s_[12:20, axis + 5 : axis + 11], np.s_[12:20, axis - 10 : axis - 4]
    below, above = np.s_[21:27, axis - 4 : axis + 5], np.s_[5:11, axis - 4 : axis + 5]
    for shift, truth, after, before in ((ux, true[0], right, left), (uy, true[1], below, above)):
        assert truth[after].mean() > 0.1 > -0.1 > truth[before].mean()
        for side in (after, before):
            assert 0.6 < shift[side].mean() / truth[side].mean() < 1.1  # measured: 0.71 to 0.78
    with h5py.File(finished.results() / "volumes.h5") as file:
        centre = np.s_[13:19, 28:36, 28:36]
        # xraylib at 20 keV; measured: 6.61e-7
        assert file["delta"][centre].mean() == pytest.approx(6.66e-7, rel=0.05)
