"""The tuning page in a real browser: values, one colour range, linked cursor and zoom, keyboard."""

from __future__ import annotations

import re

import numpy as np
import pytest

from speckleflow.report.pictures import PROJECTION_LOOKS
from speckleflow.report.tuning import Group, TuningPage, Variant, build_tuning_page

SHAPE = (40, 64)


def image(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=SHAPE) * (1 + seed) - 3).astype(np.float32)


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """Two variants; the second has no dark field. The browser shows the page."""
    path = tmp_path_factory.mktemp("tuning") / "tuning.html"
    first = Variant(
        "umpa, window 9",
        {"phase": image(0), "darkfield": image(5)},
        "retrieval:\n  method: umpa",
        [("Curl", "1 px")],
    )
    second = Variant("pwf <b>", {"phase": image(1)}, "retrieval:\n  method: pwf")
    looks = {name: PROJECTION_LOOKS[name] for name in ("phase", "darkfield")}
    group = Group("Projection 0", "Rows 400 to 439.", [first, second], looks, (400, 20))
    build_tuning_page(path, TuningPage("rods </script><b>", [("Energy", "25 keV")], [group]))
    browser.open(path, "document.body.dataset.ready")
    return path


def state(browser, expression: str):
    return browser.value(expression)


def point(browser, variant: int, x: int, y: int) -> None:
    """Move the mouse to an image pixel of a variant; the whole image is shown."""
    box = browser.box(f".variant:nth-child({variant}) canvas")
    scale = min(box["width"] / SHAPE[1], box["height"] / SHAPE[0])
    left = box["x"] + box["width"] / 2 - SHAPE[1] * scale / 2
    top = box["y"] + box["height"] / 2 - SHAPE[0] * scale / 2
    browser.mouse("mouseMoved", left + (x + 0.5) * scale, top + (y + 0.5) * scale)


def shown(browser) -> tuple[str, list[str]]:
    """What stands for the cursor's place, and the values under it."""
    return (
        browser.value("document.querySelector('.place').textContent"),
        browser.value("[...document.querySelectorAll('.value')].map((v) => v.textContent)"),
    )


def test_values_under_the_cursor_are_those_of_all_variants(browser, page):
    for variant, x, y in ((1, 5, 7), (2, 60, 33)):
        point(browser, variant, x, y)
        place, values = shown(browser)
        assert place == f"x {x + 20}, y {y + 400}"
        for text, seed in zip(values, (0, 1), strict=True):
            assert text.endswith(" rad")
            # 16 bits of a range of 7 and 14: half a step is 1e-4; six digits are shown
            assert float(text.removesuffix(" rad")) == pytest.approx(image(seed)[y, x], abs=2e-4)


def test_keys_move_the_cursor_and_the_wheel_zooms_all(browser, page):
    point(browser, 1, 30, 20)
    browser.value("document.querySelector('.variant canvas').focus({preventScroll: true})")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        browser.key(key)
    place, values = shown(browser)
    assert place == "x 52, y 419"
    assert float(values[1].split()[0]) == pytest.approx(image(1)[19, 32], abs=2e-4)
    scales = "[...document.querySelectorAll('.variant canvas')].map((c) => c.scale)"
    before = browser.value(scales)
    box = browser.box(".variant canvas")
    for _ in range(4):
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        browser.mouse("mouseWheel", *middle, deltaX=0, deltaY=-100)
    after = browser.value(scales)
    assert after[0] == after[1] == pytest.approx(before[0] * 1.25**4, rel=1e-6)
    browser.key("0")
    assert browser.value(scales) == before


def test_one_colour_range_and_its_sliders(browser, page):
    browser.value("document.querySelector('.reset').click()")
    pixels = (
        "[...document.querySelectorAll('.variant canvas')].map((c) => {"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let most = 0;"
        "for (let i = 0; i < d.length; i += 4) most = Math.max(most, d[i]); return most; })"
    )
    first, second = browser.value(pixels)
    assert first < second, "the wider values of the second variant are brighter under the common range"
    browser.value(
        "(() => { const high = document.querySelector('.high'); high.value = -3; "
        "high.dispatchEvent(new Event('input')); })()"
    )
    assert browser.value(pixels)[0] == 255


def test_an_absent_contrast_is_said_and_text_is_only_text(browser, page):
    browser.value(
        "(() => { const s = document.querySelector('select'); s.selectedIndex = 1; "
        "s.dispatchEvent(new Event('change')); })()"
    )
    assert "gives no dark field" in shown(browser)[1][1]
    browser.value(
        "(() => { const s = document.querySelector('select'); s.selectedIndex = 0; "
        "s.dispatchEvent(new Event('change')); })()"
    )
    assert browser.value("document.querySelector('h1').textContent") == "rods </script><b>"
    assert browser.value("document.querySelectorAll('.variant pre')[1].textContent").strip() == (
        "retrieval:\n  method: pwf"
    )


def test_nothing_is_asked_for_and_nothing_goes_wrong(browser, page):
    # the tests themselves read pixels back
    assert [words for words in browser.console if "willReadFrequently" not in words] == []
    assert [url for url in browser.requests if not url.startswith(("file:", "about:", "data:"))] == []
    assert not re.search(r"https?:|@import|<link", page.read_text())


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1600, True)])
def test_a_phone_and_a_wide_dark_screen(browser, page, width, dark):
    browser.resize(width, 800, mobile=width < 500)
    browser.dark(dark)
    assert browser.value("document.documentElement.scrollWidth") <= width
    paper = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 200) == dark
    browser.resize(1200, 900)
    browser.dark(False)
