"""What a method declares once its result is refined by wave optics; imports no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from speckleflow.errors import ConfigError
from speckleflow.retrieval.spec import MethodSpec

#: entries of the acquisition that wave optics needs, and those it uses where they are known
NEEDS = ("energy_kev", "pixel_x_m", "pixel_y_m", "distance_m")
USES = ("diffuser_distance_m", "magnification", "detector_blur_x_px", "detector_blur_y_px")
#: CPU seconds of one iteration over the pixels, and of each diffuser position in it (benchmarks/wave.md)
_SECONDS, _SECONDS_PER_POSITION = 4e-7, 9e-7
#: complex waves and their transforms, on four samples a pixel
_BYTES, _BYTES_PER_POSITION = 400.0, 250.0


def wave_seconds(iterations: int, positions: int) -> float:
    """CPU seconds over the pixels of so many iterations."""
    return iterations * (_SECONDS + _SECONDS_PER_POSITION * positions)


def wave_bytes(positions: int) -> float:
    """Memory over the pixels of an image."""
    return _BYTES + _BYTES_PER_POSITION * positions


def refined(spec: MethodSpec, iterations: int) -> MethodSpec:
    """The spec of a method with ``retrieval.refine: wave``.

    Raises
    ------
    ConfigError
        The method gives no displacement, or the phase already.
    """
    if not spec.gives_displacement or spec.gives_phase:
        raise ConfigError(
            f"retrieval.refine: 'wave' refines the displacement of a method; '{spec.name}' gives none; set it to none"
        )

    def seconds(positions: int, settings: Any) -> float:
        return spec.seconds_per_pixel(positions, settings) + wave_seconds(iterations, positions)

    def memory(positions: int, settings: Any) -> float:
        return max(spec.bytes_per_pixel(positions, settings), wave_bytes(positions))

    return replace(
        spec,
        output_fields=spec.output_fields | {"phase", "attenuation"},
        needs=tuple(dict.fromkeys((*spec.needs, *NEEDS))),
        uses=tuple(entry for entry in dict.fromkeys((*spec.uses, *USES)) if entry not in NEEDS),
        seconds_per_pixel=seconds,
        bytes_per_pixel=memory,
    )
