"""A time series through the real Snakemake: times exact, every frame's phase as simulated, nothing left to do."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from PIL import Image

from speckleflow.report.film import write_films
from speckleflow.report.moving import can_write_mp4
from tests.once import once

pytestmark = pytest.mark.workflow

FRAMES = 6


@pytest.fixture(scope="session")
def series(tmp_path_factory):
    from tests.workflow.conftest import Project, tiny_config

    config = tiny_config(
        simulate={"projections": FRAMES, "phantom": "foaming", "rotation_deg": 0, "frame_s": 0.25, "seed": 3},
        geometry={"axis": "time", "frame_s": 0.25},
    )
    return Project(once(tmp_path_factory, "series", lambda folder: Project(folder, config).run()))


def test_frames_at_their_times(series):
    with h5py.File(series.results() / "projections.h5") as file:
        assert file["time_s"].attrs["units"] == "s"
        assert file["time_s"][:] == pytest.approx(0.25 * np.arange(FRAMES), rel=1e-15)
        assert list(file["entry/phase"].attrs["axes"]) == ["time", "y", "x"]
        assert np.array_equal(file["entry/phase/time"][:], file["time_s"][:])
        assert "rotation_axis_px" not in file.attrs
    assert not (series.results() / "volumes.h5").exists()
    page = (series.results() / "report.html").read_text()
    assert "0.750 s" in page
    assert "Phase, standard deviation over time" in page
    assert '"kind": "series"' in page


def test_each_frame_is_the_simulated_one(series):
    with (
        h5py.File(series.results() / "projections.h5") as file,
        h5py.File(series.folder / "raw/tiny/truth.h5") as truth,
    ):
        pairs = {name: (file[name][:], truth[f"projected/{name}"][:]) for name in ("phase", "transmission")}
    found, true = pairs["phase"]
    error = np.sqrt(np.mean((found - true) ** 2, axis=(1, 2))) / true.std((1, 2))
    assert error.max() < 0.6  # measured 0.21 to 0.45 at 64 x 32 pixels; another sign gives 2
    # what changes in time is in its frame: correlation with every true frame, the mean over time taken off
    found, true = pairs["transmission"]
    changes, truth = ((stack - stack.mean(0)).reshape(FRAMES, -1) for stack in (found, true))
    assert np.array_equal((changes @ truth.T / np.linalg.norm(truth, axis=1)).argmax(1), np.arange(FRAMES))


def test_films_of_every_contrast_in_one_grey_range(series, tmp_path):
    kind = "mp4" if can_write_mp4() else "png"
    films = {path.name for path in (series.results() / "films").glob("[!.]*")}
    contrasts = ("phase", "transmission", "darkfield", "displacement_std", "ux", "uy", "misfit")
    assert films == {f"{contrast}.{kind}" for contrast in contrasts}
    with h5py.File(series.results() / "projections.h5") as file:
        phase = file["phase"][:]
    write_films(series.results() / "projections.h5", tmp_path / "again", mp4=False)
    with Image.open(tmp_path / "again/phase.png") as film:
        assert film.n_frames == FRAMES
        low, high = (float(film.info[f"speckleflow {key}"]) for key in ("low", "high"))
        for k in range(FRAMES):
            film.seek(k)
            assert film.info["duration"] == pytest.approx(250.0)
            grey = np.asarray(film.convert("L"), float)[
                2 : 4 * 32 : 4, 2 : 4 * 64 : 4
            ]  # shown four times as large
            expected = np.clip((phase[k] - low) / (high - low), 0, 1) * 255
            assert np.abs(grey - expected).max() < 1.01  # half of 254 levels, and half of 256


def test_a_second_run_has_nothing_to_do(series):
    done = series.run("--dry-run")
    assert "Nothing to be done" in done.stderr + done.stdout
