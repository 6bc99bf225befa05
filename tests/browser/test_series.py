"""The report of a time series in a real browser: frames by mouse and keyboard, values equal to the data."""

from __future__ import annotations

import re

import numpy as np
import pytest

from speckleflow.report import page as report_page
from speckleflow.report.data import ReportData, change_over_time
from speckleflow.report.page import build_report
from tests.browser.test_report import click, over

FRAMES, ROWS, COLUMNS = 9, 22, 30
TIMES = [f"{0.25 * k:.3f} s" for k in range(FRAMES)]


def frames(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(-2, 1, (FRAMES, ROWS, COLUMNS)).astype(np.float32)


SERIES = {"transmission": frames(0), "phase": frames(1)}
DATA = ReportData(
    scan="foam",
    pixel_size_m=1.3e-6,
    series=SERIES,
    times=TIMES,
    changes={name: change_over_time(values) for name, values in SERIES.items()},
)


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    build_report(path, DATA)
    browser.open(path, "document.getElementById('look').dataset.ready")
    return path


def told(browser) -> tuple[int, str, int, int, float, str]:
    """Frame, its time, y, x, value and unit that stand above the pictures."""
    text = browser.value("document.querySelector('#look output.place').textContent")
    match = re.fullmatch(r"t (\d+) \((.+)\), y (\d+), x (\d+): (\S+) ?(.*)", text)
    assert match is not None, text
    return int(match[1]), match[2], int(match[3]), int(match[4]), float(match[5]), match[6]


def slide(browser, selector: str, value: int) -> None:
    browser.value(
        f"(() => {{ const s = document.querySelector({selector!r}); s.value = {value}; "
        "s.dispatchEvent(new Event('input')); })()"
    )


def test_the_first_frame_is_shown_first(browser, report):
    t, time, _, _, value, unit = told(browser)
    assert (t, time, unit) == (0, "0.000 s", "")
    assert value == pytest.approx(SERIES["transmission"][0, ROWS // 2, COLUMNS // 2], abs=2e-4)


def test_slider_wheel_and_keys_go_through_time_with_the_value_under_the_cursor(browser, report):
    browser.value(
        "(() => { const s = document.querySelector('#look select'); s.selectedIndex = 1; "
        "s.dispatchEvent(new Event('change')); return new Promise((done) => setTimeout(done, 100)); })()"
    )
    slide(browser, ".plane:nth-child(1) input", 5)
    over(browser, 1, 3, 20, ROWS, COLUMNS)
    t, time, y, x, value, unit = told(browser)
    assert (t, time, y, x, unit) == (5, "1.250 s", 3, 20, "rad")
    # half a step of 16 bits, and six digits
    assert abs(value - SERIES["phase"][5, 3, 20]) < 0.51 * np.ptp(SERIES["phase"]) / 65534 + 2e-5
    box = browser.box(".plane:nth-child(1) canvas")
    browser.mouse("mouseWheel", box["x"] + 9, box["y"] + 9, deltaX=0, deltaY=100)
    assert told(browser)[:2] == (6, "1.500 s")
    click(browser, 1, 7, 11, ROWS, COLUMNS)
    for key in ("PageDown", "ArrowLeft"):
        browser.key(key)
    browser.mouse("mouseMoved", 1, 1)
    t, time, y, x, value, _ = told(browser)
    assert (t, time, y, x) == (7, "1.750 s", 7, 10)
    assert value == pytest.approx(SERIES["phase"][7, 7, 10], abs=2e-4)
    for _ in range(20):
        browser.key("PageDown")
    assert told(browser)[0] == FRAMES - 1, "the last frame is the last"
    # beside: the row of the cross over time
    over(browser, 2, 4, 25, FRAMES, COLUMNS)
    t, time, y, x, value, _ = told(browser)
    assert (t, time, y, x) == (4, "1.000 s", 7, 25)
    assert value == pytest.approx(SERIES["phase"][4, 7, 25], abs=2e-4)


def test_the_change_is_shown_with_its_unit(browser, report):
    heads = browser.value("[...document.querySelectorAll('#changes h3')].map((e) => e.textContent)")
    assert heads == [
        "Transmission, standard deviation over time",
        "Transmission, last frame minus first",
        "Phase, standard deviation over time rad",
        "Phase, last frame minus first rad",
    ]
    low, high = browser.value(
        "[...document.querySelectorAll('#changes figure:nth-child(4) figcaption span')]"
        ".map((e) => e.textContent).filter((t) => t)"
    )
    assert low.removeprefix("\u2212") == high
    assert high.endswith(" rad")


def test_nothing_is_asked_for_and_nothing_goes_wrong(browser, report):
    assert [words for words in browser.console if "willReadFrequently" not in words] == []
    assert [url for url in browser.requests if not url.startswith(("file:", "about:", "data:"))] == []


def test_a_long_series_keeps_its_frames_and_loses_pixels_then_frames(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(report_page, "LEAST_SIDE", 10)
    monkeypatch.setattr(report_page, "MOST_VOXELS", 2 * FRAMES * ROWS * COLUMNS // 8)
    build_report(tmp_path / "report.html", DATA)
    browser.open(tmp_path / "report.html", "document.getElementById('look').dataset.ready")
    slide(browser, ".plane:nth-child(1) input", 2)
    text = browser.value("document.querySelector('#look output.place').textContent")
    assert "mean of 2 \u00d7 2 pixels" in text
    match = re.fullmatch(r"t (\d+) \((.+)\), y (\d+)\u2013\d+, x (\d+)\u2013\d+: (\S+),.*", text)
    assert match is not None, text
    t, y, x = (int(match[k]) for k in (1, 3, 4))
    assert (t, match[2]) == (4, "1.000 s")  # every second frame
    mean = SERIES["transmission"][t, y : y + 2, x : x + 2].mean()
    assert float(match[5]) == pytest.approx(mean, abs=2e-4)


def test_volumes_of_several_times_have_a_slider_of_the_time(browser, tmp_path):
    values = np.random.default_rng(5).normal(3, 1, (3, 8, 10, 12)).astype(np.float32)  # of three times
    build_report(
        tmp_path / "r.html", ReportData(scan="turns", look={"mu": values}, times=["1 s", "3 s", "5 s"])
    )
    browser.open(tmp_path / "r.html", "document.getElementById('look').dataset.ready")
    place = "document.querySelector('#look output.place').textContent"
    assert browser.value(place).startswith("1 s, z 4, y 5, x 6: ")
    slide(browser, "#look input.time", 2)
    text = browser.value(place)
    assert text.startswith("5 s, z 4, y 5, x 6: ")
    assert float(text.split(": ")[1].split()[0]) == pytest.approx(values[2, 4, 5, 6], abs=2e-4)
    browser.value("document.querySelector('.plane:nth-child(1) canvas').focus({preventScroll: true})")
    browser.key(",")
    text = browser.value(place)
    assert text.startswith("3 s, z 4, y 5, x 6: ")
    assert float(text.split(": ")[1].split()[0]) == pytest.approx(values[1, 4, 5, 6], abs=2e-4)


def test_change_over_time_is_numpy_s():
    values = 1e4 + frames(3)
    std, difference = change_over_time(values)
    assert std == pytest.approx(values.astype(float).std(0), rel=1e-6)
    assert difference == pytest.approx(values[-1] - values[0], abs=1e-6)
