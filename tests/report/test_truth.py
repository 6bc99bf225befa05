"""The table of errors against volumes whose errors were put in by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from speckleflow.errors import InputError
from speckleflow.report.truth import TruthTable, evaluate_truth

SHAPE = (24, 60, 60)


def ball(cz, cy, cx, radius):
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < radius**2


MATERIALS = {"glass": ball(12, 22, 20, 8), "foam": ball(12, 38, 38, 9)}


def phantom(glass, foam):
    return np.where(MATERIALS["glass"], glass, np.where(MATERIALS["foam"], foam, 0.0)).astype(np.float32)


TRUTH = {"delta": phantom(6e-7, 2e-7), "mu": phantom(80.0, 20.0), "darkfield": phantom(0.0, 900.0)}


def rows(table, quantity):
    return {row.material: row for row in table.materials if row.quantity == quantity}


def whole(table, quantity):
    return next(row for row in table.quantities if row.quantity == quantity)


def test_truth_has_no_error():
    table = evaluate_truth(TRUTH, TRUTH, MATERIALS)
    assert all(row.error == 0 for row in table.materials)
    assert all(
        row.rmse == row.background_mean == row.background_std == row.background_drift == 0
        for row in table.quantities
    )


def test_errors_of_means_are_signed_and_relative_to_the_truth():
    found = {
        name: volume * factor for (name, volume), factor in zip(TRUTH.items(), (0.97, 1.04, 1.1), strict=True)
    }
    found["darkfield"] = found["darkfield"] + np.where(MATERIALS["glass"], 45, 0)
    table = evaluate_truth(found, TRUTH, MATERIALS)
    assert rows(table, "delta")["glass"].error == pytest.approx(-0.03, abs=1e-6)
    assert rows(table, "mu")["foam"].error == pytest.approx(0.04, abs=1e-6)
    assert rows(table, "darkfield")["foam"].error == pytest.approx(0.1, abs=1e-6)
    dark = rows(table, "darkfield")["glass"]
    assert (dark.relative_to, dark.error) == ("range", pytest.approx(45 / 900))
    assert whole(table, "darkfield").elsewhere_mean == pytest.approx(45 / 900)
    assert whole(table, "delta").elsewhere_mean is None
    # all voxels of the object, weighted by their number
    n = {name: mask.sum() for name, mask in MATERIALS.items()}
    expected = np.sqrt((n["glass"] * 3.2**2 + n["foam"] * 0.8**2) / sum(n.values())) / 80
    assert whole(table, "mu").rmse == pytest.approx(expected, rel=1e-5)


def test_means_leave_the_blurred_border_out():
    """A border of half the value changes the whole mean by more than a tenth, the inner one not at all."""
    inner = {"glass": ball(12, 22, 20, 6.8), "foam": ball(12, 38, 38, 7.8)}
    found = {"mu": TRUTH["mu"] * np.where(inner["glass"] | inner["foam"], 1.0, 0.5)}
    inside = evaluate_truth(found, TRUTH, MATERIALS, margin=2)
    assert all(abs(row.error) < 1e-6 for row in inside.materials)
    assert all(row.error < -0.1 for row in evaluate_truth(found, TRUTH, MATERIALS, margin=0).materials)
    assert whole(inside, "mu").rmse > 0.1


def test_thin_material_is_taken_whole():
    thin = {"foil": np.zeros(SHAPE, bool)}
    thin["foil"][:, 30, 20:40] = True
    truth = {"mu": np.where(thin["foil"], 5.0, 0.0)}
    row = evaluate_truth({"mu": truth["mu"] * 1.02}, truth, thin).materials[0]
    assert row.voxels == thin["foil"].sum()
    assert row.error == pytest.approx(0.02)


def test_background_noise_is_told_from_drift():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 8.0, SHAPE)
    noisy = whole(evaluate_truth({"mu": TRUTH["mu"] + noise}, TRUTH, MATERIALS), "mu")
    assert noisy.background_std == pytest.approx(0.1, rel=0.02)
    assert noisy.background_drift < 0.02
    slope = np.linspace(-4, 4, SHAPE[2])[None, None, :]
    tilted = whole(evaluate_truth({"mu": TRUTH["mu"] + slope}, TRUTH, MATERIALS), "mu")
    assert 0.07 < tilted.background_drift < 0.1  # of 8 units in 80
    assert abs(tilted.background_mean) < 0.01
    # what lies outside the field of view of some angle is not judged
    corner = np.zeros(SHAPE)
    corner[:, :5, :5] = 1e3
    assert whole(evaluate_truth({"mu": TRUTH["mu"] + corner}, TRUTH, MATERIALS), "mu").background_std == 0


def test_table_survives_json_and_reads_well():
    table = evaluate_truth({"mu": TRUTH["mu"] * 1.031, "darkfield": TRUTH["darkfield"]}, TRUTH, MATERIALS)
    assert TruthTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table
    text = table.text()
    assert "+3.1%" in text
    assert "glass" in text
    assert "delta" not in text


def test_shapes_must_agree():
    with pytest.raises(InputError, match=r"truth 'mu': expected shape \(24, 60, 60\), found \(1, 60, 60\)"):
        evaluate_truth({"mu": TRUTH["mu"]}, {"mu": TRUTH["mu"][:1]}, MATERIALS)
    with pytest.raises(InputError, match="a volume and a material"):
        evaluate_truth({"delta": TRUTH["delta"]}, {"mu": TRUTH["mu"]}, MATERIALS)
