"""What method zncc declares."""

from __future__ import annotations

from speckleflow.retrieval.matching.settings import bytes_per_pixel, seconds_per_pixel
from speckleflow.retrieval.spec import MethodSpec
from speckleflow.retrieval.zncc.settings import ZnccSettings

SPEC = MethodSpec(
    name="zncc",
    summary="ZNCC: windows of a single sample frame searched for in the reference, peak by a Gaussian.",
    class_path="speckleflow.retrieval.zncc.retriever:Zncc",
    output_fields=frozenset(
        {"ux", "uy", "transmission", "darkfield", "displacement_std", "flags", "transmission_measured"}
    ),
    settings=ZnccSettings,
    max_positions=1,
    positions_hint="for three and more there is method 'xsvt'",
    seconds_per_pixel=seconds_per_pixel,
    bytes_per_pixel=bytes_per_pixel,
)
