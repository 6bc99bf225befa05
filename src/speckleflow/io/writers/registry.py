"""Names of the output formats. A new format is one module, one line here and its name in ``config.sections.output``."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from speckleflow.errors import ConfigError
from speckleflow.io.writers.base import VolumeWriter

#: name -> module:class, imported when it is asked for
WRITERS: dict[str, str] = {
    "ome-zarr": "speckleflow.io.writers.ome_zarr:OmeZarrWriter",
    "tiff": "speckleflow.io.writers.tiff:TiffWriter",
    "tiff16": "speckleflow.io.writers.tiff:Tiff16Writer",
    "xdmf": "speckleflow.io.writers.xdmf:XdmfWriter",
}


def make_writer(name: str) -> VolumeWriter:
    """The writer of a format; the package that it needs is imported here and not before.

    Raises
    ------
    ConfigError
        Unknown name, or the package is not installed.
    """
    if name not in WRITERS:
        near = get_close_matches(name.lower(), WRITERS, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"output: expected one of {', '.join(WRITERS)}, found '{name}'{hint}")
    module, _, attribute = WRITERS[name].partition(":")
    try:
        writer: VolumeWriter = getattr(import_module(module), attribute)()
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"output: format '{name}' needs the package {error.name}, which is not installed; "
            "install it by: pip install 'speckleflow[export]'"
        ) from error
    return writer
