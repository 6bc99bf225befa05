"""The page of a scan, parsed as a browser would."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from speckleflow.report import (
    AxisSearch,
    Picture,
    Quality,
    ReportData,
    Sinogram,
    Timing,
    build_report,
    evaluate_truth,
    load_timings,
    orthogonal_slices,
    spread,
)
from speckleflow.report.numbers import duration, number, percent
from speckleflow.report.page import render

VOID = {"meta", "img", "br", "link", "input", "hr", "use", "path"}


class Page(HTMLParser):
    """Tags that are opened and closed in order, attributes, and text."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.text = [], [], []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open, f"</{tag}> without its start"
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def sections(self):
        return {attrs["id"] for attrs in self.all("section") if "id" in attrs}


def full_report(scan="demo"):
    rng = np.random.default_rng(0)
    volume = rng.normal(0, 1, (12, 20, 20)).astype(np.float32)
    mask = np.zeros(volume.shape, bool)
    mask[4:8, 6:12, 6:12] = True
    truth = {"delta": np.where(mask, 5e-7, 0.0)}
    image = rng.normal(0, 1, (12, 20)).astype(np.float32)
    trials = np.linspace(8, 11, 13)
    return ReportData(
        scan=scan,
        facts=[("Energy", "20 keV")],
        pixel_size_m=1.3e-6,
        projections={name: [Picture(image, "0.0 deg")] for name in ("transmission", "ux", "phase")},
        slices={"delta": orthogonal_slices(volume)},
        sinograms={"delta": Sinogram(image, 6, (0.0, 178.0))},
        axis=AxisSearch(9.7, 9.5, "found in the transmission", trials, (trials - 9.7) ** 2),
        truth=evaluate_truth({"delta": truth["delta"] * 1.02}, truth, {"glass": mask}),
        quality=Quality(fold_share=0.004, bound_share=1e-4, expected_error_px=0.02, curl_px=0.025),
        parameters={"results": "results", "retrieval": {"method": "umpa", "umpa": {"window": "auto"}}},
        timings=[Timing("retrieve", 3, 75.0, 30.0, 900.0)],
        versions={"numpy": "2.0"},
        provenance={"commit": "abc"},
    )


def test_full_page_has_every_part_and_loads_nothing(tmp_path):
    build_report(tmp_path / "report.html", full_report())
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    results = {"volumes", "truth", "projections", "sinograms"}
    assert page.sections == results | {"axis", "quality", "timings", "parameters", "provenance"}
    links = {attrs["href"].removeprefix("#") for attrs in page.all("a")}
    assert links == page.sections
    assert not re.search(r"https?:|//[a-z]|@import|<script|<link", html)
    for attrs in page.all("img"):
        assert attrs["src"].startswith("data:image/png;base64,")
        assert len(attrs["alt"]) > 20
    assert len(page.all("img")) == 3 + 3 + 1
    assert all(a.get("aria-label") for a in page.all("svg"))
    assert len(page.all("html")) == len(page.all("h1")) == 1
    assert page.all("html")[0]["lang"] == "en"
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    text = " ".join(page.text)
    for words in ("+2.0 %", "1 min 15 s", "umpa.window", "Rays cross in 0.40 %", "9.70 px"):
        assert words in text


HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}"


def test_hostile_names_are_only_text():
    data = replace(
        full_report(HOSTILE),
        facts=[(HOSTILE, HOSTILE)],
        projections={HOSTILE: [Picture(np.eye(8), HOSTILE)]},
        warnings=[HOSTILE],
        parameters={HOSTILE: {HOSTILE: HOSTILE}},
        versions={HOSTILE: HOSTILE},
        timings=[Timing(HOSTILE, 1, 1.0, 1.0, None)],
        axis=replace(full_report().axis, method=HOSTILE),
    )
    page = Page(render(data))
    assert not page.all("script")
    assert all(attrs.get("src", "").startswith("data:") for attrs in page.all("img"))
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert HOSTILE in page.text  # whole, as the user wrote it


def test_absent_parts_are_absent():
    page = Page(render(ReportData(scan="one view", projections={"transmission": [Picture(np.eye(16))]})))
    assert page.sections == {"projections"}
    assert {attrs["href"] for attrs in page.all("a")} == {"#projections"}
    assert not [a for _, a in page.tags if a.get("class") == "bar"]  # no pixel size, no scale bar
    text = " ".join(page.text)
    for words in ("Volumes", "truth", "Timings", "None", "nan"):
        assert words not in text
    assert not Page(render(ReportData(scan="nothing"))).sections


