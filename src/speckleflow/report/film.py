"""Films of a time series: an animated PNG of each contrast.

The grey range is one for all frames, so that a change of grey is a change of the sample. Black and white stand at the
robust range of frames spread over the series; the time is in every picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from speckleflow.errors import InputError
from speckleflow.io.atomic import atomic_folder
from speckleflow.io.projections import Projections, open_projections
from speckleflow.io.results import IDENTITY
from speckleflow.report.pictures import robust_range
from speckleflow.scan.schema import CONTRASTS

#: frames that the grey range is taken from, spread over the series
_RANGE_FRAMES = 32
#: pixels of the longer side of a film: larger images are shown at every n-th pixel
_MOST_PIXELS = 1024
#: time that a picture is shown in ms; faster is not seen, slower is not a film
_SHOWN_MS = (40.0, 500.0)
#: height of the strip below the image that holds the time, in pixels
_STRIP = 14


def write_films(projections: str | Path, output: str | Path) -> None:
    """Write a folder with ``<contrast>.png``, an animated PNG, for every contrast of a time series.

    Raises
    ------
    InputError
        ``projections`` has no times, or a file behind it is absent or damaged.
    OutputError
        The folder cannot be written.
    """
    with open_projections(projections) as series:
        if "time_s" not in series:
            raise InputError(
                projections,
                expected="a time series (dataset time_s)",
                found="rotation angles",
                hint="geometry.axis: time, if the frames are times",
            )
        with atomic_folder(output) as folder:
            for name in CONTRASTS:
                if name in series:
                    _write(series, name, folder / f"{name}.png")


def _write(series: Projections, name: str, path: Path) -> None:
    """The film of one contrast; one frame after the other is read and made into grey values."""
    count = series.count
    chosen = np.unique(np.linspace(0, count - 1, min(count, _RANGE_FRAMES)).round().astype(np.intp))
    step = -(-max(series.shape(name)[1:]) // _MOST_PIXELS)
    low, high = robust_range(list(series.read(name, chosen)[:, ::step, ::step]))
    pictures = []
    for k, label in enumerate(series.labels):
        image = series.read(name, slice(k, k + 1))[0, ::step, ::step]
        grey = np.clip((np.nan_to_num(image, nan=low) - low) / (high - low), 0, 1)
        pictures.append(_picture(np.round(255 * grey).astype(np.uint8), label))
    times = series.file["time_s"][:]
    each = np.append(np.diff(times), np.median(np.diff(times))) if count > 1 else np.ones(1)
    text = PngInfo()
    for key, value in (
        ("contrast", name),
        ("black", low),
        ("white", high),
        ("source", series.attrs[IDENTITY]),
    ):
        text.add_text(f"speckleflow {key}", str(value))
    pictures[0].save(
        path,
        format="PNG",
        save_all=True,
        append_images=pictures[1:],
        duration=np.clip(1e3 * each, *_SHOWN_MS).round().astype(int).tolist(),
        loop=0,
        pnginfo=text,
    )


def _picture(grey: np.ndarray, label: str) -> Image.Image:
    """An image above a strip with its time."""
    rows, columns = grey.shape
    picture = Image.new("L", (columns, rows + _STRIP))
    picture.paste(Image.fromarray(grey), (0, 0))
    ImageDraw.Draw(picture).text((2, rows + 1), label, fill=255)
    return picture
