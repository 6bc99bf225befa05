"""Absorption: transmission of a scan without a diffuser."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from speckleflow.errors import InputError
from speckleflow.retrieval.absorption.spec import SPEC
from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.scan.acquisition import Acquisition


class Absorption(Retriever):
    """T = mean over the positions of the sample / mean over the positions of the reference.

    The reference is a stack of ones for frames that were divided by their flat, else the flat itself.
    """

    spec = SPEC

    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> Any:
        mean = reference.mean(0)
        if not bool((mean > 0).all()):
            raise InputError(
                "reference stack",
                expected="a beam (values above 0) in every pixel",
                found=f"{int((mean <= 0).sum())} pixel(s) at or below 0",
            )
        return tuple(reference.shape), mean

    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        return Fields(transmission=sample.mean(1) / state[1])

    def _reference_shape(self, state: Any) -> tuple[int, int, int]:
        shape: tuple[int, int, int] = state[0]
        return shape
