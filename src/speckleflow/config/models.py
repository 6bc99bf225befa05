"""Typed models of everything a user may set: the one source of keys, defaults, units and documentation.

``config/config.yaml``, ``config/README.md`` and ``workflow/schemas/`` follow from these classes (see
:mod:`speckleflow.config.docs`), and a test fails when they drift apart. Keys carry their unit in the name.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Margins = tuple[
    Annotated[int, Field(ge=0)],
    Annotated[int, Field(ge=0)],
    Annotated[int, Field(ge=0)],
    Annotated[int, Field(ge=0)],
]


#: What X-ray imaging can be (least, most, unit, what another order of magnitude usually means).
POSSIBLE = {
    "energy_kev": (1.0, 1000.0, "keV", "eV"),
    "pixel_size_um": (0.01, 1000.0, "um", "mm, m or nm"),
    "distance_m": (1e-4, 100.0, "m", "mm or cm"),
}


class Section(BaseModel):
    """A group of keys. Unknown keys are refused, values do not change after they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


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


class Geometry(Section):
    """Energy, distances, pixel size and angles. null: taken from the file; absent there too: an error, never a guess."""

    energy_kev: Positive | None = Field(None, description="Photon energy in keV.")
    pixel_size_um: Positive | None = Field(
        None, description="Effective pixel size in the sample plane in micrometres."
    )
    distance_m: Positive | None = Field(
        None, description="Propagation distance from sample to detector in m (divergent beam: the real one)."
    )
    magnification: Positive = Field(
        1.0,
        description="Geometric magnification of a divergent beam, (source-detector)/(source-sample); divides the distance.",
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
    angles_unit: Literal["file", "deg", "rad"] = Field(
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
    exclude_projections: str | None = Field(
        None,
        description="Projections that are not used, counted from 0: numbers and ranges such as '3,17-19'. They are "
        "left out of retrieval and of the reconstruction, whose weights of the angles follow.",
        examples=["3,17-19"],
    )
    drift: bool = Field(
        True,
        description="Take the mean displacement of the air margins off (beam or mask moved between frames).",
    )

    @field_validator("exclude_projections", mode="before")
    @classmethod
    def _numbers_and_ranges(cls, value: Any) -> Any:
        if value is None:
            return None
        text = str(value).strip()
        if isinstance(value, bool) or not re.fullmatch(r"\d+(-\d+)?(\s*,\s*\d+(-\d+)?)*", text):
            raise ValueError(f"expected numbers and ranges such as '3,17-19', found {value!r}")
        return text

    @field_validator("air_px", mode="before")
    @classmethod
    def _four_margins(cls, value: Any) -> Any:
        if isinstance(value, str) and value == "auto":
            return value
        if not isinstance(value, list | tuple) or len(value) != 4:
            raise ValueError(f"expected auto or four widths [left, right, top, bottom], found {value!r}")
        return value


LARGEST_WINDOW = 63  #: pixels; beyond it a window is an image


class UmpaSettings(Section):
    """Unified Modulated Pattern Analysis, solved by Gauss-Newton."""

    window: Annotated[int, Field(ge=1, le=LARGEST_WINDOW)] | Literal["auto"] = Field(
        "auto",
        description="Side of the analysis window in pixels (odd), or auto: chosen per pixel from the expected error.",
    )
    max_displacement_px: Positive = Field(
        12.0, description="Largest displacement that is searched for, in pixels."
    )
    detector_blur_px: NonNegative = Field(
        0.0,
        description="Standard deviation of the detector's point spread in pixels, where it is known. Where the "
        "transmission changes, it looks like a displacement, which is then taken off; that of the pixel itself "
        "always is.",
    )

    @field_validator("window", mode="before")
    @classmethod
    def _odd(cls, value: Any) -> Any:
        if value == "auto":
            return value
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_WINDOW:
            raise ValueError(f"expected auto or an odd number from 1 to {LARGEST_WINDOW}, found {value!r}")
        if value % 2 == 0:
            raise ValueError(f"window must be odd (it has a centre pixel), found {value}")
        return value


class NetworkSettings(Section):
    """What the networks have in common."""

    weights: str = Field(
        "shipped",
        description="Weights: those of the package, or the path of a .safetensors file of your own.",
    )
    refine: bool = Field(
        True,
        description="Refine by Gauss-Newton steps at full resolution after the network; without them only the "
        "displacement is the network's own (our structure).",
    )
    detector_blur_px: NonNegative | None = Field(
        None,
        description="Standard deviation of the detector's point spread in pixels; see umpa's. null: not known; our "
        "structure then assumes 0.7, the published ones none.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Of the convolutions; all else is float32. auto: float16 on a GPU (it changes u by some 1e-5 px), "
        "float32 on a CPU.",
    )


class EspinnetSettings(NetworkSettings):
    """ESPINNet, a neural network for two diffuser positions or more. The weights decide its structure: our own and
    faster one, or the published one."""

    weights: str = Field(
        "shipped",
        description="Weights: those of the package (nothing is downloaded), a .safetensors file of your own, or the "
        "path of the authors' checkpoint (.pt, read as tensors only).",
        examples=["shipped", "weights/training_model_001500.pt"],
    )
    scaling: Literal["nearest", "linear", "spline"] = Field(
        "nearest",
        description="Published structure: how N positions become the 20 frames it takes; the first 20 of more.",
    )
    refiners: bool = Field(
        False, description="Published structure: run its refiner networks too (twice the time)."
    )


class SpinnetSettings(NetworkSettings):
    """SPINNet, a neural network for a single diffuser position: displacement and transmission, no dark field."""


class Retrieval(Section):
    """How displacement, transmission and dark field are retrieved."""

    method: str = Field("umpa", description="Retrieval method; `speckleflow methods` lists them.")
    umpa: UmpaSettings = Field(default_factory=UmpaSettings, description="Settings of method umpa.")
    espinnet: EspinnetSettings = Field(
        default_factory=EspinnetSettings, description="Settings of method espinnet."
    )
    spinnet: SpinnetSettings = Field(
        default_factory=SpinnetSettings, description="Settings of method spinnet."
    )


class Integrate(Section):
    """From displacement to phase (Frankot and Chellappa)."""

    boundary: Literal["mirror", "dct", "periodic"] = Field(
        "mirror", description="How the field continues beyond the image."
    )
    ramp: bool = Field(False, description="Also remove a linear ramp fitted to the air margins.")
    weights: bool = Field(
        True, description="Weight the pixels by their expected error (iterative), within a factor of 10."
    )


class Tomography(Section):
    """Rotation axis, rings and reconstruction."""

    enabled: Literal["auto", "yes", "no"] = Field(
        "auto", description="auto: reconstruct volumes when the scan has more than one angle."
    )
    axis_px: Annotated[float, Field(allow_inf_nan=False)] | Literal["auto"] = Field(
        "auto",
        description="Rotation axis in pixels, pixel centres at integers; auto: found from the transmission.",
    )
    offset_axis: bool = Field(
        False,
        description="A 360-degree scan whose axis lies near the edge, to be stitched to a 180-degree one.",
    )
    backend: Literal["fourier", "astra", "tomopy"] = Field("fourier", description="FBP implementation.")
    filter: Literal["ramlak", "shepp", "hann", "parzen"] = Field(
        "shepp", description="FBP filter, from sharp and noisy (ramlak) to smooth (parzen)."
    )
    ring_window_px: Annotated[int, Field(ge=0)] = Field(
        0, description="Width of the median that separates rings from the sample; 0: no ring filter."
    )

    @field_validator("enabled", mode="before")
    @classmethod
    def _yes_or_no(cls, value: Any) -> Any:
        """YAML reads yes and no as true and false."""
        return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


class RetrievalExecution(Section):
    """Retrieval jobs."""

    projections_per_block: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="Projections per job (and per restart). auto: so that a job takes minutes."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "cpu",
        description="Where the method computes; cuda asks the scheduler for a GPU, auto takes one if it is there.",
    )
    threads: Annotated[int, Field(ge=1)] = Field(2, description="CPU threads of a retrieval job.")


class TomographyExecution(Section):
    """Reconstruction jobs."""

    rows_per_slab: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="Rows per reconstruction job. auto: so that a job takes minutes."
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where the backend computes.")
    threads: Annotated[int, Field(ge=1)] = Field(2, description="CPU threads of a reconstruction job.")


class Execution(Section):
    """How results are computed: nothing here changes what they are, and changing it makes no result out of date."""

    retrieval: RetrievalExecution = Field(default_factory=RetrievalExecution, description="Retrieval jobs.")
    tomography: TomographyExecution = Field(
        default_factory=TomographyExecution, description="Reconstruction jobs."
    )


#: Keys of earlier versions, and where they are now.
MOVED = {
    "retrieval.projections_per_block": "execution.retrieval.projections_per_block",
    "retrieval.device": "execution.retrieval.device",
    "retrieval.threads": "execution.retrieval.threads",
    "tomography.rows_per_slab": "execution.tomography.rows_per_slab",
    "tomography.device": "execution.tomography.device",
    "tomography.threads": "execution.tomography.threads",
    "retrieval.espinnet.polish": "retrieval.espinnet.refine",
    "retrieval.spinnet.polish": "retrieval.spinnet.refine",
}


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
    phantom: Literal["demo", "sphere", "foam"] = Field(
        "demo",
        description="demo: a PVC pebble with beads of aluminium and bone mineral and a region that scatters. "
        "sphere: one of PMMA. foam: PMMA with air bubbles and glass beads.",
    )
    columns: Annotated[int, Field(ge=32)] = Field(160, description="Detector columns.")
    rows: Annotated[int, Field(ge=16)] = Field(128, description="Detector rows.")
    projections: Annotated[int, Field(ge=1)] = Field(90, description="Rotation angles over 180 degrees.")
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


class Report(Section):
    """The HTML file of a scan."""

    pictures_per_contrast: Annotated[int, Field(ge=1, le=12)] = Field(
        2, description="Projections shown of each contrast."
    )


class ScanConfig(Section):
    """Everything that one scan may set: the config file's sections, overridden by the columns of its row."""

    files: Files = Field(default_factory=Files, description="Raw files.")
    geometry: Geometry = Field(default_factory=Geometry, description="Geometry.")
    correct: Correct = Field(default_factory=Correct, description="Corrections.")
    retrieval: Retrieval = Field(default_factory=Retrieval, description="Retrieval.")
    integrate: Integrate = Field(default_factory=Integrate, description="Phase integration.")
    tomography: Tomography = Field(default_factory=Tomography, description="Tomography.")
    simulate: Simulate = Field(default_factory=Simulate, description="Simulation.")
    report: Report = Field(default_factory=Report, description="Report.")
    execution: Execution = Field(
        default_factory=Execution, description="How jobs compute: device, threads, sizes."
    )


class Config(ScanConfig):
    """The configuration file."""

    scans: str = Field(
        "config/scans.tsv", description="The sheet: a tab-separated table with one scan a row."
    )
    results: str = Field("results", description="Folder of the results; raw files are never written to.")


def coupled_problems(config: ScanConfig) -> list[str]:
    """Sentences on keys that contradict each other; empty when all is well."""
    found: list[str] = []
    geometry, tomography, simulate = config.geometry, config.tomography, config.simulate
    if tomography.offset_axis and geometry.angles == "range":
        span = abs(geometry.angle_stop_deg - geometry.angle_start_deg)
        if abs(span - 360) > 1:
            found.append(
                f"tomography.offset_axis needs a 360-degree scan, but geometry.angle_start_deg to angle_stop_deg span {span:g} degrees"
            )
    if config.files.reference is None and config.retrieval.method != "absorption":
        found.append(
            f"files.reference is null (no diffuser), so retrieval.method must be 'absorption', found '{config.retrieval.method}'"
        )
    if simulate.enabled:
        if simulate.pitch_um < 2 * simulate.pixel_size_um:
            found.append(
                f"simulate.pitch_um ({simulate.pitch_um:g} um) must be at least two pixels ({2 * simulate.pixel_size_um:g} um), or the detector cannot see the pattern"
            )
        for key in ("energy_kev", "pixel_size_um", "distance_m"):
            given: Any = getattr(geometry, key)
            if given is not None and given != getattr(simulate, key):
                found.append(
                    f"geometry.{key} ({given:g}) contradicts simulate.{key} ({getattr(simulate, key):g})"
                )
    return found
