"""Section ``correct``."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from speckleflow.settings import Margins, Positive, Section, numbers_and_ranges


class Correct(Section):
    """Dark, flat, bad pixels and incident flux."""

    bad_pixel_sigma: Positive = Field(
        8.0,
        description="A pixel is bad when its dark or flat lies this many robust standard deviations from its neighbours'.",
    )
    mask: str | None = Field(
        None, description="TIFF or .npy of known bad pixels (non-zero: bad), added to those found."
    )
    flux: Literal["air", "none"] = Field(
        "air", description="Normalise each frame to the beam seen in the air margins (air_px), or not."
    )
    air_px: Margins | Literal["auto"] = Field(
        "auto",
        description="Width in pixels of the sample-free margins: [left, right, top, bottom]. auto: 4 % of the width, "
        "at least 4 pixels, on the left and right, without a side that the sample enters.",
        examples=["auto", [12, 12, 0, 0]],
    )
    fill_fraction: Annotated[float, Field(ge=0, le=0.2)] = Field(
        0.02,
        description="Largest share of a frame's pixels that may be NaN or saturated (saturation_level): they are "
        "filled from their neighbours in that frame, and flagged. A frame with more is refused.",
    )
    fill_px: Positive = Field(
        10.0,
        description="Largest distance in pixels from a measured pixel at which a pixel is filled. Farther ones are NaN in the "
        "fields and flagged; they have no weight in the integration and are bridged along the row for the tomography.",
    )
    saturation_level: Positive | None = Field(
        None,
        description="Counts from which a pixel of a raw frame is saturated; null: the largest of the frames' type. Such "
        "pixels are masked in their frame, up to fill_fraction of it.",
        examples=[4095],
    )
    flat_scale: Positive = Field(
        1.0,
        description="Exposure of the sample frames over that of their flats, where they differ and no margin is air "
        "(flux: none).",
    )
    flats: Literal["auto", "interpolate", "mean", "before_and_after"] = Field(
        "auto",
        description="Flats of several times. auto: each projection's flat is interpolated between those recorded before "
        "and after it, where the file says when (NXtomo by image_key, ALS by name), else their mean serves all; mean: "
        "always the mean; before_and_after: the first half was recorded before the projections, the second after.",
    )
    references: Literal["mean", "nearest", "interpolate"] = Field(
        "mean",
        description="Reference frames of several times (reference_places). mean: of all of them; nearest: each projection "
        "has the set nearest in time, where the diffuser or the beam moved at once; interpolate: between the sets before and "
        "after it, moved by part of the way, where they drift.",
    )
    reference_places: Literal["file", "names"] | tuple[Annotated[int, Field(ge=0)], ...] = Field(
        "file",
        description="Number of projections recorded before each set of reference frames, ascending: the frames of a "
        "position are as many equal sets, in order. file: as the file says (files.reference_dataset: flats of NXtomo and "
        "ALS); names: the last number in each image's name.",
        examples=["file", [0, 900, 1800]],
    )
    exclude_projections: str | None = Field(
        None,
        description="Projections that are not used, counted from 0: numbers and ranges such as '3,17-19'. They are "
        "left out of retrieval and of the reconstruction, whose weights of the angles follow.",
        examples=["3,17-19"],
    )
    bad_frames: Literal["refuse", "exclude"] = Field(
        "refuse",
        description="Frames that cannot be used (dark, saturated, NaN, in part of one value, the same as the one before): "
        "an error that names the first, or every frame is looked at before the run and their projections are left out.",
    )
    bad_frames_limit: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.05, description="Largest share of the projections that bad_frames: exclude may leave out."
    )
    drift: bool = Field(
        True,
        description="Take the mean displacement of the air margins off (beam or mask moved between frames).",
    )

    @field_validator("exclude_projections", mode="before")
    @classmethod
    def _numbers_and_ranges(cls, value: Any) -> Any:
        return numbers_and_ranges(value, "3,17-19")

    @field_validator("reference_places", mode="before")
    @classmethod
    def _ascending(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in ("file", "names"):
            value = [part.strip() for part in value.strip("[]").split(",")]
        if isinstance(value, list | tuple):
            whole = [isinstance(n, int) or (isinstance(n, str) and n.isdecimal()) for n in value]
            if len(value) < 2 or not all(whole) or any(int(a) >= int(b) for a, b in pairwise(value)):
                raise ValueError(
                    f"expected file, names or ascending numbers of projections such as [0, 900], found {value!r}"
                )
            return tuple(map(int, value))
        return value

    @field_validator("air_px", mode="before")
    @classmethod
    def _four_margins(cls, value: Any) -> Any:
        if isinstance(value, str) and value == "auto":
            return value
        if not isinstance(value, list | tuple) or len(value) != 4:
            raise ValueError(f"expected auto or four widths [left, right, top, bottom], found {value!r}")
        return value
