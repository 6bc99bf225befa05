"""The report's volumes in a real browser: scrolled in three directions, values equal to the file's."""

from __future__ import annotations

import re

import numpy as np
import pytest

from speckleflow.report import page as report_page
from speckleflow.report.data import ReportData, orthogonal_slices
from speckleflow.report.page import build_report

SHAPE = (14, 22, 30)


def volume(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (10.0 ** (-6 * (seed == 0)) * rng.normal(2, 1, SHAPE)).astype(np.float32)


VOLUMES = {"delta": volume(0), "mu": volume(1), "darkfield": volume(2)}
DATA = ReportData(
    scan="rods",
    pixel_size_m=1.3e-6,
    slices={name: orthogonal_slices(values) for name, values in VOLUMES.items()},
    look=VOLUMES,
)


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    build_report(path, DATA)
    browser.open(path, "document.getElementById('look').dataset.ready")
    return path


def told(browser) -> tuple[list[int], float, str]:
    """(z, y, x), value and unit that stand above the planes."""
    text = browser.value("document.querySelector('#look output.place').textContent")
    match = re.fullmatch(r"z (\d+), y (\d+), x (\d+): (\S+) ?(.*)", text)
    assert match is not None, text
    return [int(match[k]) for k in (1, 2, 3)], float(match[4]), match[5]


def choose(browser, number: int) -> None:
    browser.value(
        f"(() => {{ const s = document.querySelector('#look select'); s.selectedIndex = {number}; "
        "s.dispatchEvent(new Event('change')); })()"
    )
    browser.value("new Promise((done) => setTimeout(done, 100))")


def over(
    browser, plane: int, row: int, column: int, rows: int, columns: int, kind: str = "mouseMoved"
) -> None:
    """A mouse event at a voxel of a plane."""
    box = browser.box(f".plane:nth-child({plane}) canvas")
    scale = min(box["width"] / columns, box["height"] / rows)
    left = box["x"] + (box["width"] - columns * scale) / 2
    top = box["y"] + (box["height"] - rows * scale) / 2
    more = {} if kind == "mouseMoved" else {"button": "left", "buttons": 1, "clickCount": 1}
    browser.mouse(kind, left + (column + 0.5) * scale, top + (row + 0.5) * scale, **more)


def click(browser, *place: int) -> None:
    for kind in ("mousePressed", "mouseReleased"):
        over(browser, *place, kind=kind)


@pytest.mark.parametrize(
    ("number", "name", "unit"), [(0, "delta", ""), (1, "mu", "1/m"), (2, "darkfield", "1/m")]
)
def test_values_under_the_cursor_are_the_file_s(browser, report, number, name, unit):
    choose(browser, number)
    depth, height, width = SHAPE
    step = np.ptp(VOLUMES[name]) / 65534
    click(browser, 1, 5, 9, height, width)  # the cross to y 5, x 9
    for plane, row, column, rows, columns, place in (
        (1, 3, 20, height, width, (depth // 2, 3, 20)),
        (2, 11, 7, depth, width, (11, 5, 7)),
        (3, 2, 18, depth, height, (2, 18, 9)),
    ):
        over(browser, plane, row, column, rows, columns)
        at, value, shown = told(browser)
        assert tuple(at) == place
        assert shown == unit
        # half a step of 16 bits, and six digits
        assert abs(value - VOLUMES[name][place]) < 0.51 * step + 1e-5 * abs(VOLUMES[name][place])


def test_wheel_slider_and_keys_scroll_in_three_directions(browser, report):
    choose(browser, 1)
    depth, height, width = SHAPE
    click(browser, 1, 10, 10, height, width)
    at, _, _ = told(browser)
    box = browser.box(".plane:nth-child(2) canvas")
    browser.mouse("mouseWheel", box["x"] + 9, box["y"] + 9, deltaX=0, deltaY=100)
    browser.value(
        "(() => { const s = document.querySelector('.plane:nth-child(3) input'); s.value = 27; "
        "s.dispatchEvent(new Event('input')); })()"
    )
    browser.value("document.querySelector('.plane:nth-child(1) canvas').focus({preventScroll: true})")
    for key in ("PageDown", "PageDown", "ArrowUp", "ArrowRight"):
        browser.key(key)
    place = (at[0] + 2, at[1] + 1 - 1, 28)
    found, value, _ = told(browser)
    assert tuple(found) == place
    assert value == pytest.approx(VOLUMES["mu"][place], abs=1e-4)
    labels = browser.value("[...document.querySelectorAll('.plane .at')].map((e) => e.textContent)")
    assert labels == [f"{axis} = {n}" for axis, n in zip("zyx", place, strict=True)]
    for _ in range(40):
        browser.key("PageDown")
    assert told(browser)[0][0] == depth - 1, "the last slice is the last"


def test_contrasts_are_linked_and_the_window_changes_the_picture(browser, report):
    choose(browser, 1)
    place = told(browser)[0]
    choose(browser, 2)
    assert told(browser)[0] == place
    bright = (
        "(() => { const c = document.querySelector('.plane canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; let n = 0;"
        "for (let i = 0; i < d.length; i += 4) n += d[i]; return n; })()"
    )
    before = browser.value(bright)
    browser.value(
        "(() => { const s = document.querySelector('#look .high'); s.value = s.min; "
        "s.dispatchEvent(new Event('input')); })()"
    )
    assert browser.value(bright) > before
    browser.value("document.querySelector('#look .reset').click()")
    assert browser.value(bright) == before


def test_a_touch_moves_the_cross(browser, report):
    box = browser.box(".plane:nth-child(1) canvas")
    scale = box["width"] / SHAPE[2]
    point = [{"x": box["x"] + 4.5 * scale, "y": box["y"] + 6.5 * scale}]
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=point)
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert told(browser)[0][1:] == [6, 4]


def test_nothing_is_asked_for_and_nothing_goes_wrong(browser, report):
    assert [words for words in browser.console if "willReadFrequently" not in words] == []
    assert [url for url in browser.requests if not url.startswith(("file:", "about:", "data:"))] == []
    html = report.read_text()
    assert not re.search(r"https?:|@import|<link", html)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert "'unsafe-inline'" not in policy[1].split("script-src")[1]


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1600, True)])
def test_a_phone_and_a_wide_dark_screen(browser, report, width, dark):
    browser.resize(width, 800, mobile=width < 500)
    browser.dark(dark)
    assert browser.value("document.documentElement.scrollWidth") <= width
    paper = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 200) == dark
    browser.resize(1200, 900)
    browser.dark(False)


def test_a_large_volume_is_shown_by_its_means(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(report_page, "MOST_VOXELS", 3 * np.prod(SHAPE) // 7)
    build_report(tmp_path / "report.html", DATA)
    browser.open(tmp_path / "report.html", "document.getElementById('look').dataset.ready")
    text = browser.value("document.querySelector('#look output.place').textContent")
    assert "mean of 2 \u00d7 2 \u00d7 2 voxels" in text
    z, y, x = (int(n) for n in re.findall(r"[zyx] (\d+)\u2013", text))
    value = float(text.partition(": ")[2].split(",")[0])
    assert value == pytest.approx(VOLUMES["delta"][z : z + 2, y : y + 2, x : x + 2].mean(), rel=1e-4)
