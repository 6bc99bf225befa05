"""What every method's base checks and says, and absorption, the simplest method."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from speckleflow.errors import InputError, SpeckleflowError
from speckleflow.retrieval.absorption.retriever import Absorption
from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.retrieval.single import retrieve_stack
from speckleflow.retrieval.spec import MethodSpec
from speckleflow.scan.acquisition import Acquisition

KNOWN = Acquisition(
    energy_kev=20.0, pixel_x_m=1e-6, distance_m=0.3, diffuser_distance_m=-0.1, magnification=2.0
)


class Doubler(Retriever):
    """Of two to four positions and images of 8 pixels: keeps what it was given."""

    spec = MethodSpec(
        "doubler",
        "What it was given.",
        f"{__name__}:Doubler",
        frozenset({"transmission"}),
        min_positions=2,
        max_positions=4,
        positions_hint="take some away",
        min_side=8,
        needs=("energy_kev",),
        uses=("diffuser_distance_m",),
    )
    given: ClassVar[list[Tensor]] = []
    failure: Exception | None = None

    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> Any:
        self.given.append(reference)
        self.acquisition = acquisition
        return reference

    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        if self.failure:
            raise self.failure
        self.given.append(sample)
        return Fields(transmission=sample.mean(1))

    def _reference_shape(self, state: Any) -> tuple[int, int, int]:
        n, height, width = state.shape
        return n, height, width


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((3, 8), r"shape \(N, y, x\), found shape \(3, 8\)"),
        ((1, 9, 8), r"expected 2 to 4 .* for method 'doubler', found 1; take some away"),
        ((5, 9, 8), r"expected 2 to 4 .* for method 'doubler', found 5; take some away"),
        ((3, 7, 9), r"at least 8 x 8 pixels for 'doubler', found 7 x 9"),
        ((3, 9, 7), r"at least 8 x 8 pixels for 'doubler', found 9 x 7"),
    ],
)
def test_references_that_are_refused(shape, sentence):
    with pytest.raises(InputError, match=sentence):
        Doubler(None).prepare(torch.ones(shape), KNOWN)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_counted(value):
    method = Doubler(None)
    stack = torch.ones(3, 8, 9)
    state = method.prepare(stack, KNOWN)
    stack = stack.clone()
    stack[1, 2, 3] = stack[2, 7, 8] = value
    with pytest.raises(InputError, match="reference stack: expected finite values, found 2 NaN"):
        method.prepare(stack)
    with pytest.raises(InputError, match="sample stack: expected finite values, found 2 NaN"):
        method(stack[None], state)


def test_a_sum_beyond_the_largest_float_is_no_infinity():
    method = Doubler(None)
    stack = torch.full((3, 8, 9), 3e38)
    assert torch.equal(method.prepare(stack, KNOWN), stack)


@pytest.mark.parametrize("shape", [(3, 8, 9), (1, 2, 8, 9), (1, 3, 9, 8), (1, 3, 8, 10)])
def test_samples_must_fit_their_reference(shape):
    method = Doubler(None)
    state = method.prepare(torch.ones(3, 8, 9), KNOWN)
    with pytest.raises(InputError, match=r"\(B, N, y, x\) = \(B, 3, 8, 9\) as in the reference stack"):
        method(torch.ones(shape), state)


def test_methods_are_given_float32():
    method = Doubler(None)
    method.given.clear()
    method(
        torch.ones(2, 3, 8, 9, dtype=torch.int16),
        method.prepare(torch.ones(3, 8, 9, dtype=torch.float64), KNOWN),
    )
    assert [(stack.dtype, stack.ndim) for stack in method.given] == [(torch.float32, 3), (torch.float32, 4)]


def test_memory_that_is_missing_is_a_sentence_and_other_errors_pass():
    method = Doubler(None)
    state = method.prepare(torch.ones(3, 8, 9), KNOWN)
    method.failure = RuntimeError("std::bad_alloc")
    with pytest.raises(
        SpeckleflowError, match="3 frames of 8 x 9 pixels does not fit; give the job more memory"
    ):
        method(torch.ones(2, 3, 8, 9), state)
    method.failure = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        method(torch.ones(2, 3, 8, 9), state)


def test_a_method_is_told_what_it_declares_and_refuses_without_what_it_needs():
    method = Doubler(None)
    method.prepare(torch.ones(3, 8, 9), KNOWN)
    assert method.acquisition == Acquisition(energy_kev=20.0, diffuser_distance_m=-0.1)
    method.prepare(torch.ones(3, 8, 9), Acquisition(energy_kev=17.0))
    assert method.acquisition.diffuser_distance_m is None
    for unknown in (None, Acquisition(distance_m=0.3)):
        with pytest.raises(
            InputError, match=r"method 'doubler': expected geometry.energy_kev, found none; set"
        ):
            method.prepare(torch.ones(3, 8, 9), unknown)


def test_transmission_follows_from_attenuation_and_only_where_it_is_not_given():
    attenuation = torch.tensor([[[0.0, 0.5, 2.0]]])
    fields = Fields(attenuation=attenuation)
    torch.testing.assert_close(fields.transmission, torch.tensor([[[1.0, 0.60653066, 0.13533528]]]))
    own = Fields(transmission=torch.full((1, 1, 3), 0.7), attenuation=attenuation)
    assert torch.equal(own.transmission, torch.full((1, 1, 3), 0.7))
    with pytest.raises(ValueError, match="without transmission and attenuation"):
        Fields(phase=attenuation)


def test_fields_are_those_that_are_there():
    fields = Fields(transmission=torch.ones(1, 2, 2), uy=torch.full((1, 2, 2), 3.0))
    assert [name for name, _ in fields.items()] == ["transmission", "uy"]
    doubled = fields.map(lambda field: 2 * field)
    assert doubled.ux is None
    assert torch.equal(doubled.uy, torch.full((1, 2, 2), 6.0))
    assert torch.equal(doubled.transmission, torch.full((1, 2, 2), 2.0))


def test_absorption_is_the_mean_over_positions_over_that_of_the_flat():
    """A ratio of means, not a mean of ratios; every projection its own."""
    flat = (
        torch.tensor([1.0, 3.0])[:, None, None]
        * torch.rand(2, 6, 7, generator=torch.Generator().manual_seed(1)).add(1)[0]
    )
    sample = torch.stack((0.5 * flat, flat.flip(0), torch.tensor([0.2, 0.6])[:, None, None] * flat))
    method = Absorption(None)
    found = method(sample, method.prepare(flat))
    factors = torch.tensor([0.5, 1.0, (0.2 * 1 + 0.6 * 3) / 4])[:, None, None]
    torch.testing.assert_close(found.transmission, factors.expand(3, 6, 7))
    assert [name for name, _ in found.items()] == ["transmission"]


def test_absorption_needs_no_flat_for_frames_that_were_divided_by_it():
    corrected = retrieve_stack(None, np.full((2, 8, 9), 0.25), "absorption")
    torch.testing.assert_close(corrected.transmission, torch.full((1, 8, 9), 0.25))


def test_absorption_refuses_a_dark_beam():
    flat = torch.ones(2, 8, 9)
    flat[:, 2, 3] = 0
    flat[0, 4, 4] = 0  # in one of two frames: there is a beam
    flat[:, 5, 5] = -1
    with pytest.raises(InputError, match="found 2 pixel"):
        Absorption(None).prepare(flat)
