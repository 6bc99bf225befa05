"""What a training run may set: read from YAML, every key documented here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from speckleflow.config.load import read_yaml
from speckleflow.errors import ConfigError
from speckleflow.settings import NonNegative, Positive, Section

if TYPE_CHECKING:
    from speckleflow.train.run import RunConfig

Count = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[Positive, Positive]


class Scenes(Section):
    """What the training scenes are drawn from; displacement, pitch and photons log-uniformly."""

    positions: tuple[Count, ...] = Field(
        (1, 2, 2, 3, 3, 4, 5, 5, 7, 10, 14),
        description="Numbers N of diffuser positions; one is drawn for each step.",
    )
    displacement_px: Range = Field((0.05, 8.0), description="Scale of the displacement in pixels.")
    pitch_px: Range = Field((3.0, 30.0), description="Pitch of the modulator in pixels.")
    contrast: Range = Field((0.05, 0.6), description="Standard deviation of the pattern over its mean.")
    photons: Range = Field((300.0, 1e5), description="Photons per pixel and frame in the empty beam.")
    blur_px: tuple[NonNegative, Positive] = Field(
        (0.0, 1.5), description="Blur of the detector in pixels (standard deviation)."
    )
    blur_error_px: NonNegative = Field(
        0.3, description="Error of the blur in the third of the scenes that know it badly."
    )
    scintillator: Share = Field(
        0.5, description="Share of the detectors that blur after the photons were counted, and so the noise."
    )
    edge_px: tuple[NonNegative, NonNegative] = Field(
        (0.0, 3.0), description="Softness of edges in pixels (standard deviation); three in ten are hard."
    )
    transmission_min: Positive = Field(
        0.2, description="Lowest transmission of a scene (0.2: 80 % absorption)."
    )
    darkfield_min: Positive = Field(0.1, description="Lowest visibility ratio of a scene.")
    wave: Share = Field(0.1, description="Share of wave-optical scenes.")
    wrong_position: Share = Field(0.05, description="Share with one wrong position, where N is 5 or more.")
    filled: Share = Field(0.1, description="Share whose bad pixels hold the mean of their surroundings.")
    patterns: Count = Field(48, description="Modulator patterns simulated at the start, by wave optics.")
    pattern_px: Count = Field(384, description="Side of a pattern in pixels.")


class TrainConfig(Section):
    """One training run."""

    network: Literal["espinnet-fast", "spinnet", "espinnet", "spinnet-published"] = Field(
        "espinnet-fast",
        description="Structure to train. spinnet: that of espinnet-fast, for scenes with N = 1.",
    )
    folder: str = Field("runs/train", description="Folder of checkpoint, curve and weights.")
    start_from: str | None = Field(None, description="Weights to begin with; null: random ones.")
    part: Literal["all", "pyramid", "fusion", "coarse"] = Field(
        "all",
        description="What is trained of the fast structure: its pyramid (without refinement), its fusion head "
        "(after refinement), or all; of the published ESPINNet all, or the coarse scales below full resolution. The "
        "rest stays as it is.",
    )
    scenes: Scenes = Field(default_factory=Scenes, description="The training scenes.")
    seed: int = Field(1, description="Seed of every random number.")
    steps: Count = Field(
        8000, description="Optimiser steps of the whole run (the learning rate's one cycle)."
    )
    batch: Count = Field(4, description="Scenes per step and process.")
    crop_px: Annotated[int, Field(ge=64, multiple_of=8)] = Field(
        128, description="Side of a scene in pixels."
    )
    subsets: Annotated[int, Field(ge=0)] = Field(
        1,
        description="Further passes over the same scenes with a part of the positions only (making scenes "
        "costs more than a pass).",
    )
    learning_rate: Positive = Field(1e-3, description="Peak learning rate of AdamW.")
    weight_decay: NonNegative = Field(1e-4, description="Weight decay of AdamW.")
    warm_up: Fraction = Field(
        0.05, description="Share of the steps in which the learning rate rises to its peak."
    )
    coarse_first: Fraction = Field(
        0.0, description="Share of the steps in which the finer scales are switched on one after the other."
    )
    gradient_norm: Positive = Field(1.0, description="Gradients longer than this are shortened to it.")
    average: Fraction = Field(0.999, description="Decay of the exponential moving average of the weights.")
    validate_every: Count = Field(250, description="Steps between validations.")
    validation_scenes: Count = Field(12, description="Held-out scenes of a validation, for each N.")
    checkpoint_minutes: Positive = Field(3.0, description="Minutes between checkpoints.")
    minutes: Positive | None = Field(
        None,
        description="Stop (with a checkpoint) after so many minutes; resume continues. null: until the end.",
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where to train.")
    threads: Count = Field(1, description="CPU threads of the network's process.")
    workers: Annotated[int, Field(ge=0)] = Field(
        1, description="Processes that make scenes ahead (CPU); 0: in the training process."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Precision of the convolutions (bfloat16: on a GPU)."
    )


def config_class(network: object) -> Callable[[Any], TrainConfig | RunConfig]:
    """What validates the configuration of a network's run."""
    if network == "cade":
        from speckleflow.train.cade import CadeConfig

        return CadeConfig.model_validate
    if network == "double_exposure":
        from speckleflow.train.double_exposure import DoubleExposureConfig

        return DoubleExposureConfig.model_validate
    return TrainConfig.model_validate


def read_train_config(path: str | Path) -> TrainConfig | RunConfig:
    """Read a training configuration from YAML; ``network`` decides which keys there are.

    Raises
    ------
    ConfigError
        No such file, no YAML, an unknown key or an impossible value: one sentence that names it.
    """
    path = Path(path)
    content = read_yaml(path)
    if content is None:
        raise ConfigError(f"{path}: expected a training configuration, found an empty file")
    try:
        return config_class(content.get("network") if isinstance(content, dict) else None)(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{path}: {key}: {first['msg']}, found {first['input']!r}") from error
