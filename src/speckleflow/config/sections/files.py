"""Section ``files``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from speckleflow.settings import Section, numbers_and_ranges


class Files(Section):
    """Where the raw frames lie. Patterns may hold {scan} and {position}, e.g. raw/{scan}/sample_{position:02d}.h5.
    Where reference and sample scans alternate, {position-1:04d} names the reference before each listed sample."""

    format: str = Field(
        "auto",
        description="File format: auto (decided from the files themselves), data_exchange, nxtomo, als, xrm (Zeiss "
        ".txrm and .xrm), images (a TIFF, EDF or .npy stack and others, or a folder or glob of images), dxchange (Data Exchange read by that package), "
        "or the name of a reader that another package brings.",
    )
    sample: str = Field(
        "raw/{scan}/sample_{position:02d}.h5",
        description="Sample frames: one file per diffuser position, or a single file where the pattern has no {position}.",
    )
    reference: str | None = Field(
        "raw/{scan}/reference_{position:02d}.h5",
        description="Reference frames (diffuser, no sample), paired with the sample position by position. "
        "null: no diffuser was used (an absorption scan).",
    )
    flat: str | None = Field(
        None,
        description="Flat frames (beam without diffuser). null: those inside the sample files; none there: the "
        "reference carries the beam shape, which cancels. 'divided': the frames are over their flat already.",
    )
    dark: str | None = Field(
        None,
        description="Dark frames. null: those inside the files. 'subtracted': the frames have had it taken off already.",
    )
    positions: str = Field(
        "auto",
        description="Diffuser positions: auto (every file the pattern matches), or a list such as '1-13' or '1,2,5'.",
        examples=["auto", "1-13", "1,2,5-8"],
    )
    sample_dataset: str | None = Field(
        None,
        description="HDF5 path of the frames, where it is not the format's own.",
        examples=["/entry1/data/data"],
    )
    reference_dataset: str | None = Field(
        None,
        description="HDF5 path of the reference frames, where it is not that of the sample frames; 'flats': the "
        "diffuser was recorded as the flats of the reference files (which may be the sample files).",
    )
    flat_dataset: str | None = Field(
        None, description="HDF5 path of the flats, where it is not the format's own."
    )
    dark_dataset: str | None = Field(
        None, description="HDF5 path of the darks, where it is not the format's own."
    )
    angles_dataset: str | None = Field(
        None, description="HDF5 path of the angles, where it is not the format's own."
    )
    angles: str | None = Field(
        None,
        description="Angles in a file of their own, one for each projection: text (a number a line, or a table whose header names the "
        "column, such as 'angle [deg]'), .npy, or file.h5:/dataset. null: those in the sample files.",
        examples=["raw/{scan}/angles.txt"],
    )
    axes: tuple[str, ...] | None = Field(
        None,
        description="Names of the stored axes of the frames, where they are not (angle, y, x) or (angle, position, y, x) "
        "and the file does not say so. A stack of three axes may hold angles and positions, if positions lists them.",
        examples=[["position", "angle", "y", "x"]],
    )
    frames: str | None = Field(
        None,
        description="Frames of the sample files that are projections, counted from 0: numbers and ranges such as "
        "'0-117'. null: all of them.",
        examples=["0-117"],
    )
    missing_frames: Literal["refuse", "allow"] = Field(
        "refuse",
        description="Projections that a folder's numbering, a virtual dataset or unwritten chunks of an HDF5 file lack: "
        "an error, or left out, the others at their right angles.",
    )
    transpose: bool = Field(
        False, description="Exchange rows and columns: for a rotation axis that lies along the rows."
    )
    flip_y: bool = Field(False, description="Mirror the frames top to bottom, after transpose.")
    flip_x: bool = Field(False, description="Mirror the frames left to right, after transpose.")

    @field_validator("axes", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [part.strip() for part in value.strip("[]").split(",")]
        if value is None or (
            isinstance(value, list | tuple) and len(value) in (3, 4) and len(set(value)) == len(value)
        ):
            return value
        raise ValueError(
            f"expected three or four different names such as [position, angle, y, x], found {value!r}"
        )

    @field_validator("frames", mode="before")
    @classmethod
    def _ranges(cls, value: Any) -> Any:
        return numbers_and_ranges(value, "0-117")
