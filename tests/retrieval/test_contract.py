"""Every registered method is held to the public contract; a new one is tested without being named here."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from speckleflow.retrieval import registry
from speckleflow.retrieval.base import Retriever
from speckleflow.retrieval.double_exposure.network import Generator
from speckleflow.retrieval.double_exposure.settings import DoubleExposureSettings
from speckleflow.retrieval.lcs.settings import LcsSettings
from speckleflow.retrieval.pwf.settings import PwfSettings
from speckleflow.retrieval.umpa.settings import UmpaSettings
from speckleflow.testing import MethodContract, Tolerance
from speckleflow.train.checkpoint import save_weights


@dataclass(frozen=True)
class Case:
    """What a method is held to where it is not the default, and whether its tests take seconds."""

    tolerance: Tolerance = field(default_factory=Tolerance)
    slow: bool = False
    more: dict[str, Any] = field(default_factory=dict)


def with_a_neutral_generator(contract: MethodContract) -> Retriever:
    """The double exposure whose generator makes an empty in-line image: all around it must then be the tracker's."""
    generator = Generator(1 / 32, inputs=2)
    torch.nn.init.zeros_(generator.layers[-2].weight)
    torch.nn.init.zeros_(generator.layers[-2].bias)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/neutral.safetensors"
        save_weights(generator, path, {"width": repr(1 / 32), "inputs": "2"})
        return registry.get(contract.method)(DoubleExposureSettings(weights=path))


#: A network is as good as its training: measured at most 1.4e-3 px, 1.8e-3, 0.036.
LEARNED = Case(Tolerance(u=5e-3, t=5e-3, d=0.1), slow=True)
#: The peak of a correlation is no paraboloid, and the mean of a window not that of the pattern: measured at most
#: 0.083 px, 0.006, 0.029, and 0.069 of T where the visibility is 0.45.
MATCHING = Case(
    Tolerance(u=0.2, t=0.015, d=0.08, t_lost=0.3), more={"tiled_bytes": 50e6, "tiled_shape": (96, 256)}
)
CASES = {
    # exact up to interpolation: measured at most 7e-4 px, 3e-4, 6e-4
    "umpa": Case(more={"tiled_bytes": 300e6, "tiled_settings": UmpaSettings(max_displacement_px=4)}),
    # every pixel alone: where its equations are nearly singular, tiles differ by 0.0022 px
    "lcs": Case(
        Tolerance(tile=6e-3),
        more={
            "tiled_settings": LcsSettings(iterations=3, max_displacement_px=4),
            "tiled_bytes": 140e6,
            "tiled_shape": (96, 400),
        },
    ),
    "xst": MATCHING,
    "zncc": MATCHING,
    "xsvt": MATCHING,
    "auto": LEARNED,
    "espinnet": LEARNED,
    "spinnet": LEARNED,
    # exact but for a scan turned by its transposition, which is another image to the network: measured 0.006 px, 6e-4
    # umpa's own for a single position: measured at most 0.0035 px, 5e-4, 0.005, and 0.011 of T where visibility is lost
    "double_exposure": Case(Tolerance(u=7e-3, d=0.012, t_lost=0.02), more={"make": with_a_neutral_generator}),
    "cade": Case(Tolerance(u=0.015, t=2e-3)),
    # a shift of 2 px is a plane of 200 rad, which 40 iterations do not quite climb: measured at most 0.86 rad, 0.0025
    "pwf": Case(Tolerance(t=5e-3, phase=1.8), more={"settings": PwfSettings(iterations=40, wing_ratio=0)}),
}


@pytest.mark.slow
def in_tiles(contract: MethodContract) -> None:
    """The test of tiles, which takes seconds, under a mark of its own."""
    MethodContract.test_tiles_give_the_whole(contract)


for _name in registry.available():
    _case = CASES.get(_name, Case())
    _members = {"method": _name, "tolerance": _case.tolerance, **_case.more}
    if "tiled_bytes" in _members:
        _members["test_tiles_give_the_whole"] = in_tiles
    _class = type(f"Test_{_name}", (MethodContract,), _members)
    globals()[f"Test_{_name}"] = pytest.mark.slow(_class) if _case.slow else _class
