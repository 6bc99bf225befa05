"""What method umpa declares."""

from __future__ import annotations

from speckleflow.retrieval.spec import MethodSpec, linear
from speckleflow.retrieval.umpa.settings import UmpaSettings

SPEC = MethodSpec(
    name="umpa",
    summary="UMPA with transmission and dark field, solved by Gauss-Newton.",
    class_path="speckleflow.retrieval.umpa.retriever:Umpa",
    output_fields=frozenset(
        {"ux", "uy", "transmission", "darkfield", "displacement_std", "flags", "transmission_measured"}
    ),
    settings=UmpaSettings,
    # measured at 512 x 512 with N = 3, 5 and 20 (benchmarks/umpa.md)
    seconds_per_pixel=linear(1.3e-6, 4e-8),
    # the reference with its levels, and the maps of the solver
    bytes_per_pixel=linear(400, 45),
)
