"""Settings of method xst."""

from __future__ import annotations

from speckleflow.retrieval.matching.settings import MatchingSettings


class XstSettings(MatchingSettings):
    """X-ray speckle tracking: windows of a single reference frame searched for in the sample."""
