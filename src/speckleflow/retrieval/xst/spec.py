"""What method xst declares."""

from __future__ import annotations

from speckleflow.retrieval.matching.settings import bytes_per_pixel, seconds_per_pixel
from speckleflow.retrieval.spec import MethodSpec
from speckleflow.retrieval.xst.settings import XstSettings

SPEC = MethodSpec(
    name="xst",
    summary="XST: windows of a single reference frame searched for in the sample, peak by a paraboloid.",
    class_path="speckleflow.retrieval.xst.retriever:Xst",
    output_fields=frozenset(
        {"ux", "uy", "transmission", "darkfield", "displacement_std", "flags", "transmission_measured"}
    ),
    settings=XstSettings,
    max_positions=1,
    positions_hint="for three and more there is method 'xsvt'",
    seconds_per_pixel=seconds_per_pixel,
    bytes_per_pixel=bytes_per_pixel,
)
