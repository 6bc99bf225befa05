"""Settings of method lcs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from speckleflow.settings import Positive, Section


class LcsSettings(Section):
    """Low Coherence System: the linear equations of each pixel over the diffuser positions, in closed form."""

    iterations: Annotated[int, Field(ge=1, le=8)] = Field(
        4,
        description="Solutions, each with the sample warped by the one before, from wide windows to the last one. "
        "1: the published method, for displacements well below a speckle.",
    )
    window: Literal[1, 3, 5, 7, 9] = Field(
        1,
        description="Side in pixels of the window whose equations are solved together; 1: every pixel alone.",
    )
    darkfield: Literal["none", "scalar", "directional"] = Field(
        "none",
        description="none: visibility is taken as kept. scalar: D as a fourth unknown; needs four diffuser positions. "
        "directional: the covariance of the blur by scattering, three unknowns more; needs seven.",
    )
    max_displacement_px: Positive = Field(12.0, description="Largest displacement, in pixels.")
