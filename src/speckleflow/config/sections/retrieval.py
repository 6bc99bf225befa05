"""Section ``retrieval``: the method, and the settings of each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from speckleflow.config.sections.base import NonNegative, Positive, Section

LARGEST_WINDOW = 63  #: pixels; beyond it a window is an image


class UmpaSettings(Section):
    """Unified Modulated Pattern Analysis, solved by Gauss-Newton."""

    window: Annotated[int, Field(ge=1, le=LARGEST_WINDOW)] | Literal["auto"] = Field(
        "auto",
        description="Side of the analysis window in pixels (odd), or auto: chosen per pixel from the expected error.",
    )
    max_displacement_px: Positive = Field(
        12.0, description="Largest displacement that is searched for, in pixels."
    )
    detector_blur_px: NonNegative = Field(
        0.0,
        description="Standard deviation of the detector's point spread in pixels, where it is known. Where the "
        "transmission changes, it looks like a displacement, which is then taken off; that of the pixel itself "
        "always is.",
    )

    @field_validator("window", mode="before")
    @classmethod
    def _odd(cls, value: Any) -> Any:
        if value == "auto":
            return value
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_WINDOW:
            raise ValueError(f"expected auto or an odd number from 1 to {LARGEST_WINDOW}, found {value!r}")
        if value % 2 == 0:
            raise ValueError(f"window must be odd (it has a centre pixel), found {value}")
        return value


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
        description="Standard deviation of the detector's point spread in pixels; see umpa's. null: not known; our "
        "structure then assumes 0.7, the published ones none.",
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


class SpinnetSettings(NetworkSettings):
    """SPINNet, a neural network for a single diffuser position: displacement and transmission, no dark field."""


class Retrieval(Section):
    """How displacement, transmission and dark field are retrieved."""

    method: str = Field("umpa", description="Retrieval method; `speckleflow methods` lists them.")
    umpa: UmpaSettings = Field(default_factory=UmpaSettings, description="Settings of method umpa.")
    espinnet: EspinnetSettings = Field(
        default_factory=EspinnetSettings, description="Settings of method espinnet."
    )
    spinnet: SpinnetSettings = Field(
        default_factory=SpinnetSettings, description="Settings of method spinnet."
    )
