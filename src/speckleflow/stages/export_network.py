"""A method's network as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from speckleflow.config import parse_config
from speckleflow.errors import ConfigError
from speckleflow.io.atomic import atomic_path
from speckleflow.io.stack import read_stack
from speckleflow.retrieval import registry


def export_network(*, method: str, reference: str, output: Path, weights: str | None) -> None:
    """Write the ONNX file of a method for stacks like ``reference``: see :mod:`.retrieval.espinnet.export`.

    Raises
    ------
    ConfigError
        A method without a network, an output that exists or is no .onnx, a missing package.
    InputError
        A reference that cannot be read, or that the method refuses.
    """
    kind = registry.get(method)
    if not hasattr(registry.default_settings(method), "weights"):
        raise ConfigError(
            f"command line: method '{method}' has no network to export; espinnet, spinnet and cade do"
        )
    where = f"command line: --output {output}"
    if output.suffix.lower() != ".onnx":
        raise ConfigError(f"{where}: expected a name that ends in .onnx, found '{output.name}'")
    if output.exists():
        raise ConfigError(f"{where}: expected a new file, found one of that name")
    from speckleflow.retrieval.espinnet.export import check_packages, to_onnx

    check_packages()
    retrieval: dict[str, Any] = {"method": method}
    if weights is not None:
        retrieval[method] = {"weights": weights}
    settings = parse_config({"retrieval": retrieval}, "command line").retrieval.settings
    stack = torch.from_numpy(read_stack(reference).astype("float32"))
    program = to_onnx(kind(settings), stack)
    with atomic_path(output) as private:
        program.save(private, external_data=False)
