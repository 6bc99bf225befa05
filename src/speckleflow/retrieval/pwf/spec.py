"""What method pwf declares."""

from __future__ import annotations

from typing import Any

from speckleflow.retrieval.pwf.settings import PwfSettings
from speckleflow.retrieval.spec import MethodSpec


def _seconds(positions: int, settings: Any) -> float:
    """Measured at 512 x 512 (benchmarks/pwf.md): 300 iterations, the typical number to rest."""
    return min(settings.iterations, 300) * (8e-8 + 1.6e-7 * positions)


def _bytes(positions: int, settings: Any) -> float:
    """Complex waves and their transforms on a padded grid of up to nine samples a pixel."""
    return 250.0 + 130.0 * positions


SPEC = MethodSpec(
    name="pwf",
    summary="Preconditioned Wirtinger flow: phase and attenuation by wave optics, from a single shot or several.",
    class_path="speckleflow.retrieval.pwf.retriever:Pwf",
    output_fields=frozenset({"phase", "attenuation", "transmission", "flags"}),
    settings=PwfSettings,
    min_side=32,
    needs=("energy_kev", "pixel_x_m", "pixel_y_m", "distance_m"),
    uses=("diffuser_distance_m", "magnification", "detector_blur_x_px", "detector_blur_y_px"),
    seconds_per_pixel=_seconds,
    bytes_per_pixel=_bytes,
)
