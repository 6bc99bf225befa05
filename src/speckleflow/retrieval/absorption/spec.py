"""What method absorption declares."""

from __future__ import annotations

from speckleflow.retrieval.spec import MethodSpec, linear

SPEC = MethodSpec(
    name="absorption",
    summary="Transmission alone: mean of the sample frames over that of the reference or flat frames.",
    class_path="speckleflow.retrieval.absorption.retriever:Absorption",
    output_fields=frozenset({"transmission"}),
    min_side=1,
    needs_reference=False,
    needs_diffuser=False,
    seconds_per_pixel=linear(0.0, 2e-8),
)
