"""Settings of the networks, and of method espinnet."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from speckleflow.settings import NonNegative, Section


class NetworkSettings(Section):
    """What the networks have in common."""

    weights: str = Field(
        "shipped",
        description="Weights: those of the package, or the path of a .safetensors file of your own.",
    )
    refine: bool = Field(
        True,
        description="Refine by Gauss-Newton steps at full resolution after the network; without them only the "
        "displacement is the network's own (our structure).",
    )
    detector_blur_px: NonNegative | None = Field(
        None,
        description="Standard deviation of the detector's point spread in pixels; see umpa's. null: as measured; where "
        "the noise shows none our structure assumes 0.7, the published ones none.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Of the convolutions; all else is float32. auto: float16 on a GPU (it changes u by some 1e-5 px), "
        "float32 on a CPU.",
    )


class EspinnetSettings(NetworkSettings):
    """ESPINNet, a neural network for two diffuser positions or more. The weights decide its structure: our own and
    faster one, or the published one."""

    weights: str = Field(
        "shipped",
        description="Weights: those of the package (nothing is downloaded), a .safetensors file of your own, or the "
        "path of the authors' checkpoint (.pt, read as tensors only).",
        examples=["shipped", "weights/training_model_001500.pt"],
    )
    scaling: Literal["nearest", "linear", "spline"] = Field(
        "nearest",
        description="Published structure: how N positions become the 20 frames it takes; the first 20 of more.",
    )
    refiners: bool = Field(
        False, description="Published structure: run its refiner networks too (twice the time)."
    )
