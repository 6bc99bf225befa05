"""Settings of method umpa."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from speckleflow.settings import NonNegative, Positive, Section

LARGEST_WINDOW = 63  #: pixels; beyond it a window is an image


class UmpaSettings(Section):
    """Unified Modulated Pattern Analysis, solved by Gauss-Newton."""

    window: Annotated[int, Field(ge=1, le=LARGEST_WINDOW)] | Literal["auto"] = Field(
        "auto",
        description="Side of the analysis window in pixels (odd), or auto: chosen per pixel from the expected error.",
    )
    max_displacement_px: Positive = Field(
        12.0, description="Largest displacement that is searched for, in pixels."
    )
    detector_blur_px: NonNegative | None = Field(
        None,
        description="Standard deviation of the detector's point spread in pixels. Where the transmission changes, it "
        "looks like a displacement, which is taken off, as that of the pixel itself. null: as measured on the "
        "noise of repeated flats or references, 0 where it shows none.",
    )

    @field_validator("window", mode="before")
    @classmethod
    def _odd(cls, value: Any) -> Any:
        if value == "auto":
            return value
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_WINDOW:
            raise ValueError(f"expected auto or an odd number from 1 to {LARGEST_WINDOW}, found {value!r}")
        if value % 2 == 0:
            raise ValueError(f"window must be odd (it has a centre pixel), found {value}")
        return value