def test_axis_that_was_given_has_no_chart():
    page = Page(render(ReportData(scan="s", axis=AxisSearch(9.0, 9.5, "given"))))
    assert page.sections == {"axis"}
    assert not page.all("svg")
    assert "\u22120.50 px" in " ".join(page.text)


def decode(attrs):
    return Image.open(io.BytesIO(base64.b64decode(attrs["src"].split(",")[1])))


def test_pictures_are_the_right_way_up_and_signed_ones_symmetric():
    image = np.zeros((10, 30))
    image[0, :] = 1.0  # top row
    image[:, 0] = -0.5  # left column
    page = Page(render(ReportData(scan="s", projections={"ux": [Picture(image)]})))
    picture = decode(page.all("img")[0])
    assert picture.size == (30, 10)
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    red, blue = pixels[..., 0], pixels[..., 2]
    assert (red - blue)[0, 15] > 50  # positive: red, and on top
    assert (blue - red)[5, 0] > 50  # negative: blue, and on the left
    assert np.ptp(pixels[5, 15]) < 12  # 0 is the neutral middle although the values are not symmetric


def test_delta_slices_show_z_downward():
    volume = np.zeros((6, 10, 14))
    volume[0, :, :] = 1.0
    slices = orthogonal_slices(volume, (3, 4, 5))
    assert (slices.axial.shape, slices.coronal.shape, slices.sagittal.shape) == ((10, 14), (6, 14), (6, 10))
    page = Page(render(ReportData(scan="s", slices={"delta": slices})))
    coronal = np.asarray(decode(page.all("img")[1]))
    assert coronal[0].min() > coronal[1:].max()


def test_large_images_are_binned_for_the_page():
    image = np.random.default_rng(0).random((300, 2500))
    attrs = Page(render(ReportData(scan="s", projections={"phase": [Picture(image)]}))).all("img")[0]
    assert decode(attrs).size == (2500 // 3, 100)
    assert (attrs["width"], attrs["height"]) == ("2500", "300")


@pytest.mark.parametrize("image", [np.full((9, 9), np.nan), np.zeros((9, 9)), np.full((9, 9), 1e-30)])
def test_degenerate_images_are_shown(image):
    Page(render(ReportData(scan="s", projections={"phase": [Picture(image)], "ux": [Picture(image)]})))


def test_warnings_follow_from_the_figures():
    assert Quality().warnings() == []
    assert Quality(fold_share=1e-4, bound_share=1e-3, bad_pixel_share=1e-3, flux_range=0.02).warnings() == []
    bad = Quality(fold_share=0.03, bound_share=0.02, bad_pixel_share=0.05, flux_range=0.3, curl_px=0.2,
                  expected_error_px=0.02, expected_rms_px=0.02)  # fmt: skip
    words = [
        "Rays cross in 3.0 %",
        "2.0 % of the pixels stopped",
        "5.0 % of the detector",
        "30 %",
        "0.200 px",
    ]
    for sentence, word in zip(bad.warnings(), words, strict=True):
        assert word in sentence


def test_timings_are_summed_by_rule_in_the_order_of_the_data(tmp_path):
    head = "s\th:m:s\tmax_rss\tmean_load\n"
    (tmp_path / "retrieve").mkdir()
    (tmp_path / "retrieve" / "0000-0007.tsv").write_text(head + "12.5\t0:00:12\t800.1\t180\n")
    (tmp_path / "retrieve" / "0008-0015.tsv").write_text(head + "10.0\t0:00:10\t810.0\t190\n")
    (tmp_path / "correct.tsv").write_text(head + "1.5\t0:00:01\t-\t-\n")
    (tmp_path / "volume.tsv").write_text(head + "NA\tNA\tNA\tNA\n")
    assert load_timings(sorted(tmp_path.rglob("*.tsv"))[::-1], ("correct", "retrieve", "volume")) == [
        Timing("correct", 1, 1.5, 1.5, None),
        Timing("retrieve", 2, 22.5, 12.5, 810.0),
    ]


def test_numbers_for_people():
    assert number(4.228e-7) == "4.23 \u00d7 10\u207b\u2077"
    assert [number(v) for v in (0, 0.5, -45.27, 1234.6)] == ["0", "0.500", "\u221245.3", "1235"]
    assert [percent(v, True) for v in (-0.0312, 0.00001, 0.2)] == ["\u22123.1 %", "0.00 %", "+20 %"]
    assert [duration(s) for s in (0.84, 59.7, 185, 7800)] == [
        "0.8 s",
        "1 min 00 s",
        "3 min 05 s",
        "2 h 10 min",
    ]


def test_spread_of_projections():
    assert spread(90, 3) == [0, 30, 60]
    assert spread(1, 4) == [0]
