"""Section ``simulate``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from speckleflow.settings import NonNegative, Positive, Section


class SimulatedDetector(Section):
    """Detector of the simulated beamtime."""

    photons: Positive = Field(
        8000.0, description="Mean detected photons per pixel and frame in the empty beam."
    )
    gain: Positive = Field(0.5, description="Photons per count.")
    read_noise_counts: NonNegative = Field(1.5, description="Read noise in counts (standard deviation).")
    dark_counts: NonNegative = Field(100.0, description="Dark level in counts.")
    blur_px: NonNegative = Field(
        0.5, description="Gaussian point spread of the detector, standard deviation in pixels."
    )
    hot_pixels: Annotated[int, Field(ge=0)] = Field(12, description="Hot pixels.")
    dead_pixels: Annotated[int, Field(ge=0)] = Field(12, description="Dead pixels.")
    flux_drift: NonNegative = Field(
        0.02, description="Relative amplitude of the slow drift of the incident flux."
    )
    flats: Annotated[int, Field(ge=1)] = Field(20, description="Flat frames per file.")
    darks: Annotated[int, Field(ge=1)] = Field(20, description="Dark frames per file.")
    references: Annotated[int, Field(ge=1)] = Field(10, description="Reference frames per diffuser position.")


class Simulate(Section):
    """A simulated beamtime with known truth, written as Data Exchange files."""

    enabled: bool = Field(False, description="Make the raw files of this scan before they are processed.")
    phantom: Literal["demo", "sphere", "foam", "foaming"] = Field(
        "demo",
        description="demo: a PVC pebble with beads of aluminium and bone mineral and a region that scatters. "
        "sphere: one of PMMA. foam: PMMA with air bubbles and glass beads. foaming: a polyurethane melt in which "
        "bubbles grow, rise, coalesce and burst, from one projection to the next (frame_s).",
    )
    columns: Annotated[int, Field(ge=32)] = Field(160, description="Detector columns.")
    rows: Annotated[int, Field(ge=16)] = Field(128, description="Detector rows.")
    projections: Annotated[int, Field(ge=1)] = Field(
        90, description="Projections, or frames of a time series."
    )
    rotation_deg: NonNegative = Field(
        180.0,
        description="Rotation of the sample during the scan in degrees, the last angle excluded; 0: a time series "
        "(geometry.axis: time).",
    )
    frame_s: Positive = Field(
        0.05,
        description="Time from one projection to the next in s, for a phantom that changes (foaming); all diffuser "
        "positions of a projection are taken at one time.",
    )
    positions: Annotated[int, Field(ge=1)] = Field(5, description="Diffuser positions N.")
    energy_kev: Positive = Field(20.0, description="Photon energy in keV.")
    pixel_size_um: Positive = Field(6.5, description="Pixel size in micrometres.")
    distance_m: Positive = Field(0.5, description="Propagation distance in m.")
    modulator: Literal["mask", "sandpaper", "grating"] = Field("mask", description="Kind of modulator.")
    pitch_um: Positive = Field(
        26.0,
        description="Side of a mask's cell, mean diameter of a grain, or period of a grating, in micrometres.",
    )
    visibility: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25,
        description="Standard deviation over mean of the reference on the detector; it sets the modulator's thickness.",
    )
    source_blur_um: NonNegative = Field(
        2.0,
        description="Blur by the source's size on the detector in micrometres (standard deviation).",
    )
    trajectory: Literal["diagonal", "grid", "random"] = Field("random", description="Path of the modulator.")
    model: Literal["rays", "wave", "rays-eq1"] = Field(
        "rays",
        description="rays: refracted rays that keep their light; wave: Fresnel propagation; rays-eq1: the "
        "equation of the ESPINNet and SPINNet papers, which does not conserve light, to repeat their figures.",
    )
    axis_offset_px: float = Field(2.3, description="Rotation axis minus image centre in pixels.")
    drift_px: NonNegative = Field(
        0.15, description="Drift of the modulator between reference and the last sample frame in pixels."
    )
    detector: SimulatedDetector = Field(default_factory=SimulatedDetector, description="The detector.")
    seed: int = Field(1, description="Seed of every random number.")
