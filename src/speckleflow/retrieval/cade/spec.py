"""What method cade declares."""

from __future__ import annotations

from speckleflow.retrieval.cade.settings import CadeSettings
from speckleflow.retrieval.spec import MethodSpec, linear

SPEC = MethodSpec(
    name="cade",
    summary="CADE (StrainNet-f), a neural network for a single diffuser position and displacements within a pixel.",
    class_path="speckleflow.retrieval.cade.retriever:Cade",
    output_fields=frozenset({"ux", "uy", "transmission", "flags", "transmission_measured"}),
    settings=CadeSettings,
    max_positions=1,
    positions_hint="for two and more there is method 'espinnet'",
    # the package's weights at 512 x 512 (benchmarks/cade.md)
    seconds_per_pixel=linear(3e-6, 0.0),
)
