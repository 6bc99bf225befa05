"""What method lcs declares."""

from __future__ import annotations

from speckleflow.retrieval.lcs.settings import LcsSettings
from speckleflow.retrieval.spec import MethodSpec, linear

SPEC = MethodSpec(
    name="lcs",
    summary="LCS: transmission and displacement of every pixel by linear least squares over three positions or more.",
    class_path="speckleflow.retrieval.lcs.retriever:Lcs",
    output_fields=frozenset(
        {"ux", "uy", "transmission", "displacement_std", "flags", "transmission_measured"}
    ),
    optional_fields=frozenset({"darkfield", "scatter_xx", "scatter_xy", "scatter_yy"}),
    settings=LcsSettings,
    min_positions=3,
    positions_hint="method 'umpa' takes fewer",
    seconds_per_pixel=linear(6e-7, 1e-7),
    # measured 694, 732 and 1274 with N = 3, 5 and 20 (benchmarks/methods.md)
    bytes_per_pixel=linear(600, 40),
)
