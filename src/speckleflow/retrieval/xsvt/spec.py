"""What method xsvt declares."""

from __future__ import annotations

from speckleflow.retrieval.matching.settings import bytes_per_pixel, seconds_per_pixel
from speckleflow.retrieval.spec import MethodSpec
from speckleflow.retrieval.xsvt.settings import XsvtSettings

SPEC = MethodSpec(
    name="xsvt",
    summary="XSVT: the vector of each pixel over three positions or more searched for in the sample.",
    class_path="speckleflow.retrieval.xsvt.retriever:Xsvt",
    output_fields=frozenset(
        {"ux", "uy", "transmission", "darkfield", "displacement_std", "flags", "transmission_measured"}
    ),
    settings=XsvtSettings,
    min_positions=3,
    positions_hint="for a single position there are methods 'xst' and 'zncc'",
    seconds_per_pixel=seconds_per_pixel,
    bytes_per_pixel=bytes_per_pixel,
)
