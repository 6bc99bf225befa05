"""Every part of the benchmark: the modules of :mod:`.parts`, in the order of the page."""

from __future__ import annotations

from importlib import import_module

from speckleflow.benchmark.part import Part

#: modules of :mod:`speckleflow.benchmark.parts`
MODULES = (
    "methods",
    "lens",
    "similarity",
    "single_shot",
    "wirtinger",
)


def parts() -> list[Part]:
    """All parts."""
    return [part for name in MODULES for part in import_module(f"speckleflow.benchmark.parts.{name}").PARTS]
