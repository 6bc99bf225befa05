"""One projection through all contrasts, as a picture: a look before the long run."""

from __future__ import annotations

from pathlib import Path

from speckleflow.correction import load_correction
from speckleflow.io.results import open_result
from speckleflow.report.pictures import picture_fields
from speckleflow.scan.schema import CONTRASTS
from speckleflow.scan.spec import ScanSpec
from speckleflow.stages.inputs import check_made_by
from speckleflow.stages.phase import gives_phase, integrate_fields
from speckleflow.stages.projection import ProjectionRetrieval
from speckleflow.stages.raw import open_raw


def preview(spec: ScanSpec, *, manifest: str | Path, corrected: str | Path, picture: str | Path) -> None:
    """Retrieve and integrate the middle projection of a scan as the run does, and draw it."""
    contract, scan = open_raw(manifest, spec)
    with open_result(corrected) as file:
        check_made_by(file, corrected, "correct", spec, contract)
    retrieval = ProjectionRetrieval.of_scan(scan, load_correction(corrected))
    middle = scan.n_projections // 2
    raw = scan.read_sample(slice(middle, middle + 1))
    fields = retrieval.fields(retrieval.corrected(raw, middle))
    if gives_phase(fields):
        fields |= integrate_fields(fields, scan.geometry, retrieval.correction.air, spec.config.integrate)
    images = {name: fields[name][0] for name in CONTRASTS if name in fields}
    at = f"{scan.angles_deg[middle]:.1f}\u00b0" if scan.times_s is None else f"{scan.times_s[middle]:.3f} s"
    method = spec.config.retrieval.method
    title = f"{spec.name}, projection {scan.raw_indices[middle]} ({at}), {method}"
    picture_fields(Path(picture), images, pixel_size_m=scan.geometry.pixel_size_um * 1e-6, title=title)
