"""Settings of method xsvt."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from speckleflow.retrieval.matching.settings import LARGEST_WINDOW, MatchingSettings


class XsvtSettings(MatchingSettings):
    """X-ray speckle vector tracking: the vector of a pixel over the diffuser positions searched for in the sample."""

    window: Annotated[int, Field(ge=1, le=LARGEST_WINDOW)] = Field(
        5,
        description="Side in pixels (odd) of the window whose pixels' vectors are joined; 1: every pixel alone.",
    )
