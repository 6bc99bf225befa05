"""What method double_exposure declares."""

from __future__ import annotations

from speckleflow.retrieval.double_exposure.settings import DoubleExposureSettings
from speckleflow.retrieval.spec import MethodSpec, linear

SPEC = MethodSpec(
    name="double_exposure",
    summary="A generated in-line image takes the fringes off a single frame; any single-shot method then tracks it.",
    class_path="speckleflow.retrieval.double_exposure.retriever:DoubleExposure",
    output_fields=frozenset({"ux", "uy", "transmission", "darkfield", "flags", "transmission_measured"}),
    settings=DoubleExposureSettings,
    max_positions=1,
    positions_hint="for two and more there are methods 'umpa' and 'espinnet', which need no in-line image",
    min_side=24,  # 2 px at a sixteenth, which can be mirrored
    uses=("energy_kev", "pixel_x_m"),
    # generator and umpa at 512 x 512 (benchmarks/double_exposure.md); the generator works on whole images
    seconds_per_pixel=linear(8e-6, 0.0),
    bytes_per_pixel=linear(1500.0, 0.0),
)
