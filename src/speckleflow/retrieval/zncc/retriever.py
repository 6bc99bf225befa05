"""ZNCC (zero-normalised cross-correlation), as the CADE paper compares with: windows of the sample are searched for in
the reference, and a Gaussian is fitted to the peak."""

from __future__ import annotations

from dataclasses import replace

import torch

from speckleflow.retrieval.base import Fields
from speckleflow.retrieval.grids import to_reference
from speckleflow.retrieval.matching.retriever import Matching
from speckleflow.retrieval.zncc.spec import SPEC


class Zncc(Matching):
    """Windows of a single sample frame, searched for in the reference."""

    spec = SPEC
    of_sample = True

    def _on_reference_grid(self, fields: Fields) -> Fields:
        stated = fields.displacement_std
        assert stated is not None
        carried = to_reference(fields)
        assert carried.displacement_std is not None
        # the spline swings below the errors that were stated, beside a lost match
        least = stated.amin((1, 2), keepdim=True)
        return replace(carried, displacement_std=torch.maximum(carried.displacement_std, least))
