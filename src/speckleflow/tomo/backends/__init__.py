"""Filtered back-projection by one of several programs, all with the same orientation, scale and filters."""

from speckleflow.tomo.backends.base import Backend
from speckleflow.tomo.backends.registry import BACKENDS, backend_class, make_backend

__all__ = ["BACKENDS", "Backend", "backend_class", "make_backend"]
