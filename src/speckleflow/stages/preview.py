"""One projection through all contrasts, as a picture: a look before the long run."""

from __future__ import annotations

from pathlib import Path

import torch

from speckleflow.config import ScanConfig
from speckleflow.correction import load_correction
from speckleflow.io.scan import open_scan
from speckleflow.phase import integrate_displacement
from speckleflow.report.pictures import picture_fields
from speckleflow.stages.retrieve import finish, make_retriever, reference_of


def preview(
    config: ScanConfig,
    scan: str,
    *,
    corrected: str | Path,
    picture: str | Path,
    device: str = "cpu",
    threads: int = 2,
    root: Path = Path(),
) -> None:
    """Retrieve the middle projection of a scan with its settings and draw what comes out."""
    source = open_scan(config, scan, root)
    correction = load_correction(corrected)
    retriever = make_retriever(config, device, threads)
    state = retriever.prepare(torch.from_numpy(reference_of(correction, source)))
    middle = source.n_projections // 2
    frames = correction.correct_frames(source.read_sample(slice(middle, middle + 1)))
    fields = finish(retriever(torch.from_numpy(frames), state), config, correction.air)
    geometry = source.geometry
    if "ux" in fields and geometry.energy_kev and geometry.effective_distance_m:
        fields["phase"] = integrate_displacement(
            fields["ux"],
            fields["uy"],
            energy_kev=geometry.energy_kev,
            pixel_size_m=geometry.pixel_size_um * 1e-6,
            distance_m=geometry.effective_distance_m,
            boundary=config.integrate.boundary,
            air=correction.air,
        )
    images = {name: values[0] for name, values in fields.items() if values.ndim == 3 and name != "flags"}
    title = f"{scan}, projection {middle} ({source.angles_deg[middle]:.1f}\u00b0)"
    picture_fields(Path(picture), images, pixel_size_m=geometry.pixel_size_um * 1e-6, title=title)
