"""Settings of method auto."""

from __future__ import annotations

from pydantic import Field

from speckleflow.settings import NonNegative, Section


class AutoSettings(Section):
    """What all the methods behind it have in common; their other settings are the defaults."""

    detector_blur_px: NonNegative | None = Field(
        None,
        description="Standard deviation of the detector's point spread in pixels; see umpa's. null: as measured; where "
        "the noise shows none, what the chosen method assumes.",
    )

    @property
    def weights(self) -> str:
        """Those of the package: a change of them makes results again."""
        return "shipped"
