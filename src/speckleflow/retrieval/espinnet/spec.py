"""What method espinnet declares."""

from __future__ import annotations

from speckleflow.retrieval.espinnet.settings import EspinnetSettings
from speckleflow.retrieval.spec import MethodSpec


def seconds_per_pixel(positions: int, settings: EspinnetSettings) -> float:
    """CPU seconds of a projection over its pixels, measured at 512 x 512 (benchmarks/networks.md)."""
    if settings.weights.endswith(
        ".pt"
    ):  # the authors' checkpoint: the published structure, with its refiners
        return 4.2e-5
    return 2.4e-6 + 9e-8 * positions


SPEC = MethodSpec(
    name="espinnet",
    summary="ESPINNet, a neural network for two diffuser positions or more; the package's weights, or the authors'.",
    class_path="speckleflow.retrieval.espinnet.retriever:Espinnet",
    output_fields=frozenset(
        {"ux", "uy", "transmission", "darkfield", "displacement_std", "flags", "transmission_measured"}
    ),
    settings=EspinnetSettings,
    min_positions=2,
    positions_hint="for a single position there is method 'spinnet'",
    seconds_per_pixel=seconds_per_pixel,
)
