"""Line charts as inline SVG that take the page's colours, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

_INK, _ACCENT, _FAINT = "#010203", "#040506", "#070809"  # placeholders, replaced by the page's colours
_COLOURS = {_INK: "currentColor", _ACCENT: "var(--accent)", _FAINT: "var(--line)"}

#: lines of the curves beside the first
_STYLES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (1, 2)))


def line_chart(
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    x_label: str,
    y_label: str,
    mark: float | None,
    mark_label: str,
    name: str,
    alt: str,
    beside: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> str:
    """A curve with one vertical mark (None: without), as an <svg> element; ``beside`` are other curves over the same x.

    ``name`` makes the element ids unique within a page (letters and digits); ``alt`` is read out instead of
    the chart.
    """
    order = np.argsort(x)
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "text.parse_math": False,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(7.0, 2.6), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axis = figure.subplots()
        axis.patch.set_alpha(0)
        axis.grid(color=_FAINT, linewidth=0.8)
        axis.plot(np.asarray(x)[order], np.asarray(y)[order], color=_ACCENT, linewidth=1.8)
        for (label, values), style in zip(beside.items(), _STYLES, strict=False):
            axis.plot(
                np.asarray(x)[order], values[order], color=_INK, linewidth=1, linestyle=style, label=label
            )
        if beside:
            axis.legend(fontsize=8, labelcolor=_INK, framealpha=0)
        if mark is not None:
            axis.axvline(mark, color=_INK, linewidth=1.2, linestyle=(0, (4, 3)))
            axis.annotate(
                mark_label, (mark, 1), xycoords=("data", "axes fraction"), xytext=(5, -4),
                textcoords="offset points", va="top", fontsize=9, color=_INK,
            )  # fmt: skip
        axis.set_xlabel(x_label, fontsize=9, color=_INK)
        axis.set_ylabel(y_label, fontsize=9, color=_INK)
        axis.tick_params(labelsize=8, colors=_INK, length=3)
        axis.spines[["top", "right"]].set_visible(False)
        for side in ("left", "bottom"):
            axis.spines[side].set_color(_INK)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(out.getvalue(), name, alt)


def _inline(svg: str, name: str, alt: str) -> str:
    """A stand-alone SVG file as an element for HTML: no prolog, no addresses, own ids, the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    for placeholder, colour in _COLOURS.items():
        svg = svg.replace(placeholder, colour)
    return svg.replace("<svg", f'<svg role="img" aria-label="{_attribute(alt)}"', 1).strip()


def _attribute(text: str) -> str:
    replacements: Sequence[tuple[str, str]] = (("&", "&amp;"), ('"', "&quot;"), ("<", "&lt;"), (">", "&gt;"))
    for character, entity in replacements:
        text = text.replace(character, entity)
    return text
