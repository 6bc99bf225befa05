"""``import speckleflow as sf``: quick to import, and the same numbers as the workflow."""

from __future__ import annotations

import inspect
import runpy
import shutil
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

import speckleflow as sf
from speckleflow import api
from speckleflow.errors import ConfigError, InputError
from speckleflow.physics import phase_gradient_per_px
from tests.raw_scan import RawScan
from tests.stages.chain import Chain
from tests.workflow.conftest import ROOT


def test_the_import_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, time; start = time.process_time(); import speckleflow as sf; dir(sf); "
        "print(time.process_time() - start, sorted({'torch', 'numpy', 'h5py', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, _, heavy = done.stdout.strip().partition(" ")
    assert heavy == "[]"
    assert float(seconds) < 0.3  # measured: 0.02 s


def test_names_are_documented_and_typed():
    for name in set(sf.__all__) - {"__version__"}:
        item = getattr(sf, name)
        assert item is getattr(api, name)
        assert item.__doc__
        if inspect.isfunction(item):
            hints = set(item.__annotations__)
            assert hints == {*inspect.signature(item).parameters, "return"}, name
    with pytest.raises(AttributeError, match="no attribute 'retreive'"):
        sf.retreive  # noqa: B018
    assert "umpa" in sf.methods()


@pytest.fixture(scope="module")
def project(finished_chain, tmp_path_factory) -> Chain:
    """A copy of the finished chain with a configuration and a scan table that open the same scan."""
    root = tmp_path_factory.mktemp("api") / "p"
    shutil.copytree(finished_chain.raw.root, root)
    (root / "scans.tsv").write_text("scan\na\n")
    (root / "config.yaml").write_text("scans: scans.tsv\nretrieval: {method: umpa}\n")
    return Chain(RawScan(root, projections=6, size=(24, 48)))


def test_arrays_go_the_workflow_s_way(project, monkeypatch):
    """Frames, fields, phase and slices equal those in the files of the stages."""
    monkeypatch.chdir(project.raw.root)
    scan = sf.open("config.yaml")
    assert len(scan) == 6
    assert (scan.geometry.energy_kev, scan.geometry.pixel_size_um) == (20.0, 1.3)
    with h5py.File(project.path("corrected.h5")) as file:
        assert np.array_equal(scan.reference, file["reference"][()])
    fields = sf.retrieve(scan.reference, scan.frames(slice(2, 5)), method="umpa")
    made = sf.results(project.path("projections.h5"))
    assert np.array_equal(scan.angles_deg, made["angle_deg"])
    for name in ("transmission", "darkfield", "displacement_std"):
        assert np.array_equal(fields[name], made.read(name, slice(2, 5))), name
    whole = {name: made[name] for name in ("ux", "uy", "displacement_std", "flags")}
    phase = sf.integrate(whole, scan.geometry, air=scan.air)
    assert np.array_equal(phase, made["phase"])
    for quantity, contrast in (("delta", "phase"), ("mu", "transmission"), ("darkfield", "darkfield")):
        volume = sf.reconstruct(
            made[contrast], scan.angles_deg, 23.5, quantity=quantity, geometry=scan.geometry
        )
        true = sf.results(project.path("volumes.h5"))[quantity]
        # slices are transformed in pairs, here others than in the slabs: measured at most 3.6e-5
        assert np.abs(volume - true).max() < 1e-4 * np.abs(true).max(), quantity


def test_a_single_projection_has_no_axis_of_projections(project, monkeypatch):
    monkeypatch.chdir(project.raw.root)
    scan = sf.open("config.yaml", "a")
    assert scan.frames(-1).shape == (3, 24, 48)
    assert np.array_equal(scan.frames(-1), scan.frames(slice(5, 6))[0])
    fields = sf.retrieve(scan.reference, scan.frames(1), "umpa", settings={"window": 7})
    assert fields["ux"].shape == (24, 48)
    assert sf.integrate(fields, scan.geometry).shape == (24, 48)


def test_settings_reach_the_method():
    rng = np.random.default_rng(3)
    reference = 1 + 0.2 * rng.random((3, 24, 32), np.float32)
    sample = np.roll(reference, 1, 2)
    small, large = (
        sf.retrieve(reference, sample, "umpa", settings={"window": window})["ux"] for window in (5, 9)
    )
    assert not np.array_equal(small, large)
    with pytest.raises(ConfigError, match=r"settings: .*windw.*'window'"):
        sf.retrieve(reference, sample, "umpa", settings={"windw": 9})
    with pytest.raises(ConfigError, match="did you mean 'umpa'"):
        sf.retrieve(reference, sample, "umpaa")


