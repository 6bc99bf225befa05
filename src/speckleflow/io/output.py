"""Whether a file that the user names as an output may be written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import h5py

from speckleflow.errors import ConfigError
from speckleflow.io.hdf5 import open_hdf5
from speckleflow.io.results import PROVENANCE


def check_output(output: Path, suffixes: Sequence[str], inputs: Sequence[str]) -> None:
    """Refuse, before anything is computed, to write over what is no earlier result, or where nothing can be.

    Raises
    ------
    ConfigError
        Another suffix, an input, a folder, or an existing HDF5 name under which there is no result.
    """
    where = f"command line: --output {output}"
    if output.suffix.lower() not in suffixes:
        raise ConfigError(
            f"{where}: expected a name that ends in {' or '.join(suffixes)}, found '{output.name}'"
        )
    if output.is_dir():
        raise ConfigError(f"{where}: expected the name of a file, found a folder")
    if not output.exists():
        return
    names = {os.path.realpath(name.partition(":/")[0]) for name in inputs}
    if os.path.realpath(output) in names:
        raise ConfigError(f"{where}: expected another file than the input, found the same")
    if ".h5" in suffixes and not (h5py.is_hdf5(output) and _is_result(output)):
        raise ConfigError(
            f"{where}: expected a new file or an earlier result, found another file of that name"
        )


def _is_result(path: Path) -> bool:
    with open_hdf5(path) as file:
        return PROVENANCE in file
