"""The misfit is nothing where the fields explain the frames, and shows what they say and the frames do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from speckleflow.retrieval.base import FLAG_FOLD, FLAG_MISFIT, Fields
from speckleflow.retrieval.consistency import Consistency
from speckleflow.retrieval.registry import specs
from speckleflow.retrieval.single import retrieve_stack
from speckleflow.testing.patterns import Pair, make_pair

SHAPE, LIMIT = (132, 151), 0.5
INSIDE = (slice(None), slice(12, -12), slice(12, -12))


def wave(amplitude: float, period: float):
    return lambda x, y: amplitude * np.sin(2 * np.pi * x / period) * np.cos(2 * np.pi * y / (1.3 * period))


def pair_of(positions: int, photons: float | None = None, **changes) -> Pair:
    truth = {
        "ux": wave(0.8, 90),
        "uy": wave(-0.6, 70),
        "transmission": lambda x, y: 0.7 + 0.2 * np.sin(x / 30),
        "darkfield": lambda x, y: 0.8 + 0 * x,
    }
    return make_pair(SHAPE, positions, photons=photons, **{**truth, **changes})


def true_fields(pair: Pair) -> Fields:
    ux, uy, t, d = (
        torch.tensor(image, dtype=torch.float32)[None]
        for image in (pair.ux, pair.uy, pair.transmission, pair.darkfield)
    )
    return Fields(t, ux, uy, d)


def blob(width: float = 12.0) -> Tensor:
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in SHAPE), indexing="ij")
    return torch.exp(-0.5 * ((y - 60) ** 2 + (x - 70) ** 2) / width**2)


def flagged(fields: Fields) -> Tensor:
    assert fields.flags is not None
    return fields.flags & FLAG_MISFIT > 0


@pytest.mark.parametrize("positions", [1, 6])
@pytest.mark.parametrize("photons", [None, 1000.0, 30.0])
def test_true_fields_explain_the_frames_whatever_the_noise(positions, photons):
    pair = pair_of(positions, photons)
    found = Consistency.of(pair.reference).check(pair.sample[None], true_fields(pair), LIMIT)
    assert found.misfit is not None
    assert found.misfit.shape == (1, *SHAPE)
    # with 30 photons the noise is as strong as the pattern
    limit = {None: 0.1, 1000.0: 0.15, 30.0: 0.25}[photons]
    assert float(found.misfit[INSIDE].median()) < limit
    assert float(flagged(found)[INSIDE].float().mean()) < (0.03 if photons == 30.0 else 0.001)


LIES = {
    "displacement": lambda f: replace(f, ux=f.ux + 3 * blob()),
    "transmission": lambda f: replace(f, transmission=f.transmission * (1 + 0.3 * blob())),
    "dark field": lambda f: replace(f, darkfield=f.darkfield * (1 - 0.95 * blob())),
    "dark field too high": lambda f: replace(f, darkfield=f.darkfield * (1 + 0.95 * blob())),
}


@pytest.mark.parametrize("positions", [1, 6])
@pytest.mark.parametrize("lie", LIES)
def test_what_the_fields_invent_is_flagged_where_it_is(lie, positions):
    pair = pair_of(positions, 1000.0)
    fields = LIES[lie](true_fields(pair))
    found = Consistency.of(pair.reference).check(pair.sample[None], fields, LIMIT)
    there = (blob() > 0.85)[None]
    assert float(flagged(found)[there].float().mean()) > 0.8
    away = (blob(20.0) < 0.02)[None]
    assert float(flagged(found)[INSIDE][away[INSIDE]].float().mean()) < 0.01


def test_the_misfit_is_what_is_left_over_the_pattern():
    """A pattern that the fields say is half as strong leaves a half; another pattern leaves more than the pattern."""
    pair = make_pair(SHAPE, 4)
    fields = true_fields(pair)
    check = Consistency.of(pair.reference)
    half = check.check(pair.sample[None], replace(fields, darkfield=0.5 * fields.darkfield), LIMIT)
    assert half.misfit is not None
    assert float(half.misfit[INSIDE].median()) == pytest.approx(0.5, rel=0.05)
    other = check.check(make_pair(SHAPE, 4, seed=7).sample[None], fields, LIMIT)
    assert other.misfit is not None
    assert float(other.misfit[INSIDE].median()) == pytest.approx(np.sqrt(2), rel=0.1)
    assert bool(flagged(other)[INSIDE].all())
    looser = check.check(make_pair(SHAPE, 4, seed=7).sample[None], fields, 10.0)
    assert not bool(flagged(looser).any())


def test_flags_are_added_and_projections_do_not_mix():
    pair = pair_of(2)
    fields = true_fields(pair)
    fields = replace(fields, flags=torch.full((1, *SHAPE), FLAG_FOLD, dtype=torch.uint8))
    wrong = LIES["transmission"](fields)
    both = Fields(**{name: torch.cat([value, dict(wrong.items())[name]]) for name, value in fields.items()})
    found = Consistency.of(pair.reference).check(torch.stack([pair.sample] * 2), both, LIMIT)
    assert bool((found.flags & FLAG_FOLD > 0).all())
    assert not bool(flagged(found)[0][INSIDE[1:]].any())
    assert bool(flagged(found)[1, 60, 70])


def test_a_ray_that_leaves_the_image_says_nothing():
    pair = make_pair(SHAPE, 3)
    fields = true_fields(pair)
    found = Consistency.of(pair.reference).check(
        pair.sample[None], replace(fields, ux=fields.ux - 400), LIMIT
    )
    assert found.misfit is not None
    assert bool(torch.isfinite(found.misfit).all())
    assert not bool(flagged(found).any())


@pytest.mark.parametrize("name", [name for name, spec in specs().items() if spec.can_be_checked])
def test_every_method_is_checked_alike(name, tmp_path):
    """Each returns a misfit; it is small where the model holds, and large where the sample is another one."""
    spec = specs()[name]
    settings = None
    if name == "double_exposure":
        from speckleflow.retrieval.double_exposure.network import Generator
        from speckleflow.train.checkpoint import save_weights

        generator = Generator(1 / 32)
        torch.nn.init.zeros_(generator.layers[-2].weight)  # no in-line image
        torch.nn.init.zeros_(generator.layers[-2].bias)
        save_weights(generator, tmp_path / "none.safetensors", {"width": repr(1 / 32), "inputs": "1"})
        settings = spec.settings(weights=str(tmp_path / "none.safetensors"))
    positions = 1 if spec.max_positions == 1 else 6
    pair = pair_of(positions, darkfield=lambda x, y: 1 + 0 * x)
    found = retrieve_stack(pair.reference, pair.sample, name, settings)
    assert found.misfit is not None
    assert float(found.misfit[INSIDE].median()) < 0.3
    assert float(flagged(found)[INSIDE].float().mean()) < 0.02
    spoiled = pair.sample.clone()
    spoiled[:, 50:80, 55:85] = make_pair(SHAPE, positions, seed=9).sample[:, 50:80, 55:85]
    other = retrieve_stack(pair.reference, spoiled, name, settings)
    assert other.misfit is not None
    # a search for the best place of every pixel explains some of any frame
    assert float(other.misfit[0, 56:74, 61:79].median()) > max(
        0.3, 2.5 * float(found.misfit[INSIDE].median())
    )
    if name in ("umpa", "espinnet", "spinnet", "cade"):
        assert float(flagged(other)[0, 56:74, 61:79].float().mean()) > 0.9
    assert float(flagged(other)[0, 90:-12, 12:-12].float().mean()) < 0.05
