"""Star pattern and bias curve: methods whose loss is known by formula."""

from __future__ import annotations

import math

import pytest
import torch

from speckleflow.evaluate import star
from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.retrieval.filters import filter_xy, gaussian
from speckleflow.retrieval.spec import MethodSpec
from speckleflow.retrieval.umpa.retriever import Umpa
from speckleflow.retrieval.umpa.settings import UmpaSettings

SIGMA = 3.0


class Blurred(Retriever):
    """Gives the star's truth, blurred: its loss at a wavelength is that of the Gaussian."""

    spec = MethodSpec(
        "blurred", "The truth, blurred.", f"{__name__}:Blurred", frozenset({"ux", "uy", "transmission"})
    )

    def _prepare(self, reference, acquisition):
        return tuple(reference.shape)

    def _reference_shape(self, state):
        return state

    def _retrieve(self, sample, state):
        y, x = torch.meshgrid(torch.arange(star.HEIGHT + 0.0), torch.arange(star.WIDTH + 0.0), indexing="ij")
        u = star.star_displacement(y, x)[None]
        u = filter_xy(u, gaussian(0.0), gaussian(SIGMA), "mirror")
        return Fields(torch.ones_like(u), torch.zeros_like(u), u)


def test_resolution_of_a_known_blur():
    rows = star.star(Blurred(None), star.Setting(positions=1, scenes=1))
    for row in rows[::40]:
        lost = 1 - math.exp(-((2 * math.pi * SIGMA / row["wavelength_px"]) ** 2) / 2)
        assert row["bias"] == pytest.approx(lost, abs=0.02)
    # exp(-(2 pi sigma / w)^2 / 2) = 0.9
    expected = 2 * math.pi * SIGMA / math.sqrt(-2 * math.log(0.9))
    assert star.resolution(rows) == pytest.approx(expected, rel=0.05)


def test_resolution_of_a_method_that_never_gets_there():
    assert math.isnan(star.resolution([{"wavelength_px": 50.0, "bias": 0.2}]))


def test_umpa_finds_constant_shifts_and_the_long_waves():
    method, setting = Umpa(UmpaSettings()), star.Setting(positions=3, photons=50_000.0, scenes=1)
    reference, sample, truth = star._scene(setting, 0, 0.4)
    fields = method(sample[None], method.prepare(reference))
    assert float((fields.ux[0] - truth[0])[12:-12, 12:-12].mean().abs()) < 0.01
    assert float((fields.uy[0] - 0.4)[12:-12, 12:-12].mean().abs()) < 0.01
    rows = star.star(method, setting)
    assert abs(rows[-1]["bias"]) < 0.1  # 100 px
    assert rows[0]["bias"] > 0.3  # 8 px is less than a window
    assert 10 < star.resolution(rows) < 100
