"""Names of the backends. A new backend is one module and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from numpy.typing import ArrayLike

from speckleflow.errors import ConfigError
from speckleflow.tomo.backends.base import Backend
from speckleflow.tomo.filters import DEFAULT

#: name -> (module, class, what to install)
BACKENDS: dict[str, tuple[str, str, str]] = {
    "fourier": ("speckleflow.tomo.backends.fourier", "FourierBackend", "finufft"),
    "astra": ("speckleflow.tomo.backends.astra", "AstraBackend", "astra-toolbox"),
    "tomopy": ("speckleflow.tomo.backends.tomopy", "TomopyBackend", "tomopy (conda-forge only)"),
    "sirt": ("speckleflow.tomo.backends.iterative", "SirtBackend", "finufft"),
    "cgls": ("speckleflow.tomo.backends.iterative", "CglsBackend", "finufft"),
    "tv": ("speckleflow.tomo.backends.iterative", "TvBackend", "finufft"),
}


def backend_class(name: str) -> type[Backend]:
    """The class of a backend; its package is imported here and not before.

    Raises
    ------
    ConfigError
        Unknown name, or the package it needs is not installed.
    """
    if name not in BACKENDS:
        raise ConfigError(f"backend must be one of {', '.join(BACKENDS)}, found '{name}'")
    module, cls, package = BACKENDS[name]
    try:
        backend: type[Backend] = getattr(import_module(module), cls)
    except ImportError as error:
        raise ConfigError(f"backend '{name}' needs {package}, which cannot be imported: {error}") from error
    return backend


def make_backend(
    name: str, angles_deg: ArrayLike, columns: int, axis_px: float, filter: str = DEFAULT, **options: Any
) -> Backend:
    """A backend by name, ready for sinograms of this geometry; see :class:`Backend` for the arguments."""
    return backend_class(name)(angles_deg, columns, axis_px, filter, **options)
