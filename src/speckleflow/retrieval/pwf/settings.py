"""Section ``retrieval.pwf``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from speckleflow.settings import NonNegative, Positive, Section


class PwfSettings(Section):
    """Preconditioned Wirtinger flow: phase and attenuation by wave optics from one diffuser position or several."""

    coherence_length_um: Annotated[list[Positive], Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="Coherence lengths [y, x] at the detector in micrometres. null: from the detector's blur where "
        "it is known, else from the autocorrelation of the reference (Siegert relation).",
    )
    oversampling_ratio: Positive = Field(
        1.0, description="Measured modes over reconstructed ones (gamma): larger is smoother."
    )
    attenuation_weight: NonNegative = Field(
        0.1, description="Weight that keeps the attenuation's frequencies beyond the sample's band small."
    )
    phase_weight: NonNegative = Field(0.01, description="The same for the phase.")
    preconditioner: bool = Field(
        True,
        description="Divide the phase's gradient by the square of its frequency; without it many times slower.",
    )
    tolerance: Positive = Field(
        1e-5, description="Stop when -log10 of the correlation of exp(psi) over ten iterations is below it."
    )
    iterations: Annotated[int, Field(ge=1)] = Field(5000, description="Most iterations.")
    wing_ratio: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.05,
        description="Share of the columns on each side that are empty: the plane that fits their phase is taken off. "
        "0: no plane.",
    )
