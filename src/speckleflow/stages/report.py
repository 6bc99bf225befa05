"""The report of a scan: pictures, errors against the truth, the page, and a summary for the terminal."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from speckleflow.config import ScanConfig
from speckleflow.errors import InputError
from speckleflow.evaluate.fsc import THRESHOLDS
from speckleflow.io.projections import Projections, open_projections
from speckleflow.io.results import IDENTITY, open_result, read_provenance
from speckleflow.io.sealed_json import write_sealed
from speckleflow.report.data import (
    AxisSearch,
    OneTime,
    Picture,
    Quality,
    ReportData,
    Resolution,
    Sinogram,
    Slices,
    VolumeLike,
    change_over_time,
    load_timings,
    orthogonal_slices,
    spread,
)
from speckleflow.report.page import build_report
from speckleflow.report.pictures import picture_fields
from speckleflow.report.truth import TruthTable, evaluate_truth
from speckleflow.scan.manifest import Manifest
from speckleflow.scan.schema import BOUND, CONTRASTS, FOLD, MISFIT, STD, VOLUMES
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import read_warnings
from speckleflow.stages.fsc import FSC, read_correlation, resolution_words
from speckleflow.stages.inputs import PROJECTIONS_IDENTITY, check_made_by, load_manifest
from speckleflow.stages.registry import STAGES
from speckleflow.stages.straight import ALIGNED, TILT, read_straight
from speckleflow.tomo.axis_search import votes_of
from speckleflow.tomo.sinogram import line_integrals
from speckleflow.tomo.units import QUANTITIES

#: contrasts that a rotation axis can be found in
QUANTITY_OF = {quantity.contrast: name for name, quantity in QUANTITIES.items()}
#: Projections that the figures of merit are taken from, spread over the scan.
SAMPLED = 32


def report_scan(
    spec: ScanSpec,
    *,
    manifest: str | Path,
    corrected: str | Path,
    projections: str | Path,
    volumes: str | Path | None,
    truth: str | Path | None,
    timings: str | Path,
    html: str | Path,
    summary: str | Path,
    picture: str | Path,
) -> None:
    """Write the page, a picture of one projection's contrasts, and a JSON summary of a scan.

    ``timings`` is the folder of the jobs' benchmark files.
    """
    config, scan = spec.config, spec.name
    contract = load_manifest(manifest, spec)
    with open_projections(projections) as file:
        check_made_by(file.file, projections, "assemble", spec, contract)
        warnings, identity = read_warnings(file.file), str(file.attrs[IDENTITY])
        shown = spread(file.count, config.report.pictures_per_contrast)
        labels = file.labels
        pictures = {
            name: [Picture(file.read(name, slice(i, i + 1))[0], labels[i]) for i in shown]
            for name in CONTRASTS
            if name in file
        }
        first = {name: images[0].image for name, images in pictures.items()}
        pixel_m = float(file.attrs["pixel_size_um"]) * 1e-6
        sinograms = dict(_sinograms(file)) if volumes else {}
        axis, alignment = _axis(file), file.attrs.get(ALIGNED)
        quality = _quality(file, spec, corrected, contract)
        facts = [*_facts(file), *_exclusions(contract)]
        series: dict[str, VolumeLike] = {}
        if file.series:
            series = {name: StoredFrames(file, name) for name in CONTRASTS if name in file}
        changes = {name: change_over_time(frames) for name, frames in series.items()}
        slices: dict[str, Slices] = {}
        look: dict[str, StoredVolume] = {}
        resolution: dict[str, Resolution] = {}
        if volumes:
            with open_result(volumes) as file:
                check_made_by(file, volumes, "volume", spec)
                if file.attrs.get(PROJECTIONS_IDENTITY) != identity:
                    raise InputError(
                        volumes,
                        expected=f"the volumes of {projections}",
                        found="those of another version of it",
                        hint="delete them and run the workflow again",
                    )
                warnings += [words for words in read_warnings(file) if words not in warnings]
                there = {name: file[name] for name in VOLUMES if name in file}
                if "turn_time_s" in file:
                    labels = [f"{time:.3f} s" for time in file["turn_time_s"][:]]
                    there = {name: OneTime(volume, len(labels) // 2) for name, volume in there.items()}
                slices = {name: orthogonal_slices(volume) for name, volume in there.items()}
                noise = {
                    name: (float(file[name + STD].attrs["median"]), str(file[name].attrs["units"]))
                    for name in slices
                    if name + STD in file and np.isfinite(file[name + STD].attrs["median"])
                }
                quality = replace(quality, voxel_std=noise)
                resolution = {name: _resolution(file[FSC][name]) for name in file.get(FSC, ())}
                look = {name: StoredVolume(Path(volumes), name, file[name].shape) for name in slices}
        # the truth is the sample at the first frame
        still = config.geometry.axis != "both"
        table = _against_truth(volumes, truth, spec) if volumes and truth and still else None
        provenance = read_provenance(projections)
        data = ReportData(
            scan=scan,
            facts=facts,
            pixel_size_m=pixel_m,
            projections=pictures,
            slices=slices,
            look=look,
            series=series,
            times=labels if series or config.geometry.axis == "both" else (),
            changes=changes,
            sinograms=sinograms,
            axis=axis,
            resolution=resolution,
            truth=table,
            quality=quality,
            parameters=_shown_settings(config),
            timings=load_timings(sorted(Path(timings).rglob("*.tsv")), STAGES),
            versions=_versions([projections, *([volumes] if volumes else [])]),
            provenance={
                "commit": str(provenance.get("git_commit", "release")),
                "made": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
                "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
                "raw files": contract.raw_sha256[:16],
            },
            warnings=warnings,
        )
        picture_fields(Path(picture), first, pixel_size_m=pixel_m, title=scan)
        build_report(html, data)
    write_sealed(
        summary,
        {
            "scan": scan,
            "files": [str(p) for p in (volumes, projections, html) if p],
            "warnings": [*data.warnings, *quality.warnings()],
            "axis": None if axis is None else axis.text(),
            "alignment": None if alignment is None else str(alignment),
            "resolution": [
                f"{name}: " + "; ".join(f"{threshold} {words}" for threshold, words in one.stated.items())
                for name, one in resolution.items()
            ],
            "truth": table.to_dict() if table else None,
        },
    )


@dataclass(frozen=True)
class StoredFrames:
    """A contrast (t, y, x) of a time series, read frame by frame from the open projections."""

    source: Projections
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape(self.name)

    def __getitem__(self, index: int) -> Any:
        return self.source.read(self.name, slice(index, index + 1))[0]


@dataclass(frozen=True)
class StoredVolume:
    """A volume in a result file, opened whenever a part of it is read."""

    path: Path
    name: str
    shape: tuple[int, ...]

    def __getitem__(self, index: Any) -> Any:
        with open_result(self.path, verify=False) as file:
            return file[self.name][index]


def _shown_settings(config: ScanConfig) -> dict[str, Any]:
    """The configuration without the settings of other methods, and of a simulation that was not made."""
    values = config.model_dump(mode="json")
    own = config.retrieval.method.replace("-", "_")
    values["retrieval"] = {
        key: value for key, value in values["retrieval"].items() if key == own or not isinstance(value, dict)
    }
    if not config.simulate.enabled:
        del values["simulate"]
    return values


def _exclusions(manifest: Manifest) -> list[tuple[str, str]]:
    words = ", ".join(map(str, manifest.excluded))
    return [("Projections not used", words)] if words else []


def _facts(file: Projections) -> list[tuple[str, str]]:
    count, rows, columns = file.shape("transmission")
    facts = [("Projections", f"{count} of {columns} \u00d7 {rows} pixels")]
    for key, name, unit in (
        ("energy_kev", "Energy", "keV"),
        ("pixel_size_um", "Pixel size", "\u00b5m"),
        ("effective_distance_m", "Distance", "m"),
        ("rotation_axis_px", "Rotation axis", "px"),
    ):
        if key in file.attrs:
            facts.append((name, f"{file.attrs[key]:.4g} {unit}"))
    if ALIGNED in file.attrs:
        facts.append(("Taken off the projections", str(file.attrs[ALIGNED])))
    return facts


def _sinograms(file: Projections) -> Iterable[tuple[str, Sinogram]]:
    angles = file.angles_deg[file.turns[0]]
    for name in VOLUMES:
        contrast = QUANTITIES[name].contrast
        if contrast in file:
            row = file.shape(contrast)[1] // 2
            image = read_straight(file, contrast, row, row + 1, file.turns[0])[:, 0]
            if np.isnan(image).all():
                continue  # a row that was never measured
            values = line_integrals(contrast, image, file.noise(contrast)).values
            yield name, Sinogram(values, row, (float(angles[0]), float(angles[-1])))


def _resolution(group: h5py.Group) -> Resolution:
    found = read_correlation(group)
    voxel_um = float(group.attrs["voxel_size_m"]) * 1e6
    voxels = found.resolution_voxels(next(iter(THRESHOLDS)))
    return Resolution(
        found.frequency,
        found.correlation,
        {name: found.threshold(name) for name in THRESHOLDS},
        {name: resolution_words(found, name, voxel_um) for name in THRESHOLDS},
        1 / voxels if np.isfinite(voxels) else None,
    )


def _axis(file: Projections) -> AxisSearch | None:
    if "rotation_axis_px" not in file.attrs:
        return None
    centre = (file.shape("transmission")[2] - 1) / 2
    value, source = float(file.attrs["rotation_axis_px"]), str(file.attrs["rotation_axis_from"])
    tilt = float(file.attrs.get(TILT, 0.0))
    if "rotation_axis" not in file.file:
        return AxisSearch(value, centre, f"given ({source})", tilt_deg=tilt)
    search = file.file["rotation_axis"]
    measured = None
    if "tilt_deg" in search.attrs:
        measured = (float(search.attrs["tilt_deg"]), float(search.attrs["tilt_error_deg"]))
    words = f"given ({source})"
    if source in QUANTITY_OF:
        words = f"found in the {source} by {search.attrs['method']}"
        words += f" to \u00b1 {search.attrs['uncertainty_px']:.2f} px"
    words += f" (the cost's minimum is {search.attrs['significance']:.0f} times as deep as its noise)"
    return AxisSearch(
        value,
        centre,
        words,
        search["tried_px"][:],
        search["cost"][:],
        votes=[(v.method, v.axis_px, v.error_px) for v in votes_of(search.attrs["votes"])],
        tilt_deg=tilt,
        tilt_measured=measured,
    )


def _quality(file: Projections, spec: ScanSpec, corrected: str | Path, manifest: Manifest) -> Quality:
    some = np.unique(np.linspace(0, file.count - 1, SAMPLED).astype(int))
    values: dict[str, Any] = {}
    if "flags" in file:
        flags = file.read("flags", some)
        values["fold_share"] = float((flags & FOLD > 0).mean())
        values["bound_share"] = float((flags & BOUND > 0).mean())
        if "misfit" in file:
            values["misfit_share"] = float((flags & MISFIT > 0).mean())
    if "displacement_std" in file:
        std = file.read("displacement_std", some)
        values["expected_error_px"] = float(np.nanmedian(std))
        values["expected_rms_px"] = float(np.sqrt(np.mean(std[np.isfinite(std)] ** 2)))
    if "curl_px" in file:
        values["curl_px"] = float(np.median(file.read("curl_px")))
    if "drift_px" in file:
        x, y = file.read("drift_px").mean(0)
        values["drift_px"] = (float(x), float(y))
    if "flux" in file and (flux := file.read("flux")).size:
        # of each diffuser position by itself: their references need not have seen the same flux
        values["flux_range"] = float(np.ptp(flux / np.median(flux, axis=0), axis=0).max())
    with open_result(corrected) as correction:
        check_made_by(correction, corrected, "correct", spec, manifest)
        values["bad_pixel_share"] = float(correction["bad_pixels"][:].mean())
    return Quality(**values)


def _against_truth(volumes: str | Path, truth: str | Path, spec: ScanSpec) -> TruthTable:
    with open_result(volumes) as result, open_result(truth) as known:
        check_made_by(known, truth, "simulate", spec)
        return evaluate_truth(
            {name: result[name] for name in VOLUMES if name in result},
            {name: known["volumes"][name] for name in VOLUMES},
            dict(known["masks"]),
        )


def _versions(paths: Iterable[str | Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        found |= read_provenance(path)["versions"]
    return {name: version for name, version in found.items() if version != "absent"}