def test_a_ramp_of_the_displacement_is_a_parabola_of_the_phase():
    """u = a x: the gradient of the phase is 2 pi p^2 u / (lambda d) a pixel (docs/physics.md)."""
    x = np.arange(64) - 31.5
    ux = np.tile((0.02 * x).astype(np.float32), (40, 1))
    geometry = sf.Geometry(1.3, energy_kev=20.0, distance_m=0.2)
    phase = sf.integrate({"ux": ux, "uy": 0 * ux}, geometry)
    slope = np.gradient(phase[20])[8:-8]
    true = 0.02 * x[8:-8] * phase_gradient_per_px(20.0, 1.3e-6, 0.2)
    assert np.abs(slope - true).max() < 0.006 * np.abs(true).max()  # measured: 0.0020


def test_the_axis_of_a_disc_off_the_middle():
    angles = np.arange(0, 180, 3.0)
    x = np.arange(65) - 30.2
    place = 9 * np.cos(np.deg2rad(angles))[:, None]
    thickness = 2 * np.sqrt(np.clip(12.0**2 - (x - place) ** 2, 0, None))
    stack = np.repeat(np.exp(-0.02 * thickness)[:, None], 5, 1)
    assert sf.find_axis(stack, angles) == pytest.approx(30.2, abs=0.1)  # measured: 0.04 off
    mu = sf.reconstruct(stack, angles, 30.2, quantity="mu", geometry=sf.Geometry(2.0))
    # 0.02 a pixel of 2 um is 1e4 1/m; the disc stands 9 px along +x at angle 0
    assert mu[2, 28:37, 37:46].mean() == pytest.approx(1e4, rel=0.003)  # measured: 9992


def test_refusals_are_sentences(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project.raw.root)
    with pytest.raises(ConfigError, match=r"expected one of the scan table \(a\), found 'b'"):
        sf.open("config.yaml", "b")
    with pytest.raises(ConfigError, match=r"speckleflow\.results reads results"):
        sf.open(project.path("volumes.h5"))
    with pytest.raises(InputError, match=r"expected one of the datasets .*mu.*, found 'nu'"):
        sf.results(project.path("volumes.h5"))["nu"]
    with pytest.raises(InputError, match="expected ux and uy"):
        sf.integrate({"transmission": np.ones((4, 4))}, sf.Geometry(1.0, 20.0, 0.1))
    with pytest.raises(InputError, match=r"expected shape \(projection, y, x\)"):
        sf.reconstruct(np.ones((4, 4)), np.arange(4.0), 1.5, quantity="mu", geometry=sf.Geometry(1.0))
    (tmp_path / "two.tsv").write_text("scan\na\nb\n")
    (tmp_path / "two.yaml").write_text(f"scans: {tmp_path}/two.tsv\n")
    with pytest.raises(ConfigError, match=r"\(a, b\), found none named"):
        sf.open(tmp_path / "two.yaml")


def test_a_result_says_units_and_warnings(project):
    file = sf.results(project.path("volumes.h5"))
    assert set(file.names) == {
        "delta",
        "mu",
        "darkfield",
        "delta_std",
        "mu_std",
        "darkfield_std",
        "field_of_view",
    }
    assert (file.unit("mu"), file.shape("mu")) == ("1/m", (24, 48, 48))
    assert file.attrs["voxel_size_m"] == pytest.approx(1.3e-6)
    assert np.array_equal(file.read("mu", slice(3, 5)), file["mu"][3:5])
    assert "mu" in file
    assert isinstance(file.warnings, list)


def test_the_example_goes_from_file_to_volume(project, monkeypatch, tmp_path, capsys):
    """docs/examples/file_to_volume.py as it stands, on six projections of 180 degrees."""
    script = ROOT / "docs/examples/file_to_volume.py"
    lines = [line for line in script.read_text().splitlines() if "sf." in line]
    assert len(lines) <= 6
    monkeypatch.chdir(project.raw.root)
    monkeypatch.setattr(sys, "argv", [str(script), "config.yaml"])
    start = time.monotonic()
    names = runpy.run_path(str(script))
    assert time.monotonic() - start < 60
    assert names["delta"].shape == (24, 48, 48)
    assert np.isfinite(names["delta"]).all()
    assert "shape (24, 48, 48)" in capsys.readouterr().out
    assert np.array_equal(np.load("delta.npy"), names["delta"])
