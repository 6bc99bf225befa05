"""Settings that all methods of template matching share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from speckleflow.settings import Section

#: pixels; beyond it a window is an image
LARGEST_WINDOW = 63


class MatchingSettings(Section):
    """What all methods of template matching have in common."""

    window: Annotated[int, Field(ge=1, le=LARGEST_WINDOW)] = Field(
        9, description="Side of the window in pixels (odd)."
    )
    search_px: Annotated[int, Field(ge=1, le=40)] = Field(
        6, description="Largest displacement that is searched for, in pixels; time grows with its square."
    )
    subpixel: Literal["paraboloid", "gaussian"] = Field(
        "paraboloid",
        description="How the peak is found between pixels: a paraboloid through 3 x 3 values, or a Gaussian along "
        "each axis.",
    )

    @field_validator("window")
    @classmethod
    def _odd(cls, value: Any) -> Any:
        if value % 2 == 0:
            raise ValueError(f"window must be odd (it has a centre pixel), found {value}")
        return value


def seconds_per_pixel(positions: int, settings: MatchingSettings) -> float:
    """CPU seconds of a projection over its pixels (benchmarks/matching.md)."""
    count = (2 * settings.search_px + 1) ** 2
    return count * (4e-9 + 1.0e-9 * positions + (8e-9 if settings.window > 1 else 0))


def bytes_per_pixel(positions: int, settings: MatchingSettings) -> float:
    """Peak memory of a job over the pixels of an image: all correlations, products of a row of them, maps."""
    count = 2 * settings.search_px + 1
    return 4.0 * (count * (count + 2) + 6 * positions + 60)
