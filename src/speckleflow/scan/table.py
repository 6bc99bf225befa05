"""A manifest as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from speckleflow.scan.geometry import ScanGeometry
from speckleflow.scan.manifest import FileEntry, Manifest
from speckleflow.settings import ranges_of

#: files of one role that are listed one by one; of more the user wants to see what differs
_LISTED = 24


def manifest_table(manifest: Manifest) -> RenderableType:
    """The manifest for a terminal."""
    facts = Table(title=f"Scan {manifest.scan}", title_justify="left", show_header=False, box=None)
    g = manifest.geometry
    for name, value in (
        (
            "projections",
            f"{manifest.n_projections} ({manifest.first_angle_deg:g} to {manifest.last_angle_deg:g} deg)",
        ),
        ("not used", _ranges(manifest.excluded) or "none"),
        ("diffuser positions", str(manifest.n_positions)),
        ("frames", f"{manifest.columns} x {manifest.rows} pixels, {manifest.dtype}"),
        ("energy", _with_unit(g.energy_kev, "keV")),
        ("pixel size", _with_unit(g.pixel_size_um, "um")),
        ("distance", distance_text(g)),
        ("pattern", _pattern(manifest)),
        ("detector blur", manifest.detector_blur),
        *([("references", manifest.references)] if manifest.references else []),
        ("flats", manifest.flats),
        ("darks", manifest.darks),
        (
            "raw data",
            f"{_size(manifest.raw_bytes)} in {len(manifest.files)} file{'s' * (len(manifest.files) > 1)}",
        ),
        ("results", f"about {_size(manifest.result_bytes)}"),
        ("one projection", f"{_size(manifest.projection_bytes)} in memory, all positions"),
    ):
        facts.add_row(f"[bold]{name}", value)
    files = Table(box=None)
    files.add_column("file", overflow="fold")  # the end of a name is what tells files apart
    for name in ("role", "frames", "flats", "darks", "size"):
        files.add_column(name, justify="left" if name == "role" else "right")
    for role in dict.fromkeys(entry.role for entry in manifest.files):
        for row in _rows([entry for entry in manifest.files if entry.role == role]):
            files.add_row(*row)
    return Group(facts, "", files, *(["", *(f"[yellow]warning:[/] {w}" for w in manifest.warnings)]))


def _pattern(manifest: Manifest) -> str:
    """'speckles 4.1 x 3.9 px (5.3 x 5.1 um), visibility 12 %, 0.02 px by a window of 7 x 7'."""
    p = manifest.pattern
    if not p:
        return "none"
    x, y = p["size_x_px"], p["size_y_px"]
    pixel = manifest.geometry.pixel_size_um
    um = f" ({x * pixel:.3g} x {y * pixel:.3g} um)" if np.isfinite(pixel) else ""
    # an error of less than a thousandth of a pixel is noise that was not told from the pattern
    error = "noise not seen" if p["error_px"] < 1e-3 else f"{p['error_px']:.2g} px by a window of 7 x 7"
    return f"speckles {x:.2g} x {y:.2g} px{um}, visibility {100 * p['visibility']:.3g} %, {error}"


def _ranges(numbers: Sequence[int]) -> str:
    """'3, 17 to 19'."""
    return ranges_of(numbers).replace("-", " to ").replace(",", ", ")


def _rows(entries: list[FileEntry]) -> Iterator[tuple[str, ...]]:
    """Rows of the table for the files of one role; of a long list the first, the last, and those that differ."""

    def row(entry: FileEntry) -> tuple[str, ...]:
        counts = (entry.frames, entry.flats, entry.darks)
        return (entry.path, entry.role, *map(str, counts), _size(entry.bytes))

    def kind(entry: FileEntry) -> tuple[int, ...]:
        # compressed files of equal content differ by a few per cent; one of half the size is another matter
        return entry.frames, entry.flats, entry.darks, round(2 * np.log2(max(entry.bytes, 1) / typical))

    if len(entries) <= _LISTED:
        yield from map(row, entries)
        return
    typical = float(np.median([entry.bytes for entry in entries])) or 1.0
    kinds = [kind(entry) for entry in entries]
    usual = max(set(kinds), key=kinds.count)
    odd = [entry for entry, found in zip(entries[1:-1], kinds[1:-1], strict=True) if found != usual]
    yield row(entries[0])
    yield f"... {len(entries) - 2 - len(odd)} more like it ...", "", "", "", "", ""
    yield from map(row, odd)
    yield row(entries[-1])


def _with_unit(value: float | None, unit: str) -> str:
    return "not given" if value is None else f"{value:g} {unit}"


def distance_text(geometry: ScanGeometry) -> str:
    """Distance to the detector, and over the magnification of a divergent beam."""
    real, effective, magnification = (
        geometry.distance_m,
        geometry.effective_distance_m,
        geometry.magnification,
    )
    effect = "" if effective is None else f", {effective:g} m in effect"
    return _with_unit(real, "m") + (
        "" if magnification == 1 else f"{effect} (magnification {magnification:g})"
    )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
