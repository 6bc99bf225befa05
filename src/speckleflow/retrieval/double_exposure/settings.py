"""Settings of method double_exposure."""

from __future__ import annotations

from pydantic import Field

from speckleflow.settings import Positive, Section


class DoubleExposureSettings(Section):
    """Double exposure in a single shot: a neural network makes the image that the sample gives without a diffuser, and
    any single-shot method tracks what is left of the frame when it has been divided by that image."""

    weights: str = Field(
        "shipped",
        description="Weights of the generator: those of the package, or the path of a .safetensors file of your own.",
    )
    tracker: str = Field(
        "umpa",
        description="Method that tracks the frame over its in-line image; any that takes a single position and gives a "
        "displacement. It runs with its default settings.",
        examples=["umpa", "spinnet", "cade"],
    )
    softness: Positive = Field(
        0.5,
        description="Where the in-line image is darker than this part of its surroundings, the frame is not divided by "
        "all of it: noise and what the model leaves out would be multiplied.",
    )
