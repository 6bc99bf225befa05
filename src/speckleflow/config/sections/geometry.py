"""Section ``geometry``, and what X-ray imaging can be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from speckleflow.settings import Positive, Section

#: What X-ray imaging can be (least, most, unit, what another order of magnitude usually means).
POSSIBLE = {
    "energy_kev": (1.0, 1000.0, "keV", "eV"),
    "pixel_size_um": (0.01, 1000.0, "um", "mm, m or nm"),
    "distance_m": (1e-4, 100.0, "m", "mm or cm"),
}


class Geometry(Section):
    """Energy, distances, pixel size and angles. null: taken from the file; absent there too: an error, never a guess."""

    energy_kev: Positive | None = Field(None, description="Photon energy in keV.")
    pixel_size_um: Positive | None = Field(
        None, description="Effective pixel size in the sample plane in micrometres."
    )
    distance_m: Positive | None = Field(
        None, description="Propagation distance from sample to detector in m (divergent beam: the real one)."
    )
    magnification: Annotated[float, Field(ge=1e-3, le=1e5, allow_inf_nan=False)] = Field(
        1.0,
        description="Geometric magnification of a divergent beam, (source-detector)/(source-sample); divides the distance.",
    )
    diffuser_distance_m: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] | None = Field(
        None,
        description="Distance from sample to diffuser in m, positive where the diffuser stands upstream of the sample "
        "(as the beam goes), negative behind it; for methods that need it.",
    )
    axis: Literal["angle", "time", "both"] = Field(
        "angle",
        description="What distinguishes the frames of a scan. angle: the rotation of the sample. time: a series of a "
        "sample that is not turned; no rotation axis is searched and no volume is made. both: a sample that changes while "
        "it goes on turning; a volume is made of every turn (tomography.turn_deg).",
    )
    frame_s: Positive | None = Field(
        None,
        description="Time from one frame to the next in s (axis: time or both); the first frame is at 0. null: the times in "
        "the dataset files.angles_dataset, in s where it names no unit (axis: time).",
    )
    angles: Literal["file", "range"] = Field(
        "file", description="file: the angles in the raw files. range: angle_start_deg to angle_stop_deg."
    )
    angle_start_deg: float = Field(0.0, description="First angle in degrees (angles: range).")
    angle_stop_deg: float = Field(
        180.0, description="Last angle in degrees, itself excluded unless angle_inclusive."
    )
    angle_inclusive: bool = Field(
        False, description="Whether the last projection was taken at angle_stop_deg."
    )
    angles_unit: Literal["file", "deg", "rad", "mdeg", "arcmin", "arcsec"] = Field(
        "file",
        description="Unit of the angles in the files; file: as the file says, degrees where it says nothing.",
    )
    rotation: Literal["counterclockwise", "clockwise"] = Field(
        "counterclockwise", description="Sense of rotation seen from above."
    )

    @field_validator(*POSSIBLE)
    @classmethod
    def _possible(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and (problem := impossible(str(info.field_name), value)):
            raise ValueError(problem)
        return value


def impossible(key: str, value: float) -> str:
    """What is wrong with a geometry that is orders of magnitude off, in words; empty when it can be."""
    least, most, unit, mistaken = POSSIBLE[key]
    if least <= value <= most:
        return ""
    return f"expected {least:g} to {most:g} {unit} (was it given in {mistaken}?), found {value:g} {unit}"
