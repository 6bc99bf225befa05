"""What every method owes to physics, whatever is inside it. A method in the registry is tested without being named."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.retrieval.patterns import Pair, make_pair

from speckleflow.errors import ConfigError, InputError
from speckleflow.retrieval import registry
from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.retrieval.single import default_settings


@dataclass(frozen=True)
class Tolerance:
    """Largest root mean square deviations, in pixels for u."""

    u: float
    t: float
    d: float


#: methods that solve eq. (1) are exact up to interpolation; a network is only as good as its training
TOLERANCES = {
    "umpa": Tolerance(u=4e-3, t=1e-3, d=4e-3),
    "absorption": Tolerance(u=0.0, t=1e-5, d=0.0),
}
LEARNED = Tolerance(u=0.15, t=0.05, d=0.15)
BORDER = 24
QUICK = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def tolerance(name: str) -> Tolerance:
    return TOLERANCES.get(name, LEARNED)


@lru_cache
def prepared(name: str) -> tuple[Retriever, object, Pair]:
    """Method, prepared reference, and a pair without a sample; skips a method whose weights are not there."""
    kind = registry.get(name)
    try:
        retriever = kind(default_settings(name))
    except (ConfigError, InputError) as error:
        pytest.skip(f"{name}: {error}")
    n = max(kind.min_positions, min(5, kind.max_positions or 5))
    side = max(96, kind.min_side)
    pair = make_pair((side, side + 32), n)
    return retriever, retriever.prepare(pair.reference), pair


def inside(field: torch.Tensor) -> torch.Tensor:
    return field[..., BORDER:-BORDER, BORDER:-BORDER]


def deviation(field: torch.Tensor, expected: torch.Tensor | float) -> float:
    return float(inside(field - expected).square().mean().sqrt())


@pytest.fixture(params=registry.available())
def method(request):
    return request.param


def test_nothing_in_the_beam_gives_nothing(method):
    retriever, state, pair = prepared(method)
    fields = retriever(pair.reference[None], state)
    bound = tolerance(method)
    assert deviation(fields.transmission, 1.0) <= bound.t
    for component in (fields.ux, fields.uy):
        assert component is None or deviation(component, 0.0) <= bound.u
    assert fields.darkfield is None or deviation(fields.darkfield, 1.0) <= bound.d


def test_fields_keep_the_contract(method):
    retriever, state, pair = prepared(method)
    batch = torch.stack((pair.reference, 0.9 * pair.reference))
    fields = retriever(batch, state)
    given_names = {name for name, _ in fields.items()}
    assert given_names == set(type(retriever).gives)
    for name, field in fields.items():
        assert tuple(field.shape) == (2, *pair.reference.shape[1:]), name
        assert field.dtype == (torch.uint8 if name == "flags" else torch.float32), name
        assert bool(torch.isfinite(field.float()).all()), name
    alone = retriever(batch[1:], state)
    assert deviation(fields.transmission[1:], alone.transmission) < 1e-5


@QUICK
@given(factor=st.floats(0.3, 1.2))
def test_light_scales_the_transmission_alone(method, factor):
    retriever, state, pair = prepared(method)
    sample = torch.roll(pair.reference, (1, 2), (-2, -1))[None]
    one: Fields = retriever(sample, state)
    other: Fields = retriever(factor * sample, state)
    bound = tolerance(method)
    assert deviation(other.transmission, factor * one.transmission) <= bound.t
    if one.ux is not None:
        assert deviation(other.ux, one.ux) <= bound.u
        assert deviation(other.uy, one.uy) <= bound.u
    if one.darkfield is not None:
        assert deviation(other.darkfield, one.darkfield) <= bound.d


@QUICK
@given(dx=st.integers(-3, 3), dy=st.integers(-3, 3))
def test_whole_pixel_shifts_are_exact(method, dx, dy):
    retriever, state, pair = prepared(method)
    if "ux" not in type(retriever).gives:
        pytest.skip(f"{method} gives no displacement")
    fields = retriever(torch.roll(pair.reference, (dy, dx), (-2, -1))[None], state)
    bound = tolerance(method)
    assert deviation(fields.ux, float(dx)) <= bound.u
    assert deviation(fields.uy, float(dy)) <= bound.u
    assert deviation(fields.transmission, 1.0) <= bound.t


@QUICK
@given(visibility=st.floats(0.4, 1.0))
def test_lost_visibility_is_dark_field_alone(method, visibility):
    retriever, state, pair = prepared(method)
    if "darkfield" not in type(retriever).gives:
        pytest.skip(f"{method} gives no dark field")
    fields = retriever((1 + visibility * (pair.reference - 1))[None], state)
    bound = tolerance(method)
    assert deviation(fields.darkfield, visibility) <= 2 * bound.d + 0.02 * (1 - visibility)
    assert deviation(fields.ux, 0.0) <= bound.u
    assert deviation(fields.transmission, 1.0) <= bound.t + 0.02 * (1 - visibility)
