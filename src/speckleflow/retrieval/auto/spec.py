"""What method auto declares."""

from __future__ import annotations

from speckleflow.retrieval.auto.choice import chosen
from speckleflow.retrieval.auto.settings import AutoSettings
from speckleflow.retrieval.espinnet.spec import SPEC as ESPINNET
from speckleflow.retrieval.spec import MethodSpec
from speckleflow.retrieval.umpa.spec import SPEC as UMPA

_SPECS = {spec.name: spec for spec in (ESPINNET, UMPA)}


def _seconds(positions: int, settings: AutoSettings) -> float:
    spec = _SPECS[chosen(positions)]
    assert spec.settings is not None
    return spec.seconds_per_pixel(positions, spec.settings())


def _bytes(positions: int, settings: AutoSettings) -> float:
    spec = _SPECS[chosen(positions)]
    assert spec.settings is not None
    return spec.bytes_per_pixel(positions, spec.settings())


SPEC = MethodSpec(
    name="auto",
    summary="The method with the least error: espinnet for two diffuser positions or more, umpa for one.",
    class_path="speckleflow.retrieval.auto.retriever:Auto",
    output_fields=ESPINNET.output_fields & UMPA.output_fields,
    settings=AutoSettings,
    seconds_per_pixel=_seconds,
    bytes_per_pixel=_bytes,
)
