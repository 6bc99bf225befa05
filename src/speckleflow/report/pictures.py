"""How each contrast is shown: colour map, grey range, scale bar; PNG bytes for pages and one PNG for
people."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

from speckleflow.io.atomic import atomic_path
from speckleflow.scan.schema import FIELDS
from speckleflow.tomo.units import QUANTITIES

Array = NDArray[Any]

#: The colour range runs from one percentile to the other and ``HEADROOM`` of that further on either side, but
#: not beyond the values there are: outliers, 1 pixel in 200 on either side, do not stretch it, and a small
#: strong object is still told from its surroundings.
ROBUST_PERCENTILES = (0.5, 99.5)
HEADROOM = 0.1
#: Longest side of a picture in a page; larger images are binned (mean), so that a page of a 2048-pixel scan
#: stays under some 10 MB.
PAGE_SIDE = 1024


@dataclass(frozen=True)
class Look:
    """Title, unit and colours of one contrast. ``symmetric``: a signed quantity, 0 in the middle of its
    range."""

    title: str
    unit: str
    colormap: str
    symmetric: bool = False


PROJECTION_LOOKS = {
    "transmission": Look("Transmission", FIELDS["transmission"].unit, "gray"),
    "darkfield": Look("Dark field (visibility ratio)", FIELDS["darkfield"].unit, "gray"),
    "phase": Look("Phase", FIELDS["phase"].unit, "gray"),
    "ux": Look("Displacement to the right", FIELDS["ux"].unit, "RdBu_r", symmetric=True),
    "uy": Look("Displacement downward", FIELDS["uy"].unit, "RdBu_r", symmetric=True),
    "displacement_std": Look(
        "Expected error of the displacement", FIELDS["displacement_std"].unit, "viridis"
    ),
    "misfit": Look("Misfit of the frame simulated again", FIELDS["misfit"].unit, "viridis"),
}
#: a quantity of unit 1 is shown without
_VOLUME_UNITS = {name: "" if q.unit == "1" else q.unit for name, q in QUANTITIES.items()}
VOLUME_LOOKS = {
    "delta": Look("Refractive-index decrement \u03b4", _VOLUME_UNITS["delta"], "gray"),
    "mu": Look("Linear attenuation \u03bc", _VOLUME_UNITS["mu"], "gray"),
    "darkfield": Look("Dark-field extinction", _VOLUME_UNITS["darkfield"], "inferno"),
}
SINOGRAM_LOOKS = {
    "delta": Look("Phase, \u2212\u03c6", "rad", "gray"),
    "mu": Look("Absorption, \u2212ln T", "", "gray"),
    "darkfield": Look("Dark field, \u2212ln D", "", "inferno"),
}


def look_of(name: str, looks: Mapping[str, Look]) -> Look:
    """The look of a contrast; one that is not known is shown in grey under its own name."""
    return looks.get(name, Look(name, "", "gray"))


def robust_range(images: Iterable[Array], *, symmetric: bool = False) -> tuple[float, float]:
    """Colour range common to ``images``, from the percentiles of their finite values; never empty."""
    values = np.concatenate([np.asarray(i, np.float64)[np.isfinite(i)] for i in images] or [np.zeros(0)])
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, ROBUST_PERCENTILES))
    room = HEADROOM * (high - low)
    low, high = max(low - room, float(values.min())), min(high + room, float(values.max()))
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = max(abs(high) * 0.05, 1e-12)
        return low - half, high + half
    return low, high


def png_bytes(image: Array, low: float, high: float, colormap: str) -> bytes:
    """An image (y, x) as a palette PNG, row 0 on top; binned where it is larger than ``PAGE_SIDE``."""
    image = np.asarray(image, np.float64)
    step = -(-max(image.shape) // PAGE_SIDE)
    if step > 1:
        height, width = (max(1, n // step) * min(step, n) for n in image.shape)
        sy, sx = (min(step, n) for n in image.shape)
        image = image[:height, :width].reshape(height // sy, sy, width // sx, sx).mean(axis=(1, 3))
    level = np.clip((np.nan_to_num(image, nan=low) - low) / (high - low), 0, 1)
    picture = Image.fromarray(np.round(level * 255).astype(np.uint8))
    if colormap != "gray":
        picture.putpalette(palette(colormap).tobytes())
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def palette(colormap: str) -> NDArray[np.uint8]:
    """The 256 colours (256, 3) of a colour map."""
    return np.round(colormaps[colormap](np.arange(256))[:, :3] * 255).astype(np.uint8)


def scale_bar(width_px: int, pixel_size_m: float) -> tuple[float, str]:
    """Length in pixels and label of a bar of 1, 2 or 5 times a power of ten: a fifth of the image or less."""
    most = 0.22 * width_px * pixel_size_m
    power = 10.0 ** math.floor(math.log10(most))
    length = next(m for m in (5, 2, 1) if m * power <= most * (1 + 1e-9)) * power
    for unit, size in (("mm", 1e-3), ("\u03bcm", 1e-6), ("nm", 1e-9)):
        if length >= size * (1 - 1e-9):
            return length / pixel_size_m, f"{length / size:g} {unit}"
    return length / pixel_size_m, f"{length:g} m"


def picture_fields(
    path: str | Path,
    fields: Mapping[str, Array],
    *,
    pixel_size_m: float | None = None,
    title: str = "",
) -> None:
    """One PNG with the fields of one view side by side (or below each other where they are wide).

    Parameters
    ----------
    path : the PNG file.
    fields : name (transmission, darkfield, phase, ux, uy, displacement_std) to (y, x); shown in the order given.
    pixel_size_m : for the scale bars; without it there are none.
    title : text above.
    """
    shapes = [np.shape(image) for image in fields.values()]
    height, width = max(s[0] for s in shapes), max(s[1] for s in shapes)
    columns = 1 if width > 2.5 * height or len(fields) == 1 else 2 if len(fields) <= 4 else 3
    rows = -(-len(fields) // columns)
    panel_w = 11.0 / columns
    panel_h = min(panel_w * height / width, 9.0) + 0.75
    engine = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, compress=True)
    figure = Figure(figsize=(11.0, rows * panel_h + (0.4 if title else 0.0)), dpi=150, layout=engine)
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=11, parse_math=False)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(fields) :]:
        axis.set_axis_off()
    for axis, (name, image) in zip(axes, fields.items(), strict=False):
        look = look_of(name, PROJECTION_LOOKS)
        low, high = robust_range([image], symmetric=look.symmetric)
        shown = axis.imshow(
            image, cmap=look.colormap, vmin=low, vmax=high, origin="upper", interpolation="antialiased"
        )
        axis.set_title(look.title, fontsize=9, loc="left", parse_math=False)
        axis.tick_params(labelsize=7, length=2)
        slot = axis.inset_axes((1.0 + 0.012 * columns, 0.0, 0.012 * columns, 1.0))
        bar = figure.colorbar(shown, cax=slot)
        bar.ax.tick_params(labelsize=7, length=2)
        bar.set_label(look.unit, fontsize=8)
        if pixel_size_m is not None:
            _draw_scale_bar(axis, np.shape(image), pixel_size_m)
    with atomic_path(path) as part:
        figure.savefig(
            part, format="png", bbox_inches="tight", pad_inches=0.1, metadata={"Software": "speckleflow"}
        )


def _draw_scale_bar(axis: Any, shape: tuple[int, ...], pixel_size_m: float) -> None:
    length, text = scale_bar(shape[1], pixel_size_m)
    style = {"boxstyle": "round,pad=0.25", "facecolor": "black", "alpha": 0.55, "linewidth": 0}
    # the bar is drawn in data coordinates: its length is pixels
    x, y = 0.03 * shape[1], 0.93 * shape[0]
    axis.plot([x, x + length], [y, y], color="black", linewidth=4, solid_capstyle="butt")
    axis.plot([x, x + length], [y, y], color="white", linewidth=2.2, solid_capstyle="butt")
    axis.annotate(
        text, (x + length, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=7,
        color="white", bbox=style,
    )  # fmt: skip
    axis.set_xlim(-0.5, shape[1] - 0.5)
    axis.set_ylim(shape[0] - 0.5, -0.5)
