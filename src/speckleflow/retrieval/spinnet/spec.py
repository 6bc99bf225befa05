"""What method spinnet declares."""

from __future__ import annotations

from speckleflow.retrieval.spec import MethodSpec, linear
from speckleflow.retrieval.spinnet.settings import SpinnetSettings

SPEC = MethodSpec(
    name="spinnet",
    summary="SPINNet, a neural network for a single diffuser position; displacement and transmission, no dark field.",
    class_path="speckleflow.retrieval.spinnet.retriever:Spinnet",
    output_fields=frozenset(
        {"ux", "uy", "transmission", "displacement_std", "flags", "transmission_measured"}
    ),
    settings=SpinnetSettings,
    max_positions=1,
    positions_hint="for two and more there is method 'espinnet'",
    # as espinnet (benchmarks/networks.md)
    seconds_per_pixel=linear(2.4e-6, 9e-8),
)
