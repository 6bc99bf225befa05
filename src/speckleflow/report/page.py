"""The HTML file of a scan: one self-contained page, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from speckleflow.io.atomic import atomic_path
from speckleflow.report.charts import line_chart
from speckleflow.report.data import (
    AxisSearch,
    OneTime,
    ReportData,
    Resolution,
    Timing,
    VolumeLike,
    binned_frames,
    binned_volume,
)
from speckleflow.report.embed import data_block, embedded, script_policy
from speckleflow.report.numbers import duration, number, percent
from speckleflow.report.pictures import (
    PROJECTION_LOOKS,
    SINOGRAM_LOOKS,
    VOLUME_LOOKS,
    Look,
    look_of,
    palette,
    png_bytes,
    robust_range,
    scale_bar,
)

Array = NDArray[Any]

#: Width over height from which a picture gets the full width of the page.
WIDE = 2.5
#: Voxels of all volumes together that a page holds, each 16 bits: at most 7 MB of text.
MOST_VOXELS = 2_600_000
#: Pixels that the shorter side of a frame of a time series keeps at least: rather fewer frames are shown.
LEAST_SIDE = 64
#: name of each plane of the viewer, and of the axis that its slider goes along
_PLANES = (("Axial slice", "z"), ("Coronal slice", "y"), ("Sagittal slice", "x"))
_TIME_PLANES = (("Frame", "time"), ("Row over time", "y"), ("Column over time", "x"))
#: where the volumes go in the rendered page
_BLOCK = Markup("<!-- volumes -->")
_TRUTH_NAMES = {"delta": "\u03b4", "mu": "\u03bc", "darkfield": "dark field"}
_SUPERSCRIPT = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)


def build_report(output: str | Path, data: ReportData) -> None:
    """Write the report of one scan to ``output`` (HTML), complete or not at all.

    Raises
    ------
    OutputError
        The file could not be written.
    """
    text = render(data)
    with atomic_path(output) as part:
        part.write_text(text, encoding="utf-8")


def render(data: ReportData) -> str:
    """The page's HTML."""
    folder = resources.files("speckleflow.report") / "templates"
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters.update(number=number, percent=percent, duration=duration)
    template = environment.from_string((folder / "report.html.j2").read_text(encoding="utf-8"))
    warnings = [*data.warnings, *(data.quality.warnings() if data.quality else [])]
    core, script, viewer_style = (
        (folder / name).read_text(encoding="utf-8") for name in ("viewer.js", "volumes.js", "volumes.css")
    )
    bin_, stride = _bin(data), 1
    looks, planes = [look_of(name, VOLUME_LOOKS).title for name in data.look], _PLANES
    if data.series:
        bin_, stride = _frame_bins(data)
        looks, planes = [look_of(name, PROJECTION_LOOKS).title for name in data.series], _TIME_PLANES
    text = template.render(
        data=data,
        looks=looks,
        planes=planes,
        bin=bin_,
        stride=stride,
        policy=Markup("; " + script_policy(core, script)) if looks else "",
        viewer_style=Markup(viewer_style) if looks else "",
        viewer_block=_BLOCK if looks else "",
        style=Markup((folder / "report.css").read_text(encoding="utf-8")),  # ours, not the user's
        warnings=warnings,
        figures=data.quality.figures() if data.quality else [],
        volumes=list(_volumes(data)),
        changes=list(_changes(data)),
        projections=list(_projections(data)),
        sinograms=list(_sinograms(data)),
        axis_chart=_axis_chart(data.axis),
        resolutions=list(_resolutions(data.resolution)),
        truth_names=_TRUTH_NAMES,
        timings=_timings(data.timings),
        total=sum(t.seconds for t in data.timings),
        parameters=list(_groups(data.parameters)),
    )
    if not looks:
        return text
    block = _series_block(data, bin_, stride) if data.series else _volume_block(data, bin_)
    block += Markup(f"<script>{core}</script>\n<script>{script}</script>")
    return text.replace(str(_BLOCK), block)


