"""The command line as a user types it."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from speckleflow import cli_networks
from speckleflow.cli import app, main
from speckleflow.evaluate import star, table
from speckleflow.io.sealed_json import write_sealed
from speckleflow.physics import phase_gradient_per_px
from speckleflow.retrieval.registry import specs


def speckleflow(*arguments: object, folder=None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from speckleflow.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """The command failed with one sentence that holds ``parts``, and no traceback."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    """A speckle stack of six positions, and itself dimmed to 0.8 and moved by (2, 1) pixels in (x, y)."""
    folder = tmp_path_factory.mktemp("stacks")
    noise = np.random.default_rng(0).normal(size=(6, 96, 112))
    reference = gaussian_filter(noise, (0, 1.5, 1.5), mode="wrap")
    reference = 1000 * (1 + 0.25 * reference / reference.std())
    sample = 0.8 * np.roll(reference, (1, 2), (1, 2))
    beam = np.linspace(0.5, 1.5, 112) * np.ones((96, 1))
    np.save(folder / "flat.npy", (beam * 1000 + 50)[None])
    np.save(folder / "dark.npy", np.full((1, 96, 112), 50.0))
    np.save(folder / "reference.npy", reference)
    np.save(folder / "sample.npy", sample)
    np.save(folder / "raw_reference.npy", reference * beam + 50)
    np.save(folder / "raw_sample.npy", sample * beam + 50)
    return folder


INNER = np.s_[20:-20, 20:-20]


@pytest.mark.slow
@pytest.mark.parametrize("raw", [False, True])
def test_retrieve_finds_a_known_displacement_transmission_and_dark_field(stacks, tmp_path, raw):
    calibration = ["--flat", stacks / "flat.npy", "--dark", stacks / "dark.npy"] if raw else []
    prefix = "raw_" if raw else ""
    done = speckleflow(
        "retrieve",
        *("--reference", stacks / f"{prefix}reference.npy", "--sample", stacks / f"{prefix}sample.npy"),
        *("--output", tmp_path / "fields.h5", *calibration),
        *("--energy-kev", 20, "--pixel-size-um", 1.3, "--distance-m", 0.2),
    )
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "fields.h5") as file:
        for name, value, tolerance in (
            ("ux", 2.0, 0.005),
            ("uy", 1.0, 0.005),
            ("transmission", 0.8, 0.005),
            ("darkfield", 1.0, 0.01),
        ):
            assert file[name].shape == (96, 112)
            assert file[name].dtype == np.float32
            assert "units" in file[name].attrs
            off = np.abs(file[name][INNER] - value)
            assert np.sqrt(np.mean(off**2)) < tolerance, name
            assert off.max() < 5 * tolerance, name
        # a constant displacement is a ramp of the phase
        gradient = np.diff(file["phase"][INNER], axis=1)
        assert np.median(gradient) == pytest.approx(2 * phase_gradient_per_px(20, 1.3e-6, 0.2), rel=0.02)


@pytest.mark.slow
def test_the_detector_grid_moves_the_fields(stacks, tmp_path):
    for grid in ("reference", "detector"):
        speckleflow(
            "retrieve", "--reference", stacks / "reference.npy", "--sample", stacks / "sample.npy",
            "--output", tmp_path / f"{grid}.h5", "--grid", grid,
        )  # fmt: skip
    with h5py.File(tmp_path / "reference.h5") as a, h5py.File(tmp_path / "detector.h5") as b:
        # T and D differ by noise from pixel to pixel: the detector grid has them where the light arrives
        at_origin, landed = a["transmission"][30:60, 30:60], b["transmission"][31:61, 32:62]
        assert np.allclose(at_origin, landed, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"--method": "umpaa"}, ["umpaa", "did you mean 'umpa'"]),
        ({"--window": "6", "--method": "umpa"}, ["window must be odd", "6"]),
        ({"--window": "7"}, ["method 'auto' has no window", "--method"]),
        ({"--energy-kev": "20"}, ["--pixel-size-um", "found energy_kev"]),
        ({"--reference": "nowhere.npy"}, ["nowhere.npy", "no such file"]),
        ({"--sample": "short.npy"}, ["short.npy", "expected shape (6, 96, 112)", "found shape (5, 96, 112)"]),
        ({"--sample": "nan.npy"}, ["NaN"]),
    ],
)
def test_retrieve_refuses_in_a_sentence_and_writes_nothing(stacks, tmp_path, changes, parts):
    sample = np.load(stacks / "sample.npy")
    np.save(tmp_path / "short.npy", sample[:5])
    sample[0, 3:30] = np.nan  # a quarter of a frame: too much to fill
    np.save(tmp_path / "nan.npy", sample)
    options = {
        "--reference": str(stacks / "reference.npy"),
        "--sample": str(stacks / "sample.npy"),
        "--output": "out.h5",
        **changes,
    }
    done = speckleflow("retrieve", *[word for pair in options.items() for word in pair], folder=tmp_path)
    refused(done, *parts)
    assert not (tmp_path / "out.h5").exists()
    assert not list(tmp_path.glob(".*part"))


@pytest.mark.slow
def test_reconstruct_gives_a_disc_its_value(tmp_path):
    x = np.arange(129) - 60.0
    angles = np.arange(180.0)
    np.save(tmp_path / "s.npy", np.tile(2 * np.sqrt(np.clip(40.0**2 - x**2, 0, None)), (180, 1)) * 0.5)
    np.save(tmp_path / "a.npy", angles)
    done = speckleflow(
        "reconstruct", "--sinogram", "s.npy", "--angles-deg", "a.npy", "--axis", 60, "--output", "slice.npy",
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = np.load(tmp_path / "slice.npy")
    assert made[54:74, 54:74].mean() == pytest.approx(0.5, rel=0.01)
    np.save(tmp_path / "a.npy", angles[:-1])
    done = speckleflow(
        "reconstruct", "--sinogram", "s.npy", "--angles-deg", "a.npy", "--axis", 60, "--output", "no.npy",
        folder=tmp_path,
    )  # fmt: skip
    refused(done, "expected 180 angles", "found 179")
    assert not (tmp_path / "no.npy").exists()


@pytest.mark.parametrize("command", ["retrieve", "reconstruct"])
def test_a_pattern_without_quotes_is_one_short_sentence(capsys, monkeypatch, command):
    names = [f"/data/2026-11/scan_0001/frames_{n:04d}.tif" for n in range(200)]
    option = "--sample" if command == "retrieve" else "--sinogram"
    monkeypatch.setattr(sys, "argv", ["speckleflow", command, option, *names, "--output", "out.h5"])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code == 1
    assert len(said) < 400
    assert f"{option}: expected one name or a pattern in quotes" in said
    assert f"write {option} 'name_*.tif'" in said


@pytest.mark.slow
def test_help_is_a_tour():
    tour = speckleflow("--help").stdout
    for word in ("inspect", "retrieve", "reconstruct", "simulate", "snakemake --profile slurm"):
        assert word in re.sub(r"\s+", " ", tour)


@pytest.mark.slow
def test_the_list_of_methods_fits_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = speckleflow("methods").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    listed = {line.split()[0]: line for line in lines if line and not line.startswith(" ")}
    assert set(listed) >= set(specs())
    for name, gives in (
        ("umpa", ">= 1  u, T, D, s  UMPA"),
        ("pwf", ">= 1  phase, T"),
        ("cade", "1     u, T  "),
    ):
        assert gives in listed[name]


def test_a_typo_in_a_key_names_the_nearest_one(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"geometry": {"energy_kv": 20}}))
    refused(speckleflow("inspect", "config.yaml", folder=tmp_path), "geometry.energy_kv", "'energy_kev'")


def test_inspect_prints_every_scan(raw_scan, monkeypatch):
    """In this process; a scan that is named alone is alone."""
    raw_scan.write()
    monkeypatch.chdir(raw_scan.root)
    Path("scans.tsv").write_text(
        "scan\tfiles.sample\na\traw/a/sample_{position:02d}.h5\nb\traw/a/sample_{position:02d}.h5\n"
    )
    Path("config.yaml").write_text(
        "scans: scans.tsv\nfiles: {reference: 'raw/a/reference_{position:02d}.h5'}\n"
    )
    both = CliRunner().invoke(app, ["inspect", "config.yaml"])
    assert both.exit_code == 0, both.output
    one = CliRunner().invoke(app, ["inspect", "config.yaml", "--scan", "b"])
    assert both.output.count("sample_01.h5") == 2 * one.output.count("sample_01.h5") > 0


def test_curves_of_the_star_are_written(tmp_path, monkeypatch):
    """Every row of both curves, with its setting; the largest bias without its sign."""
    waves = [
        {"method": "umpa", "wavelength_px": w, "bias": b, "rmse": 0.1} for w, b in ((20.0, 0.05), (8.0, 0.5))
    ]
    shifts = [
        {"method": "umpa", "displacement_px": u, "bias": b, "rmse": r}
        for u, b, r in ((0.25, 0.003, 0.01), (0.5, -0.007, 0.02))
    ]
    monkeypatch.setattr(star, "measure_all", lambda methods, setting: (waves, shifts))
    monkeypatch.setattr(table, "contenders", lambda names, device: {})
    cli_networks._star(["umpa"], [3, 5], [200.0], tmp_path / "star.csv", "cpu")
    with (tmp_path / "star.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["positions"], row["curve"]) for row in rows] == [
        (n, curve) for n in ("3", "5") for curve in ("star", "star", "shift", "shift")
    ]
    assert [row["bias"] for row in rows[:4]] == ["0.05", "0.5", "0.003", "-0.007"]
    assert {row["photons"] for row in rows} == {"200"}


def test_curves_of_the_star_are_printed(capsys, monkeypatch):
    rows = [{"method": "umpa", "wavelength_px": 20.0, "bias": 0.05, "rmse": 0.1}]
    shifts = [{"method": "umpa", "displacement_px": 0.5, "bias": -0.007, "rmse": 0.02}]
    monkeypatch.setattr(star, "measure_all", lambda methods, setting: (rows, shifts))
    monkeypatch.setattr(table, "contenders", lambda names, device: {})
    cli_networks._star(["umpa"], [3], [200.0], None, "cpu")
    assert "| 3 | 200 | umpa | 20.0 | 0.0070 | 0.0200 |" in capsys.readouterr().out


def test_the_package_is_a_command_too():
    """As torchrun starts it for several GPUs."""
    done = subprocess.run(
        [sys.executable, "-m", "speckleflow", "--help"], capture_output=True, text=True, timeout=120
    )
    assert "retrieve" in done.stdout


def test_show_takes_a_file_of_the_results_for_their_folder(tmp_path):
    summary = {"scan": "a", "warnings": [], "files": ["v.h5"], "truth": None}
    write_sealed(tmp_path / "summary.json", summary)
    (tmp_path / "volumes.h5").write_bytes(b"")
    done = speckleflow("show", tmp_path / "volumes.h5")
    assert done.returncode == 0
    assert "v.h5" in done.stdout
