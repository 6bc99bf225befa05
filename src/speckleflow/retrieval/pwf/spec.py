"""What method pwf declares."""

from __future__ import annotations

from typing import Any

from speckleflow.retrieval.pwf.settings import PwfSettings
from speckleflow.retrieval.spec import MethodSpec
from speckleflow.retrieval.wave.declared import NEEDS, USES, wave_bytes, wave_seconds


def _seconds(positions: int, settings: Any) -> float:
    """300 iterations are the typical number to rest."""
    return wave_seconds(min(settings.iterations, 300), positions)


def _bytes(positions: int, settings: Any) -> float:
    return wave_bytes(positions)


SPEC = MethodSpec(
    name="pwf",
    summary="Preconditioned Wirtinger flow: phase and attenuation by wave optics, from a single shot or several.",
    class_path="speckleflow.retrieval.pwf.retriever:Pwf",
    output_fields=frozenset({"phase", "attenuation", "transmission", "flags"}),
    settings=PwfSettings,
    needs=NEEDS,
    uses=USES,
    seconds_per_pixel=_seconds,
    bytes_per_pixel=_bytes,
)
