"""Settings of method cade."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from speckleflow.settings import Section


class CadeSettings(Section):
    """CADE, a neural network (StrainNet-f) for a single diffuser position and displacements within a pixel of each
    other: displacement by the network, transmission by a window. The weights decide its width."""

    weights: str = Field(
        "shipped",
        description="Weights: those of the package, or the path of a .safetensors file of your own.",
    )
    both_ways: bool = Field(
        True,
        description="Also track from sample to reference and take the mean: the displacement of equal frames is then "
        "0, and errors fall by a tenth to a half, for twice the time. false: as published.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Of the convolutions; all else is float32. auto: float16 on a GPU, float32 on a CPU.",
    )
