"""Metrics on fields whose errors are known, and the table on one small cell."""

from __future__ import annotations

import csv
import math

import pytest
import torch

from speckleflow.errors import ConfigError
from speckleflow.evaluate.held_out import Cell, scenes
from speckleflow.evaluate.metrics import errors, similarity
from speckleflow.evaluate.table import contenders, evaluate, evaluate_cell, markdown, write_csv
from speckleflow.retrieval.base import Fields


def test_errors_of_known_fields():
    generator = torch.Generator().manual_seed(2)
    ux, uy = torch.randn(2, 1, 200, 200, generator=generator)
    one = torch.ones(1, 200, 200)
    noise = 0.1 * torch.randn(2, 1, 200, 200, generator=generator)
    found = Fields(
        0.9 * one, 0.98 * ux + noise[0], 0.98 * uy + noise[1], 0.8 * one, displacement_std=0.1 * one
    )
    e = errors(found, ux, uy, one, one)
    assert e.rmse == pytest.approx(math.hypot(0.1, 0.02), rel=0.02)
    assert e.bias == pytest.approx(-0.02, abs=0.002)  # 2 % too small, the truth's size is 1
    assert e.percentile99 == pytest.approx(2.576 * e.rmse, rel=0.03)
    assert (e.rmse_transmission, e.rmse_darkfield) == pytest.approx((0.1, 0.2))
    assert e.within_sigma == pytest.approx(0.675, abs=0.01)


def test_the_border_does_not_count_and_the_axes_do():
    """u_x is off by 0.3, u_y by 0.4, T by 0.05 and D by 0.2, and by 100 within 8 pixels of the border."""
    one = torch.ones(1, 50, 40)
    wild = 100 * one
    wild[:, 8:-8, 8:-8] = 0
    truth = 2 * one
    fields = Fields(0.85 * one + wild, truth + 0.3 + wild, truth - 0.4 + wild, 0.8 * one + wild)
    e = errors(fields, truth, truth, 0.9 * one, one)
    assert e.rmse == pytest.approx(math.sqrt((0.09 + 0.16) / 2))
    assert e.bias == pytest.approx(-0.05)
    assert (e.rmse_transmission, e.rmse_darkfield) == pytest.approx((0.05, 0.2))
    assert e.percentile99 == pytest.approx(0.4)
    assert math.isnan(e.within_sigma)
    fields.ux[:, 8, 20] += 10
    assert errors(fields, truth, truth, 0.9 * one, one).rmse > e.rmse + 0.01


@pytest.mark.slow
def test_a_cell_is_the_mean_over_its_scenes():
    """Each scene alone, and both together: squares add up."""
    cell = Cell("mask", 3, 5000.0)
    method = contenders(["umpa:window=9"])["umpa:window=9"]
    scene = scenes(cell, 2)
    squares = []
    for k in range(2):
        fields = method(scene.sample[k : k + 1], method.prepare(scene.reference[k]))
        inner = (0, slice(8, -8), slice(8, -8))
        for u, truth in ((fields.ux, scene.ux), (fields.uy, scene.uy)):
            squares.append(float((u[inner] - truth[k][inner[1:]]).square().mean()))
    together = evaluate_cell(method, cell, 2)
    assert together.rmse == pytest.approx(math.sqrt(sum(squares) / 4), rel=1e-4)
    assert evaluate_cell(contenders(["spinnet"])["spinnet"], cell, 1) is None  # takes one position


def test_missing_fields_are_nan():
    one = torch.ones(1, 40, 40)
    e = errors(Fields(one), one, one, one, one)
    assert math.isnan(e.rmse)
    assert e.rmse_transmission == 0


def test_similarity():
    image = torch.randn(50, 50, generator=torch.Generator().manual_seed(1))
    assert similarity(image, 3 * image + 2) == pytest.approx(1)
    assert similarity(image, -image) == pytest.approx(-1)


def test_scenes_of_a_cell_are_fixed_and_differ_in_noise_alone():
    few, many = (scenes(Cell("grating", 2, p), count=1, size=64) for p in (500.0, 50_000.0))
    again = scenes(Cell("grating", 2, 500.0), count=1, size=64)
    assert torch.equal(few.sample, again.sample)
    assert torch.equal(few.ux, many.ux)
    assert not torch.equal(few.sample, many.sample)


def test_table(tmp_path):
    rows = evaluate(["umpa:window=9", "spinnet"], [Cell("mask", n, 5000.0) for n in (2, 1)], count=1)
    assert [(r["positions"], r["method"]) for r in rows] == [
        (2, "umpa:window=9"),
        (1, "umpa:window=9"),
        (1, "spinnet"),
    ]
    # measured 0.327 and 0.441 (two and one position), 0.208
    for row, limit in zip(rows, (0.4, 0.53, 0.26), strict=True):
        assert 0.1 < row["rmse"] < limit
    text = markdown(rows)
    values = [f"{row['rmse']:.3f}" for row in rows]
    assert text.splitlines()[2] == f"| mask | 5000 | {values[0]} | {values[1]} | {values[2]} |"
    assert text.count("\n") == 3
    assert "N=1 spinnet" in text
    assert "N=2 spinnet" not in text
    write_csv(rows, tmp_path / "t.csv")
    lines = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [line["rmse"] for line in lines] == [f"{row['rmse']:.5g}" for row in rows]
    assert [line["method"] for line in lines] == ["umpa:window=9", "umpa:window=9", "spinnet"]


def test_unknown_method_and_setting():
    with pytest.raises(ConfigError, match="did you mean 'umpa'"):
        contenders(["umpaa"])
    with pytest.raises(ConfigError, match="umpa:windo=3"):
        contenders(["umpa:windo=3"])
