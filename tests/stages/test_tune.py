"""The tuning page's contents: what was tried, with which settings, and what the figures are."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from speckleflow.errors import ConfigError, InputError
from speckleflow.io.projections import open_projections
from speckleflow.report.embed import binned, embedded
from speckleflow.stages import tune as stage
from speckleflow.stages.tune import Trial, axis_page, parse_axes, parse_region, parse_vary, tune
from speckleflow.tomo.slab import SlabReconstruction
from tests.stages.chain import Chain


def decoded(item: dict) -> np.ndarray:
    """Values as the page's script reads them."""
    grey = np.frombuffer(zlib.decompress(base64.b64decode(item["data"])), "<u2").astype(float)
    return np.where(grey == 0, np.nan, item["low"] + item["step"] * (grey - 1)).reshape(item["shape"])


def tried(chain: Chain, tmp_path: Path, trial: Trial) -> tuple[str, list[dict]]:
    """The page, and the groups of its data."""
    page = tmp_path / "tuning.html"
    tune(chain.spec, trial, projections=chain.path("projections.h5"), output=page)
    html = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found is not None
    return html, json.loads(found[1])["groups"]


def lines(html: str) -> list[dict]:
    return [yaml.safe_load(text) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", html, re.S)]


def test_the_scan_s_own_settings_give_the_workflow_s_images(finished_chain, tmp_path):
    html, (group,) = tried(finished_chain, tmp_path, Trial(projection=4))
    with h5py.File(finished_chain.path("projections.h5")) as file:
        for item in group["contrasts"]:
            name = {
                "Phase": "phase",
                "Transmission": "transmission",
                "Dark field (visibility ratio)": "darkfield",
            }
            if item["title"] in name:
                true = file[name[item["title"]]][4]
                off = np.abs(decoded(item["images"][0]) - true)
                assert off.max() <= 0.51 * item["images"][0]["step"] + 1e-6 * np.abs(true).max(), item[
                    "title"
                ]
    assert lines(html) == [{"retrieval": {"method": "umpa"}}]
    assert "Expected error (median)" in html
    assert len(html) < 2e6


def test_methods_and_settings_are_tried_each_under_its_label(finished_chain, tmp_path):
    trial = Trial(
        rows=slice(4, 24), columns=slice(6, 40), methods=("umpa", "absorption"), vary={"window": [5, 7]}
    )
    html, (group,) = tried(finished_chain, tmp_path, trial)
    labels = [re.sub("<.*?>", "", text) for text in re.findall(r"<h3>(.*?)</h3>", html) if "dot" in text]
    assert labels == ["umpa, window 5", "umpa, window 7", "absorption"]
    assert lines(html) == [
        {"retrieval": {"method": "umpa", "umpa": {"window": 5}}},
        {"retrieval": {"method": "umpa", "umpa": {"window": 7}}},
        {"retrieval": {"method": "absorption"}},
    ]
    by_title = {item["title"]: item for item in group["contrasts"]}
    ux = by_title["Displacement to the right"]["images"]
    assert ux[2] is None
    assert ux[0]["shape"] == [20, 34]
    assert not np.array_equal(decoded(ux[0]), decoded(ux[1]))
    assert by_title["Phase"]["first"] == [4, 6]
    for item in group["contrasts"]:
        values = np.concatenate([decoded(image).ravel() for image in item["images"] if image])
        low, high = item["range"]
        assert np.mean((values >= low) & (values <= high)) > 0.97, "one range for all"


def test_a_slice_is_labelled_with_the_axis_that_was_used(finished_chain, tmp_path, monkeypatch):
    used: list[tuple[float, str]] = []

    class Recorded(stage.SlabReconstruction):
        def __call__(self, *given):
            used.append((self.axis_px, self.rings["mu"]))
            return super().__call__(*given)

    monkeypatch.setattr(stage, "SlabReconstruction", Recorded)
    trial = Trial(
        methods=("absorption",), with_slice=True, slice_row=7, axes_px=(None, 22.0), rings=("none", "sorting")
    )
    html, (_, group) = tried(finished_chain, tmp_path, trial)
    labels = re.findall(r"</span>(axis .*?)</h3>", html)
    assert labels == [
        f"axis {axis} px, rings {ring}" for axis in ("23.50", "22.00") for ring in ("none", "sorting")
    ]
    assert list(dict.fromkeys(used)) == [
        (axis, ring) for axis in (23.5, 22.0) for ring in ("none", "sorting")
    ]
    assert lines(html)[2:4] == [
        {"tomography": {"axis_px": axis, "rings": dict.fromkeys(("phase", "absorption", "darkfield"), ring)}}
        for axis, ring in ((23.5, "sorting"), (22.0, "none"))
    ]
    with h5py.File(finished_chain.path("volumes.h5")) as file:
        true = file["mu"][7]
    first = next(item for item in group["contrasts"] if "attenuation" in item["title"])["images"][0]
    # slices are transformed in pairs, here alone, and stored in 16 bits
    assert np.abs(decoded(first) - true).max() < 0.51 * first["step"] + 1e-4 * np.abs(true).max()


@pytest.mark.parametrize(
    ("trial", "part"),
    [
        (Trial(projection=6), "--projection: expected 0 to 5, found 6"),
        (Trial(rows=slice(10, 99)), r"--rows: expected a range inside 0:24, found 10:99"),
        (Trial(methods=("umpaa",)), "did you mean 'umpa'"),
        (Trial(vary={"windw": [5]}), "--vary: expected a setting of the compared methods, found 'windw'"),
        (Trial(vary={"window": [6]}), "--vary: .*window must be odd"),
        (
            Trial(methods=("absorption",), with_slice=True, slice_row=24),
            "--slice: expected middle or 0 to 23",
        ),
    ],
)
def test_what_cannot_be_tried_is_a_sentence(finished_chain, tmp_path, trial, part):
    with pytest.raises(ConfigError, match=part):
        tried(finished_chain, tmp_path, trial)
    assert not (tmp_path / "tuning.html").exists()


def test_a_slice_needs_projections(finished_chain, tmp_path):
    trial = Trial(methods=("absorption",), with_slice=True)
    with pytest.raises(
        InputError, match="expected the projections of the scan, for a slice, found no such file"
    ):
        tune(finished_chain.spec, trial, projections=tmp_path / "none.h5", output=tmp_path / "p.html")


def test_options_are_read():
    assert parse_region("400:600", "--rows") == slice(400, 600)
    assert parse_region(":7", "--rows") == slice(None, 7)
    assert parse_axes("290:291:0.25") == (290.0, 290.25, 290.5, 290.75, 291.0)
    assert parse_axes("290") == (290.0,)
    assert parse_axes(None) == (None,)
    assert parse_vary(["window=9,auto"]) == {"window": [9, "auto"]}
    for call, part in (
        (lambda: parse_region("400", "--rows"), "--rows: expected first:stop"),
        (lambda: parse_axes("290:300"), "--axis: expected start:stop:step"),
        (lambda: parse_axes("0:100:0.5"), "at most 40 axes, found 201"),
        (lambda: parse_vary(["window"]), "--vary: expected setting=value"),
    ):
        with pytest.raises(ConfigError, match=part):
            call()


def test_axes_with_commas():
    assert parse_axes("23.5,24") == (23.5, 24.0)


def test_large_images_are_binned_by_means_and_embedded_to_half_a_step():
    values = np.random.default_rng(1).normal(size=(7, 9)).astype(np.float32)
    small = binned(values, 2)
    assert small.shape == (3, 4)
    assert small[2, 3] == pytest.approx(values[4:6, 6:8].mean(), rel=1e-6)
    values[2, 3] = np.nan
    item = embedded(values)
    assert np.isnan(decoded(item)[2, 3])
    assert np.nanmax(np.abs(decoded(item) - values)) <= 0.501 * item["step"]
    assert item["step"] == pytest.approx((np.nanmax(values) - np.nanmin(values)) / 65534)


def test_trial_slices_are_labelled_with_the_value_that_was_used(finished_chain, tmp_path):
    page = tmp_path / "axis.html"
    line = axis_page(
        finished_chain.spec,
        projections=finished_chain.path("projections.h5"),
        output=page,
        step_px=0.125,
        steps=2,
    )
    html = page.read_text(encoding="utf-8")
    labels = re.findall(r"<h3>.*?</span>axis ([\d.]+) px(.*?)</h3>", html)
    # the chain's axis is given as 23.5
    assert labels == [("23.25", ""), ("23.375", ""), ("23.50", " (used)"), ("23.625", ""), ("23.75", "")]
    assert [entry["tomography"]["axis_px"] for entry in lines(html)] == [float(a) for a, _ in labels]
    assert "5 axes; Rotation axis used 23.50 px" in line
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found is not None
    (group,) = json.loads(found[1])["groups"]
    delta = next(item for item in group["contrasts"] if item["unit"] == "")["images"]
    with open_projections(finished_chain.path("projections.h5")) as file:
        row = file.shape("phase")[1] // 2
        for axis, image in ((23.375, delta[1]), (23.75, delta[4])):
            make = SlabReconstruction(file.angles_deg, axis, pixel_size_m=1.3e-6, energy_kev=20.0)
            true = make("delta", file.read("phase", rows=slice(row, row + 1))).slices[0]
            off = np.abs(decoded(image) - true)
            assert off.max() <= 0.51 * image["step"] + 1e-6 * np.abs(true).max()


def test_trial_axes_can_be_given(finished_chain, tmp_path):
    page = tmp_path / "axis.html"
    axis_page(
        finished_chain.spec,
        projections=finished_chain.path("projections.h5"),
        output=page,
        axes_px=(22.0, 25.25),
    )
    assert re.findall(r"</span>axis ([\d.]+) px", page.read_text(encoding="utf-8")) == ["22.00", "25.25"]
    with pytest.raises(InputError, match="until assemble"):
        axis_page(finished_chain.spec, projections=tmp_path / "none.h5", output=page)
