"""Settings of method zncc."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from speckleflow.retrieval.matching.settings import MatchingSettings


class ZnccSettings(MatchingSettings):
    """Zero-normalised cross-correlation: windows of a single sample frame searched for in the reference."""

    subpixel: Literal["paraboloid", "gaussian"] = Field(
        "gaussian",
        description="How the peak is found between pixels: a Gaussian along each axis, or a paraboloid through "
        "3 x 3 values.",
    )
