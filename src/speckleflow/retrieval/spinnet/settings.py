"""Settings of method spinnet."""

from __future__ import annotations

from speckleflow.retrieval.espinnet.settings import NetworkSettings


class SpinnetSettings(NetworkSettings):
    """SPINNet, a neural network for a single diffuser position: displacement and transmission, no dark field."""
