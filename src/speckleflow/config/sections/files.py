"""Section ``files``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from speckleflow.config.sections.base import Section


class Files(Section):
    """Where the raw frames lie. Patterns may hold {scan} and {position}, e.g. raw/{scan}/sample_{position:02d}.h5.
    Where reference and sample scans alternate, {position-1:04d} names the reference before each listed sample."""

    format: Literal["auto", "data_exchange", "nxtomo", "images", "dxchange"] = Field(
        "auto",
        description="File format; auto decides from the files themselves. images: a TIFF, EDF or .npy stack, or a "
        "folder or glob of images; dxchange: Data Exchange read by that package.",
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
        "reference carries the beam shape, which cancels.",
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
