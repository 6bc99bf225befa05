"""A method's network as an ONNX graph, for programs without torch.

In the graph is everything between corrected stacks and maps: padding, levelling of the flux, pyramid, refinement,
fusion (or the published network). It holds for stacks of one size and number of positions. What the refinement reads
off the reference's spectrum beforehand (its low-pass, how noise enters a window, whether the pattern is periodic) is a
constant of the graph: it belongs to the pattern of the reference stack it was exported with, and to any other stack of
the same modulator and detector. Flags are not in it.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from speckleflow.errors import ConfigError
from speckleflow.retrieval.base import Retriever
from speckleflow.retrieval.espinnet.layers import pad_to_multiple, unpad
from speckleflow.retrieval.espinnet.retriever import NetworkRetriever
from speckleflow.retrieval.espinnet.structures import Structure
from speckleflow.retrieval.tiles import make_tiles

#: operators as of this version of ONNX: the first that has reductions and padding with axes as inputs
OPSET = 18
#: A mirrored border must not be wider than the image: 18 px are, at full resolution and at 1/2.
SMALLEST = 48


def check_packages() -> None:
    """Raise a ConfigError that says how to install them where packages that write ONNX are missing."""
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"export: expected the packages onnx and onnxscript, found no {' and no '.join(missing)}; "
            "install them with pip install 'speckleflow[onnx]'"
        )


class Whole(nn.Module):
    """Retrieval of one whole sample by a structure, as one function of tensors."""

    def __init__(self, structure: Structure, pattern: Any) -> None:
        super().__init__()
        self.network = structure.network
        self.structure, self.pattern = structure, pattern

    def forward(self, reference: Tensor, sample: Tensor) -> tuple[Tensor, ...]:
        """Maps (1, y, x) from a reference (N, y, x) and a sample (1, N, y, x)."""
        structure = self.structure
        scale = reference.mean()
        reference = reference[None] / scale
        sample = structure.levelled(reference, sample / scale)
        (first, padding), (padded, _) = (pad_to_multiple(s, structure.multiple) for s in (reference, sample))
        height, width = padded.shape[-2:]
        (tile,) = make_tiles(height, width, max(height, width), structure.halo, structure.multiple)
        pattern = structure.traced_whole(first[0], self.pattern)
        prepared = structure.prepare_tile(first[0], tile, pattern)
        return tuple(unpad(image[:, 0], padding) for image in structure.run_tile(padded, prepared))


def to_onnx(method: Retriever, reference: Tensor) -> Any:
    """The ONNX program (``torch.onnx.ONNXProgram``) of a method for stacks like ``reference`` (N, y, x).

    Its inputs are ``reference`` (N, y, x) and ``sample`` (1, N, y, x), corrected, float32; its outputs maps
    (1, y, x): ux, uy (px), transmission, darkfield and, of our own structure, displacement_std (px) and
    transmission_measured, on the reference grid; those of a published structure on the detector grid (SPINNet: no
    darkfield, transmission on the reference grid). Of cade: ux, uy, transmission_measured and beyond_range (1 where a
    displacement is larger than the network was trained for), on the reference grid, for displacements within a pixel.

    Raises
    ------
    ConfigError
        The method has no network, its images are too small, or a package is missing that writes ONNX.
    InputError
        A reference that the method itself would refuse.
    """
    if not isinstance(method, NetworkRetriever):
        raise ConfigError(
            f"method '{method.spec.name}' has no network to export; espinnet, spinnet and cade do"
        )
    check_packages()
    if min(reference.shape[-2:]) < SMALLEST:
        raise ConfigError(
            f"export: expected images of at least {SMALLEST} x {SMALLEST} pixels, "
            f"found {reference.shape[-2]} x {reference.shape[-1]}"
        )
    pattern = method.prepare(reference).whole
    whole = Whole(method.structure, pattern).eval()
    reference = reference.to(method.device, torch.float32)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's of its own insides, and of packages that nothing here needs
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        graph = torch.export.export(whole, (reference, reference[None].clone()))
        names = method.structure.maps[: len(graph.graph_signature.user_outputs)]
        program: Any = torch.onnx.export(
            graph,
            dynamo=True,
            opset_version=OPSET,
            input_names=["reference", "sample"],
            output_names=list(names),
            optimize=False,  # programs that run the graph do that in seconds; here it takes minutes
            verbose=False,
        )
    from onnx_ir.passes import common

    # where in the source each node came from is nine tenths of the file
    for shorten in (common.ClearMetadataAndDocStringPass(), common.CommonSubexpressionEliminationPass()):
        shorten(program.model)
    about = {
        "method": method.spec.name,
        "weights_sha256": method.weights_sha256,
        "grid": method.structure.grid,
    }
    program.model.metadata_props.update({f"speckleflow.{key}": value for key, value in about.items()})
    return program
