"""Metrics on fields whose errors are known, and the table on one small cell."""

from __future__ import annotations

import math

import pytest
import torch

from speckleflow.errors import ConfigError
from speckleflow.evaluate.held_out import Cell, scenes
from speckleflow.evaluate.metrics import errors, similarity
from speckleflow.evaluate.table import contenders, evaluate, markdown, write_csv
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
    assert all(r["rmse"] < 0.5 for r in rows)
    text = markdown(rows)
    assert text.count("\n") == 3
    assert "N=1 spinnet" in text
    assert "N=2 spinnet" not in text
    write_csv(rows, tmp_path / "t.csv")
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 4


def test_unknown_method_and_setting():
    with pytest.raises(ConfigError, match="did you mean 'umpa'"):
        contenders(["umpaa"])
    with pytest.raises(ConfigError, match="umpa:windo=3"):
        contenders(["umpa:windo=3"])
