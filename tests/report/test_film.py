"""Films of a time series, read back by Pillow and ffmpeg: frames, durations, colours that follow the data, memory."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import psutil
import pytest
from PIL import Image

from speckleflow.errors import InputError
from speckleflow.io import results
from speckleflow.io.results import create, result_file, write_provenance
from speckleflow.report.film import write_films

ROWS, COLUMNS = 90, 160  # shown as they are


def series(path, count, rows=ROWS, columns=COLUMNS, times=None, contrasts=("phase", "ux")):
    """projections.h5 of a square that moves to the right and brightens frame by frame; ux is phase + 2."""
    times = 0.2 * np.arange(count) if times is None else np.asarray(times)
    with result_file(path) as file:
        create(file, "angle_deg", np.zeros(count), unit="deg", description="", dtype="f8")
        create(file, "time_s", times, unit="s", description="", dtype="f8")
        write_provenance(file, stage="assemble", settings={}, raw_files=[])
        for name in contrasts:
            data = create(file, name, shape=(count, rows, columns), unit="", description="")
            for k in range(count):
                image = np.tile(np.linspace(-3, -1, columns, dtype=np.float32), (rows, 1))
                image[20:40, 10 + k : 40 + k] = -2 + k / count
                data[k] = image + 2 * (name == "ux")
    return path


def level(rgb, low, high):
    """Value that a grey picture shows."""
    return low + (high - low) * np.asarray(rgb, float)[..., 0] / 255


def test_an_animated_png_shows_every_frame_in_one_range(tmp_path):
    steps = [0.0, 0.2, 0.4, 0.65]
    write_films(series(tmp_path / "p.h5", 4, times=steps), tmp_path / "films", mp4=False)
    assert {path.name for path in (tmp_path / "films").iterdir()} == {"phase.png", "ux.png"}
    with Image.open(tmp_path / "films/phase.png") as film:
        assert film.n_frames == 4
        assert film.size == (COLUMNS + 96, ROWS + 16)
        low, high = (float(film.info[f"speckleflow {key}"]) for key in ("low", "high"))
        assert film.info["speckleflow unit"] == "rad"
        assert (low, high) == pytest.approx((-3, -1), abs=1e-6)
        strips = set()
        for k, shown in enumerate((200, 200, 250, 200)):
            film.seek(k)
            assert film.info["duration"] == shown
            picture = np.asarray(film.convert("RGB"))
            strips.add(picture[ROWS:, :70].tobytes())
            true = np.tile(np.linspace(-3, -1, COLUMNS), (ROWS, 1))
            true[20:40, 10 + k : 40 + k] = -2 + k / 4
            error = np.abs(level(picture[:ROWS, :COLUMNS], low, high) - true)
            assert error.max() < 1.01 / 253 + 1 / 255  # 254 greys, rounded to 256
        assert len(strips) == 4  # the time of each
        bar = picture[:ROWS, COLUMNS + 10, 0].astype(float)
        assert bar[0] == 255  # high on top
        assert bar[-1] == 0
        assert bar == pytest.approx(np.linspace(255, 0, ROWS), abs=2.01)
    with Image.open(tmp_path / "films/ux.png") as film:
        ends = [float(film.info[f"speckleflow {key}"]) for key in ("low", "high")]
        assert ends[0] == -ends[1]  # signed: 0 in the middle
        red, _, blue = np.asarray(film.convert("RGB"), float)[60, [5, COLUMNS - 5]].T
        assert blue[0] > red[0] + 50  # negative is blue, positive is red
        assert red[1] > blue[1] + 50


def test_small_frames_are_shown_larger(tmp_path):
    write_films(series(tmp_path / "p.h5", 2, 60, 80), tmp_path / "films", mp4=False)
    with Image.open(tmp_path / "films/phase.png") as film:
        assert film.size == (3 * 80 + 96, 3 * 60 + 16)
        picture = np.asarray(film.convert("L"))[:180, :240]
    assert np.array_equal(picture, picture[1::3, 1::3].repeat(3, 0).repeat(3, 1))


@pytest.mark.parametrize(
    ("times", "fps", "repeats"),
    [(0.2 * np.arange(5), 5.0, [1, 1, 1, 1, 1]), ([0, 0.05, 0.1, 0.25, 0.3], 20.0, [1, 1, 3, 1, 1])],
)
def test_an_mp4_shows_every_frame_in_one_range(tmp_path, times, fps, repeats):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    write_films(series(tmp_path / "p.h5", 5, times=times), tmp_path / "films", mp4=True)
    frames = ffmpeg.read_frames(str(tmp_path / "films/phase.mp4"))
    meta = next(frames)
    assert meta["size"] == (COLUMNS + 96, ROWS + 16)
    assert meta["fps"] == pytest.approx(fps)
    assert meta["codec"] == "h264"
    width, height = meta["size"]
    pictures = [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in frames]
    assert len(pictures) == sum(repeats)
    at = np.cumsum([0, *repeats])
    errors, strips = [], []
    for k in range(5):
        true = np.tile(np.linspace(-3, -1, COLUMNS), (ROWS, 1))
        true[20:40, 10 + k : 40 + k] = -2 + k / 5
        shown = level(pictures[at[k]][:ROWS, :COLUMNS], -3, -1)
        errors.append(np.abs(shown - true))
        strips.append(pictures[at[k]][ROWS:, :70, 0].astype(float))
    assert np.mean(errors) < 0.015  # measured 0.0053 of a range of 2
    assert np.quantile(errors, 0.999) < 0.05  # measured 0.0175
    assert min(np.abs(strips[k] - strips[k + 1]).max() for k in range(4)) > 100  # the time of each
    said = subprocess.run(
        [ffmpeg.get_ffmpeg_exe(), "-i", str(tmp_path / "films/phase.mp4"), "-f", "ffmetadata", "-"],
        capture_output=True,
        text=True,
    ).stdout
    comment = next(line for line in said.splitlines() if line.startswith("comment="))
    texts = json.loads(comment.removeprefix("comment=").replace("\\", ""))
    assert texts["speckleflow contrast"] == "phase"
    assert float(texts["speckleflow low"]) == pytest.approx(-3, abs=1e-6)


def test_films_are_the_same_bytes_again(tmp_path):
    source = series(tmp_path / "p.h5", 3)
    names = ("a", "b")
    for name in names:
        write_films(source, tmp_path / name)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in names)
    assert one == two


def test_a_film_is_a_png_where_ffmpeg_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    write_films(series(tmp_path / "p.h5", 2), tmp_path / "films")
    assert {path.name for path in (tmp_path / "films").iterdir()} == {"phase.png", "ux.png"}


def test_rotation_angles_are_no_film(tmp_path):
    with result_file(tmp_path / "p.h5") as file:
        create(file, "angle_deg", np.arange(3.0), unit="deg", description="", dtype="f8")
    with pytest.raises(InputError, match=r"expected a time series .* found rotation angles"):
        write_films(tmp_path / "p.h5", tmp_path / "films")


class Peak(threading.Thread):
    """The largest memory of the children of this process, looked at every 5 ms."""

    def __enter__(self):
        self.largest, self.over = 0, threading.Event()
        self.start()
        return self

    def run(self):
        while not self.over.wait(0.005):
            with contextlib.suppress(psutil.Error):
                # not a copy of this process that has not become ffmpeg yet
                encoders = [child for child in psutil.Process().children() if "ffmpeg" in child.name()]
                sizes = [child.memory_info().rss for child in encoders]
                self.largest = max(self.largest, sum(sizes))

    def __exit__(self, *_):
        self.over.set()
        self.join()


@pytest.mark.parametrize("mp4", [False, True])
def test_memory_does_not_follow_the_length(tmp_path, monkeypatch, mp4):
    if mp4:
        pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setattr(results, "_SEALED_BYTES", 0)  # a small file is read whole to check its seal
    size, peaks = (96, 128), []
    for count in (5, 60, 120):  # the first loads what is loaded once
        source = series(tmp_path / f"{count}.h5", count, *size, contrasts=["phase"])
        tracemalloc.start()
        with Peak() as children:
            write_films(source, tmp_path / f"films{count}", mp4=mp4)
        peaks.append((tracemalloc.get_traced_memory()[1], children.largest))
        tracemalloc.stop()
    (short, child), (long, grown) = peaks[1:]
    # with 60 frames more: measured none of ours more, and 0.4 % in ffmpeg, which looks 40 frames ahead
    assert long - short < size[0] * size[1] * 4
    assert grown <= 1.1 * child
