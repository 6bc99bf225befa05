"""Section ``integrate``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from speckleflow.config.sections.base import Section


class Integrate(Section):
    """From displacement to phase (Frankot and Chellappa)."""

    boundary: Literal["mirror", "dct", "periodic"] = Field(
        "mirror", description="How the field continues beyond the image."
    )
    ramp: bool = Field(False, description="Also remove a linear ramp fitted to the air margins.")
    weights: bool = Field(
        True, description="Weight the pixels by their expected error (iterative), within a factor of 10."
    )
