"""The manifest of a scan that was found right."""

from __future__ import annotations

from speckleflow.inspection.angles import angle_warnings
from speckleflow.inspection.geometry import geometry_warnings
from speckleflow.io.angle_file import angle_file
from speckleflow.io.base import FrameSource
from speckleflow.io.images import find_images
from speckleflow.io.layout import DIVIDED, SUBTRACTED
from speckleflow.io.open import read_calibration
from speckleflow.io.roles import read_options, source_count
from speckleflow.io.scan import Scan
from speckleflow.scan.manifest import FileEntry, Manifest, raw_file
from speckleflow.tomo.turns import turn_ranges


def manifest_of(scan: Scan, warnings: list[str]) -> Manifest:
    entries = [
        *(_entry(scan, source, "sample") for source in scan.sample),
        *(_entry(scan, source, "reference") for source in scan.reference),
        *(_separate(scan, name, "flat") for name in scan.layout.flat),
        *(_separate(scan, name, "dark") for name in scan.layout.dark),
        *_beside(scan),
    ]
    method = scan.config.retrieval.spec
    fields = len(method.output_fields - {"flags", "attenuation"}) + method.has_phase + method.can_be_checked
    contrasts = 1 + method.has_phase + ("darkfield" in method.output_fields)
    turns, angles = 1, scan.angles_deg
    if scan.config.geometry.axis == "both":
        ranges = turn_ranges(angles, scan.config.tomography.turn_deg)
        turns, angles = len(ranges), angles[slice(*ranges[0])]
        if rest := scan.n_projections - ranges[-1][1]:
            warnings.append(
                f"{rest} projection{'s' * (rest > 1)} after the last whole turn of {turns} are in no volume"
            )
    volumes = turns * contrasts * (scan.n_projections > 1 and scan.config.geometry.axis != "time")
    image, volume = 4 * scan.rows * scan.columns, 4 * scan.rows * scan.columns**2
    return Manifest(
        scan=scan.name,
        n_projections=scan.n_projections,
        n_positions=scan.n_positions,
        rows=scan.rows,
        columns=scan.columns,
        dtype=str(scan.dtype),
        first_angle_deg=float(scan.angles_deg[0]),
        last_angle_deg=float(scan.angles_deg[-1]),
        geometry=scan.geometry,
        flats=_origin(scan, "flats"),
        darks=_origin(scan, "darks"),
        files=tuple(entries),
        raw_bytes=sum(entry.bytes for entry in entries),
        result_bytes=scan.n_projections * fields * image + 2 * volumes * volume,
        projection_bytes=image * scan.n_positions,
        warnings=tuple(dict.fromkeys([*geometry_warnings(scan), *angle_warnings(angles), *warnings])),
        excluded=tuple(scan.excluded),
        positions=tuple(scan.layout.positions),
        angles_deg=tuple(scan.angles_deg.tolist()),
        times_s=() if scan.times_s is None else tuple(scan.times_s.tolist()),
        geometry_from=_geometry_from(scan),
    )


def _entry(scan: Scan, source: FrameSource, role: str) -> FileEntry:
    files = tuple(raw_file(path, scan.root) for path in source.files)
    size = sum(file.bytes for file in files)
    return FileEntry(
        source.name, role, size, source.shape[0], source.n_flats, source.n_darks, files, tuple(source.shape)
    )


def _separate(scan: Scan, name: str, role: str) -> FileEntry:
    frames = read_calibration(scan.root / name, name, read_options(scan.config, "flat"), f"{role}s")
    path = scan.root / name
    files = tuple(raw_file(p, scan.root) for p in ([path] if path.is_file() else find_images(path, name)))
    return FileEntry(
        name, role, sum(file.bytes for file in files), len(frames), 0, 0, files, tuple(frames.shape)
    )


def _beside(scan: Scan) -> list[FileEntry]:
    """The mask of bad pixels and the list of angles, files that decide results like the frames."""
    angles = angle_file(scan.config.files.angles, scan.name)
    named = {"mask": scan.config.correct.mask, "angles": None if angles is None else angles[0]}
    shapes = {"mask": (scan.rows, scan.columns), "angles": (scan.n_projections + len(scan.excluded),)}
    entries = []
    for role, name in named.items():
        if name is not None:
            file = raw_file(scan.root / name, scan.root)
            entries.append(FileEntry(name, role, file.bytes, 0, 0, 0, (file,), shapes[role]))
    return entries


def _geometry_from(scan: Scan) -> dict[str, str]:
    """Where each number of the geometry stands; those that are not known are left out."""
    stated = scan.config.geometry
    return {
        key: "configuration" if getattr(stated, key) is not None else scan.sample[0].name
        for key in ("energy_kev", "pixel_size_um", "distance_m", "diffuser_distance_m")
        if getattr(scan.geometry, key) is not None
    }


def _origin(scan: Scan, kind: str) -> str:
    """Where the flats or darks come from, in words."""
    if scan.config.files.flat == DIVIDED:
        return "divided already" if kind == "flats" else "subtracted already"
    if kind == "darks" and scan.config.files.dark == SUBTRACTED:
        return "subtracted already"
    names = scan.layout.flat if kind == "flats" else scan.layout.dark
    if names:
        return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    for role, sources in (("sample", scan.sample), ("reference", scan.reference)):
        least = min((source_count(source, kind) for source in sources), default=0)
        if least:
            return f"in the {role} files, {least} each"
    return "none: the reference carries the beam shape"
