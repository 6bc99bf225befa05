"""Method auto gives, bit for bit, what the method gives that it stands for."""

from __future__ import annotations

import pytest
import torch

from speckleflow.config import parse_config
from speckleflow.retrieval.single import make_method
from speckleflow.weights import digest


@pytest.mark.parametrize(("positions", "name"), [(1, "umpa"), (2, "espinnet"), (4, "espinnet")])
def test_it_is_the_method_for_the_number_of_positions(positions, name):
    generator = torch.Generator().manual_seed(positions)
    reference = 1 + 0.2 * torch.randn(positions, 48, 64, generator=generator)
    sample = 0.8 * reference.roll(1, 2)[None]
    auto, other = make_method("auto"), make_method(name)
    fields, expected = (method(sample, method.prepare(reference)) for method in (auto, other))
    assert dict(fields.items()).keys() == dict(expected.items()).keys()
    for key, value in expected.items():
        assert torch.equal(dict(fields.items())[key], value), key
    assert auto.weights_sha256 == other.weights_sha256


def test_the_detector_blur_reaches_the_method():
    reference = 1 + 0.2 * torch.randn(1, 48, 64, generator=torch.Generator().manual_seed(0))
    edge = torch.where(torch.arange(64) > 30, 0.4, 1.0)
    plain, blurred = (
        make_method(name, make_method(name).settings.model_copy(update={"detector_blur_px": 1.5}))
        for name in ("umpa", "auto")
    )
    first, second = (m((edge * reference)[None], m.prepare(reference)).ux for m in (plain, blurred))
    assert torch.equal(first, second)


def test_it_is_the_default_and_its_weights_are_known_before_it_runs():
    retrieval = parse_config({}, "test").retrieval
    assert retrieval.method == "auto"
    espinnet = parse_config({"retrieval": {"method": "espinnet"}}, "test").retrieval
    assert digest(retrieval) == digest(espinnet)
