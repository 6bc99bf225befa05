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
from speckleflow.retrieval.espinnet.retriever import NetworkRetriever
from speckleflow.retrieval.registry import default_settings


@dataclass(frozen=True)
class Tolerance:
    """Largest root mean square deviations, in pixels for u."""

    u: float
    t: float
    d: float


#: Methods that solve eq. (1) are exact up to interpolation: measured at most 7e-4, 3e-4, 6e-4 (umpa).
EXACT = Tolerance(u=2e-3, t=1e-3, d=2e-3)
#: A network is as good as its training: measured at most 1.4e-3, 1.8e-3, 0.036.
LEARNED = Tolerance(u=5e-3, t=5e-3, d=0.1)
BORDER = 24
QUICK = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def tolerance(name: str) -> Tolerance:
    return LEARNED if issubclass(registry.get(name), NetworkRetriever) else EXACT


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


#: of a network every test takes seconds
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("espinnet", "spinnet")]


@pytest.fixture(params=[name for name in registry.available() if "spinnet" not in name] + SLOW)
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
    batch = torch.stack((pair.reference, 0.9 * pair.reference, pair.reference.roll((2, -1), (-2, -1))))
    fields = retriever(batch, state)
    given_names = {name for name, _ in fields.items()}
    assert given_names == set(type(retriever).output_fields)
    for name, field in fields.items():
        assert tuple(field.shape) == (3, *pair.reference.shape[1:]), name
        assert field.dtype == (torch.uint8 if name == "flags" else torch.float32), name
        assert bool(torch.isfinite(field.float()).all()), name
    # every projection is worked on as if it were alone, whatever stands beside it
    for k in (1, 2):
        for name, field in retriever(batch[k : k + 1], state).items():
            near = 1e-3 if name == "displacement_std" else 1e-4
            assert deviation(getattr(fields, name)[k : k + 1].float(), field.float()) < near, name


def test_a_transposed_scan_has_the_fields_transposed(method):
    """Rows and columns are alike: u_x and u_y change their places, all else its axes."""
    retriever, state, pair = prepared(method)
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    moved = pair.reference.roll((1, -2), (-2, -1)) * (0.8 + 0.1 * torch.sin(x / 20 + y / 35))
    fields = retriever(moved[None], state)
    other = retriever(moved.mT.contiguous()[None], retriever.prepare(pair.reference.mT.contiguous()))
    bound = tolerance(method)
    assert deviation(other.transmission.mT, fields.transmission) <= bound.t
    if fields.ux is not None:
        assert deviation(other.uy.mT, fields.ux) <= bound.u
        assert deviation(other.ux.mT, fields.uy) <= bound.u
    if fields.darkfield is not None:
        assert deviation(other.darkfield.mT, fields.darkfield) <= bound.d


@pytest.mark.slow
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
    if "ux" not in type(retriever).output_fields:
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
    if "darkfield" not in type(retriever).output_fields:
        pytest.skip(f"{method} gives no dark field")
    fields = retriever((1 + visibility * (pair.reference - 1))[None], state)
    bound = tolerance(method)
    assert deviation(fields.darkfield, visibility) <= bound.d
    assert deviation(fields.ux, 0.0) <= bound.u
    # the local mean, over 64 px of a few frames, is not quite that of the pattern: 0.002 here
    assert deviation(fields.transmission, 1.0) <= bound.t + 0.006 * (1 - visibility)
