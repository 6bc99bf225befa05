"""Section ``integrate``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from speckleflow.settings import Section


class Integrate(Section):
    """From displacement to phase (Frankot and Chellappa). Of a method that gives the phase itself, only the level."""

    boundary: Literal["mirror", "dct", "periodic"] = Field(
        "mirror", description="How the field continues beyond the image."
    )
    ramp: bool = Field(False, description="Also remove a linear ramp fitted to the air margins.")
    quadratic: bool = Field(
        False,
        description="Also remove a ramp and a curvature fitted to the air margins; needs air on more than two sides.",
    )
    weights: bool = Field(
        True, description="Weight the pixels by their expected error (iterative), within a factor of 10."
    )

    @property
    def order(self) -> int:
        """Of the surface that is fitted to the air: 0 constant, 1 plane, 2 quadratic."""
        return 2 if self.quadratic else int(self.ramp)
