"""Section ``tomography``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from speckleflow.settings import Positive, Section

RingFilter = Literal["none", "auto", "sorting", "combined", "wavelet", "fft"]


class Rings(Section):
    """Ring filter of every contrast: auto tells the kinds of stripes apart and leaves a sinogram without any as it is; the others treat every column (benchmarks/rings.md)."""

    phase: RingFilter = Field("auto", description="Ring filter of the phase.")
    absorption: RingFilter = Field("auto", description="Ring filter of the absorption, -ln T.")
    darkfield: RingFilter = Field("auto", description="Ring filter of the dark field, -ln D.")
    window_px: Annotated[int, Field(ge=1)] = Field(
        9, description="Width of the median of the filter sorting: at least twice the widest stripe."
    )


class Tomography(Section):
    """Rotation axis, rings and reconstruction."""

    enabled: Literal["auto", "yes", "no"] = Field(
        "auto", description="auto: reconstruct volumes when the scan has more than one angle."
    )
    axis_px: Annotated[float, Field(allow_inf_nan=False)] | Literal["auto"] = Field(
        "auto",
        description="Rotation axis in pixels, pixel centres at integers; auto: found.",
    )
    axis_contrast: Literal["auto", "transmission", "phase", "darkfield"] = Field(
        "auto",
        description="What the axis is searched for in; auto: transmission, then phase, then dark field, until one can be trusted. One axis serves all contrasts.",
    )
    axis_tilt_deg: Annotated[float, Field(gt=-45, lt=45)] | Literal["auto"] = Field(
        0.0,
        description="Tilt of the axis in the plane of the detector in degrees, taken off by turning the projections; positive: its lower end leans to the right. auto: as measured, where it moves the rim of the image by more than half a pixel.",
    )
    align: Literal["none", "level", "shift", "both"] = Field(
        "none",
        description="What is taken off every projection of a sample wholly in view, by the moments of its line integrals: level, so that its mass is the same at all angles; shift, in x and y, so that its centre of mass runs on a circle; both. One shift serves all contrasts. A detector's stripes are shifted too, and harder to tell from the sample.",
    )
    turn_deg: Positive = Field(
        360.0,
        description="Rotation in degrees that one volume is made of, where the sample changes as it turns (geometry.axis: "
        "both); 180 makes two volumes a turn.",
    )
    offset_axis: bool = Field(
        False,
        description="A 360-degree scan whose axis lies near the edge, to be stitched to a 180-degree one.",
    )
    backend: Literal["fourier", "astra", "tomopy", "sirt", "cgls", "tv"] = Field(
        "fourier",
        description="FBP (fourier, astra, tomopy), or for few angles, a missing wedge or noise: sirt, cgls or tv (total variation), which fit the projections to their noise, on the CPU and without voxel_std.",
    )
    filter: Literal["ramlak", "shepp", "hann", "parzen"] = Field(
        "shepp",
        description="FBP filter, from sharp and noisy (ramlak) to smooth (parzen); sirt, cgls and tv take none.",
    )
    padding: Literal["auto", "zero", "edge"] = Field(
        "auto",
        description="What is beyond the detector: zero, the air about a sample; edge, a sample wider than the view, which would else seem denser towards the rim. auto: as the outer columns say.",
    )
    rings: Rings = Rings()

    voxel_std: bool = Field(
        True,
        description="State the standard deviation of the noise of every voxel beside the volumes (delta_std, mu_std, "
        "darkfield_std); takes the time of the reconstruction again.",
    )

    split: Literal["none", "angles"] = Field(
        "none",
        description="angles: reconstruct the middle of the volumes (256 voxels a side at most) from the odd and from the even angles too, and state the resolution by the Fourier shell correlation of the two (half bit, quarter bit, 1/7) in volumes.h5 and the report; takes the time of the reconstruction of those rows again.",
    )

    @field_validator("enabled", mode="before")
    @classmethod
    def _yes_or_no(cls, value: Any) -> Any:
        """YAML reads yes and no as true and false."""
        return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
