"""Section ``retrieval``: the method, and the settings of each, which stand beside the methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, create_model, model_validator

from speckleflow.retrieval.registry import spec_of, specs
from speckleflow.retrieval.spec import MethodSpec
from speckleflow.retrieval.wave.declared import refined
from speckleflow.settings import NonNegative, Positive, Section


class _Retrieval(Section):
    """How displacement or phase, transmission and dark field are retrieved."""

    method: str = Field(
        "auto",
        description="Retrieval method; `speckleflow methods` lists them. auto: the one with the least error for the number "
        "of diffuser positions.",
    )

    largest_misfit: Positive = Field(
        0.5,
        description="Pixels are flagged (16) where the frame simulated again from the fields and the measured one differ by "
        "more than this part of the pattern, beyond noise (root mean square in a window of 5 px).",
    )

    refine: Literal["none", "wave"] = Field(
        "none",
        description="wave: after the method, fit phase and attenuation to all frames by the wave equation, which also "
        "holds the fringes of propagation. Worth its time where pixel_size^2 / (wavelength distance) is below 0.5.",
    )
    refine_iterations: Annotated[int, Field(ge=1, le=5000)] = Field(
        30, description="refine: wave: iterations; more of them fit the noise."
    )
    refine_blur_px: NonNegative | None = Field(
        None,
        description="refine: wave: standard deviation of the detector's point spread in pixels. null: the method's "
        "detector_blur_px where it is set and not 0, else 0.7.",
    )

    @model_validator(mode="after")
    def _settings_are_of_a_named_method(self) -> Self:
        if self.method == "auto":
            for name, spec in specs().items():
                own = getattr(self, name, None)
                if name != self.method and spec.settings is not None and own != spec.settings():
                    raise ValueError(
                        f"settings of method {name} have no effect with retrieval.method auto, which takes the defaults: "
                        f"set retrieval.method to {name}, or leave retrieval.{name} out"
                    )
        return self

    @property
    def spec(self) -> MethodSpec:
        """What the chosen method declares, with its refinement.

        Raises
        ------
        ConfigError
            There is no method of that name, or it has no displacement to refine.
        """
        spec = spec_of(self.method)
        return refined(spec, self.refine_iterations) if self.refine == "wave" else spec

    @property
    def settings(self) -> Any:
        """The settings of the chosen method; None where it has none."""
        return getattr(self, self.method, None)


if TYPE_CHECKING:
    Retrieval = _Retrieval
else:
    Retrieval = create_model(
        "Retrieval",
        __base__=_Retrieval,
        __doc__=_Retrieval.__doc__,
        __module__=__name__,
        **{
            name: (
                spec.settings,
                Field(default_factory=spec.settings, description=f"Settings of method {name}."),
            )
            for name, spec in specs().items()
            if spec.settings is not None
        },
    )
