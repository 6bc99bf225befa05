"""Typed models of everything a user may set: the one source of keys, defaults, units and documentation.

``config/config.yaml``, ``config/README.md`` and ``workflow/schemas/`` follow from these classes (see
:mod:`speckleflow.config.docs`), and a test fails when they drift apart. Keys carry their unit in the name. Each
section is a module of :mod:`speckleflow.config.sections`; here they are put together.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from speckleflow.config.sections.correct import Correct
from speckleflow.config.sections.execution import Execution, RetrievalExecution, TomographyExecution
from speckleflow.config.sections.files import Files
from speckleflow.config.sections.geometry import POSSIBLE, Geometry, impossible
from speckleflow.config.sections.integrate import Integrate
from speckleflow.config.sections.output import Output
from speckleflow.config.sections.report import Report
from speckleflow.config.sections.retrieval import Retrieval
from speckleflow.config.sections.simulate import Simulate, SimulatedDetector
from speckleflow.config.sections.tomography import Tomography
from speckleflow.retrieval.registry import specs
from speckleflow.settings import Margins, NonNegative, Positive, Section

__all__ = [
    "POSSIBLE",
    "Config",
    "Correct",
    "Execution",
    "Files",
    "Geometry",
    "Integrate",
    "Margins",
    "NonNegative",
    "Positive",
    "Report",
    "Retrieval",
    "RetrievalExecution",
    "ScanConfig",
    "Section",
    "Simulate",
    "SimulatedDetector",
    "Tomography",
    "TomographyExecution",
    "coupled_problems",
    "impossible",
]


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
    output: Output = Field(
        (),
        description="Formats that the volumes are written in beside volumes.h5, each a folder of that name: ome-zarr (napari, neuroglancer, MoBIE), tiff (32-bit stacks for Fiji), tiff16 (16-bit, the window in export.json), xdmf (ParaView; the values stay in volumes.h5).",
        examples=[["ome-zarr", "tiff"]],
    )
    execution: Execution = Field(
        default_factory=Execution, description="How jobs compute: device, threads, sizes."
    )


class Config(ScanConfig):
    """The configuration file."""

    scans: str = Field(
        "config/scans.tsv", description="The scan table: a tab-separated table with one scan a row."
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
    if geometry.axis == "time" and tomography.enabled == "yes":
        found.append(
            "tomography.enabled: yes needs rotation angles, but geometry.axis is time; set tomography.enabled: no"
        )
    if geometry.axis == "angle" and geometry.frame_s is not None:
        found.append(
            f"geometry.frame_s ({geometry.frame_s:g} s) needs geometry.axis: time, found geometry.axis: angle"
        )
    if geometry.axis == "both":
        if geometry.frame_s is None:
            found.append(
                "geometry.axis: both needs the time from frame to frame, geometry.frame_s, found null"
            )
        if tomography.enabled == "no":
            found.append("geometry.axis: both makes volumes, found tomography.enabled: no")
        if tomography.split != "none":
            found.append(
                f"tomography.split: {tomography.split} compares halves of one volume, found geometry.axis: both, which makes one of every turn"
            )
        if "xdmf" in config.output:
            found.append(
                "output: xdmf names one volume, found geometry.axis: both, which makes one of every turn"
            )
    method = specs().get(config.retrieval.method)  # one of an unknown name is refused where it is used
    if config.files.reference is None and method is not None and method.needs_reference:
        others = " or ".join(repr(name) for name, spec in specs().items() if not spec.needs_reference)
        found.append(
            f"files.reference is null (no diffuser), so retrieval.method must be {others}, found '{method.name}'"
        )
    behind = geometry.diffuser_distance_m
    if behind is not None and geometry.distance_m is not None and -behind >= geometry.distance_m:
        found.append(
            f"geometry.diffuser_distance_m ({behind:g} m) puts the diffuser behind the detector (geometry.distance_m {geometry.distance_m:g} m)"
        )
    if simulate.enabled:
        if simulate.pitch_um < 2 * simulate.pixel_size_um:
            found.append(
                f"simulate.pitch_um ({simulate.pitch_um:g} um) must be at least two pixels ({2 * simulate.pixel_size_um:g} um), or the detector cannot see the pattern"
            )
        if simulate.rotation_deg == 0 and geometry.axis != "time" and simulate.projections > 1:
            found.append(
                f"simulate.rotation_deg: 0 needs geometry.axis: time, found geometry.axis: {geometry.axis}"
            )
        changing = ("frame_s",) if simulate.phantom == "foaming" else ()
        for key in ("energy_kev", "pixel_size_um", "distance_m", *changing):
            given: Any = getattr(geometry, key)
            if given is not None and given != getattr(simulate, key):
                found.append(
                    f"geometry.{key} ({given:g}) contradicts simulate.{key} ({getattr(simulate, key):g})"
                )
    return found
