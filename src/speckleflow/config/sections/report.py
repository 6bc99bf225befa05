"""Section ``report``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from speckleflow.settings import Section


class Report(Section):
    """The HTML file of a scan."""

    pictures_per_contrast: Annotated[int, Field(ge=1, le=12)] = Field(
        2, description="Projections shown of each contrast."
    )