def _bin(data: ReportData) -> int:
    """Voxels along each axis that one of the page's stands for, so that all volumes together have room."""
    total = sum(math.prod(volume.shape) for volume in data.look.values())
    least = min((n for volume in data.look.values() for n in volume.shape[-3:]), default=1)
    factor = 1
    while total / factor**3 > MOST_VOXELS and factor < least:
        factor += 1
    return factor


def _frame_bins(data: ReportData) -> tuple[int, int]:
    """Pixels along y and x that one of the page's stands for, and which frames: every one, as long as that is room."""
    frames, rows, columns = next(iter(data.series.values())).shape
    values, factor = len(data.series) * frames * rows * columns, 1
    while values / factor**2 > MOST_VOXELS and factor < min(rows, columns) // LEAST_SIDE:
        factor += 1
    return factor, max(1, math.ceil(values / factor**2 / MOST_VOXELS))


def _volume_block(data: ReportData, bin_: int) -> Markup:
    """The volumes for the page's script."""
    volumes = []
    for name, volume in data.look.items():
        look = look_of(name, VOLUME_LOOKS)
        parts = [binned_volume(part, bin_) for part in _parts(volume)]
        shown = robust_range([part[part.shape[0] // 2] for part in parts], symmetric=look.symmetric)
        volumes.append(_item(look, shown, parts))
    told = {"kind": "volumes", "bins": [bin_] * 3, "labels": list(data.times), "volumes": volumes}
    return data_block("volume-data", told) + Markup("\n")


def _parts(volume: VolumeLike) -> Iterator[VolumeLike]:
    """The volumes (z, y, x) of all times of (t, z, y, x), or the only one."""
    if len(volume.shape) == 3:
        yield volume
        return
    for t in range(volume.shape[0]):
        yield OneTime(volume, t)


def _series_block(data: ReportData, bin_: int, stride: int) -> Markup:
    """The frames of a time series for the page's script."""
    series = []
    for name, frames in data.series.items():
        look, values = look_of(name, PROJECTION_LOOKS), binned_frames(frames, stride, bin_)
        some = [values[k] for k in sorted({0, len(values) // 2, len(values) - 1})]
        series.append(_item(look, robust_range(some, symmetric=look.symmetric), [values]))
    told = {
        "kind": "series",
        "bins": [stride, bin_, bin_],
        "labels": list(data.times[::stride]),
        "volumes": series,
    }
    return data_block("volume-data", told) + Markup("\n")


def _item(look: Look, shown: tuple[float, float], parts: Sequence[Array]) -> dict[str, Any]:
    """One quantity for the page's script, at each time."""
    colours = palette(look.colormap)[::17].tolist()
    return {"unit": look.unit, "range": shown, "colours": colours, "times": [embedded(p) for p in parts]}


def _changes(data: ReportData) -> Iterator[dict[str, Any]]:
    """The maps of change of a time series: two cards a contrast, since their ranges differ."""
    for name, (std, difference) in data.changes.items():
        look = look_of(name, PROJECTION_LOOKS)
        for words, image, symmetric in (
            ("standard deviation over time", std, False),
            ("last frame minus first", difference, True),
        ):
            shown = Look(f"{look.title}, {words}", look.unit, "RdBu_r" if symmetric else "viridis", symmetric)
            low, high = robust_range([image], symmetric=symmetric)
            panel = _panel(image, "", shown.title, shown, low, high, data.pixel_size_m)
            yield _card(shown, [panel], low, high)


def _volumes(data: ReportData) -> Iterator[dict[str, Any]]:
    for name, slices in data.slices.items():
        look = look_of(name, VOLUME_LOOKS)
        z, y, x = slices.centre
        views = [
            (slices.axial, f"Axial, z = {z}", "x \u2192", "y \u2193"),
            (slices.coronal, f"Coronal, y = {y}", "x \u2192", "z \u2193"),
            (slices.sagittal, f"Sagittal, x = {x}", "y \u2192", "z \u2193"),
        ]
        low, high = robust_range([view[0] for view in views], symmetric=look.symmetric)
        panels = [
            _panel(
                image,
                f"{label} ({across}, {down})",
                f"{look.title}: {label} slice",
                look,
                low,
                high,
                data.pixel_size_m,
            )
            for image, label, across, down in views
        ]
        yield _card(look, panels, low, high)


def _projections(data: ReportData) -> Iterator[dict[str, Any]]:
    for name, pictures in data.projections.items():
        if not pictures:
            continue
        look = look_of(name, PROJECTION_LOOKS)
        low, high = robust_range([p.image for p in pictures], symmetric=look.symmetric)
        panels = []
        for picture in pictures:
            alt = f"{look.title}, projection {picture.label}".rstrip()
            panels.append(_panel(picture.image, picture.label, alt, look, low, high, data.pixel_size_m))
        yield _card(look, panels, low, high)


def _sinograms(data: ReportData) -> Iterator[dict[str, Any]]:
    for name, sinogram in data.sinograms.items():
        look = look_of(name, SINOGRAM_LOOKS)
        low, high = robust_range([sinogram.image], symmetric=look.symmetric)
        first, last = sinogram.angles_deg
        label = f"row {sinogram.row}, {first:g}\u00b0 (top) to {last:g}\u00b0"
        panel = _panel(sinogram.image, label, f"Sinogram of {look.title}, {label}", look, low, high, None)
        yield _card(look, [panel], low, high)


def _card(look: Look, panels: Sequence[dict[str, Any]], low: float, high: float) -> dict[str, Any]:
    colours = palette(look.colormap)[:: 255 // 15]
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in colours)
    unit = f" {look.unit}" if look.unit else ""
    return {
        "title": look.title,
        "unit": look.unit,
        "panels": panels,
        "wide": all(panel["aspect"] > WIDE for panel in panels),
        "gradient": f"linear-gradient(to right, {stops})",
        "low": number(low) + unit,
        "high": number(high) + unit,
    }


def _panel(
    image: Array, label: str, alt: str, look: Look, low: float, high: float, pixel_size_m: float | None
) -> dict[str, Any]:
    height, width = np.shape(image)
    encoded = base64.b64encode(png_bytes(image, low, high, look.colormap)).decode("ascii")
    unit = f" {look.unit}" if look.unit else ""
    bar = None
    if pixel_size_m is not None:
        length, text = scale_bar(width, pixel_size_m)
        bar = {"share": 100 * length / width, "text": text}
    return {
        "source": f"data:image/png;base64,{encoded}",
        "label": label,
        "alt": f"{alt}; {width} by {height} pixels, colours from {number(low)} to {number(high)}{unit}",
        "width": width,
        "height": height,
        "aspect": round(width / height, 4),
        "coarse": max(width, height) < 400,
        "bar": bar,
    }


def _axis_chart(axis: AxisSearch | None) -> Markup | None:
    if axis is None or axis.trials_px is None or axis.cost is None or len(axis.trials_px) < 2:
        return None
    chart = line_chart(
        axis.trials_px,
        axis.cost,
        x_label="trial rotation axis (px)",
        y_label="cost",
        mark=axis.value_px,
        mark_label=f"{axis.value_px:.2f} px",
        name="axis",
        alt=f"Cost of the rotation axis over its trials; the axis used is {axis.value_px:.2f} pixels",
    )
    return Markup(chart)  # made here from numbers


def _resolutions(found: Mapping[str, Resolution]) -> Iterator[tuple[str, Mapping[str, str], Markup]]:
    """Volume, resolution by each threshold in words, and the curve."""
    for name, one in found.items():
        chart = line_chart(
            one.frequency,
            one.correlation,
            x_label="cycles per voxel",
            y_label="Fourier shell correlation",
            mark=one.marked,
            mark_label=next(iter(one.stated), ""),
            name=f"fsc{name}",
            alt=f"Fourier shell correlation of two halves of {name}",
            beside=one.thresholds,
        )
        yield name, one.stated, Markup(chart)  # made here from numbers


def _timings(timings: Sequence[Timing]) -> list[tuple[Timing, float]]:
    """Each with its share of the longest, in per cent."""
    longest = max((t.seconds for t in timings), default=0.0) or 1.0
    return [(t, 100 * t.seconds / longest) for t in timings]


def _groups(parameters: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Sections of the configuration with their keys flattened by dots; single values come first."""
    single = [(key, _text(value)) for key, value in parameters.items() if not isinstance(value, Mapping)]
    if single:
        yield "general", single
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            yield key, list(_flat(value))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
