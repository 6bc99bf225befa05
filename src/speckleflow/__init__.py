"""speckleflow: from raw modulated-pattern X-ray images to quantitative 3-D volumes.

    import speckleflow as sf

    scan = sf.open("config.yaml")  # raw frames; a result: sf.results("results/demo/volumes.h5")
    fields = sf.retrieve(scan.reference, scan.frames())
    phase = sf.integrate(fields, scan.geometry, air=scan.air)
    axis = sf.find_axis(fields["transmission"], scan.angles_deg)
    delta = sf.reconstruct(phase, scan.angles_deg, axis, quantity="delta", geometry=scan.geometry)

The functions are in :mod:`speckleflow.api`; they and what they need are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speckleflow.api import (
        Geometry,
        RawScan,
        ResultFile,
        find_axis,
        integrate,
        methods,
        open,
        reconstruct,
        results,
        retrieve,
    )

__version__ = "0.1.0"

__all__ = [
    "Geometry",
    "RawScan",
    "ResultFile",
    "__version__",
    "find_axis",
    "integrate",
    "methods",
    "open",
    "reconstruct",
    "results",
    "retrieve",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'speckleflow' has no attribute '{name}'")
    from speckleflow import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
