"""The page on which settings are chosen: variants side by side, one colour range, values under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from speckleflow.io.atomic import atomic_path
from speckleflow.report.embed import binned, data_block, embedded, script_policy
from speckleflow.report.pictures import Look, palette, robust_range

#: of the variants' profiles, in their order; the page's script has the same
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#b8860b")
#: Pixels of all images of a page, above which they are binned: some 10 MB of text.
MOST_PIXELS = 4_500_000


@dataclass(frozen=True)
class Variant:
    """One choice of settings: its images by contrast, its figures, and the lines that make it permanent."""

    label: str
    images: dict[str, NDArray[Any]]
    lines: str
    numbers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Group:
    """Variants that are compared, contrast by contrast.

    Attributes
    ----------
    looks : title, unit and colours of every contrast, in the order in which they are offered.
    first : (row, column) of the first pixel shown.
    """

    title: str
    note: str
    variants: Sequence[Variant]
    looks: dict[str, Look]
    first: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class TuningPage:
    """All that the page shows."""

    scan: str
    facts: list[tuple[str, str]]
    groups: Sequence[Group]


def build_tuning_page(output: str | Path, page: TuningPage) -> None:
    """Write the page, complete or not at all.

    Raises
    ------
    OutputError
        The file could not be written.
    """
    text = render(page)
    with atomic_path(output) as part:
        part.write_text(text, encoding="utf-8")


def render(page: TuningPage) -> str:
    """The page's HTML."""
    folder = resources.files("speckleflow.report") / "templates"

    def own(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    total = sum(image.size for group in page.groups for v in group.variants for image in v.images.values())
    bin_ = 1
    while total / bin_**2 > MOST_PIXELS:
        bin_ += 1
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    core, script = own("viewer.js"), own("tuning.js")
    groups = [
        {
            "title": group.title,
            "note": group.note,
            "variants": group.variants,
            "aspect": _aspect(group),
            "contrasts": [_contrast(group, name, look, bin_) for name, look in group.looks.items()],
        }
        for group in page.groups
    ]
    return environment.from_string(own("tuning.html.j2")).render(
        page=page,
        groups=groups,
        colours=COLOURS,
        style=Markup(own("report.css")),
        tuning_style=Markup(own("tuning.css")),
        policy=Markup(script_policy(core, script)),
        block=data_block("data", {"groups": [{"contrasts": group["contrasts"]} for group in groups]}),
        core=Markup(core),
        script=Markup(script),
    )


def _aspect(group: Group) -> float:
    """Width over height of the frames that the images are shown in."""
    height, width = next(iter(group.variants[0].images.values())).shape
    return round(min(4.0, max(0.5, width / height)), 4)


def _contrast(group: Group, name: str, look: Look, bin_: int) -> dict[str, Any]:
    images = [binned(v.images[name], bin_) if name in v.images else None for v in group.variants]
    shown = [image for image in images if image is not None]
    return {
        "title": look.title,
        "unit": look.unit,
        "range": robust_range(shown, symmetric=look.symmetric),
        "colours": palette(look.colormap)[::17].tolist(),
        "bin": bin_,
        "first": list(group.first),
        "images": [None if image is None else embedded(image) for image in images],
    }
