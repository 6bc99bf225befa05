"""Films of a time series: one of each contrast, MP4 where ffmpeg is installed, else animated PNG.

The colour range is one for all frames, so that a change of colour is a change of the sample. It is the robust range
of frames spread over the series and stands beside the picture as a colour bar; the time stands below.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from speckleflow.errors import InputError
from speckleflow.io.atomic import atomic_folder
from speckleflow.io.projections import Projections, open_projections
from speckleflow.io.results import IDENTITY
from speckleflow.report.moving import AnimatedPng, Mp4, can_write_mp4
from speckleflow.report.numbers import number
from speckleflow.report.pictures import PROJECTION_LOOKS, Look, look_of, palette, robust_range
from speckleflow.scan.schema import CONTRASTS

#: frames that the colour range is taken from, spread over the series, and most pixels of all of them together
_RANGE_FRAMES, _RANGE_PIXELS = 32, 2_000_000
#: pixels of the longer side of a film: larger images are shown at every n-th pixel, small ones n times as large
_MOST_PIXELS = 1024
_LEAST_PIXELS = 256
#: time that a frame is shown in ms; faster is not seen, slower is not a film
_SHOWN_MS = (40.0, 500.0)
#: colours of the values; the two last numbers of the palette are black and white, of texts
_COLOURS = 254
_BLACK, _WHITE = 254, 255
#: height of the strip below the image that holds the time, and width of that beside it with the colour bar, in pixels
_STRIP, _BAR = 16, 96
#: edges of the colour bar in that strip
_BAR_PLACE = (6, 20)


def write_films(projections: str | Path, output: str | Path, *, mp4: bool | None = None) -> None:
    """Write a folder with a film ``<contrast>.mp4`` or ``<contrast>.png`` for every contrast of a time series.

    One frame is in memory at a time, whatever the length.

    Parameters
    ----------
    projections : ``projections.h5`` of a time series.
    output : folder to make.
    mp4 : MP4 or animated PNG; None: MP4 where imageio-ffmpeg is installed.

    Raises
    ------
    InputError
        ``projections`` has no times, or a file behind it is absent or damaged.
    OutputError
        The folder cannot be written.
    """
    with open_projections(projections) as series:
        if not series.series:
            raise InputError(
                projections,
                expected="a time series (dataset time_s)",
                found="rotation angles",
                hint="geometry.axis: time, if the frames are times",
            )
        wanted = can_write_mp4() if mp4 is None else mp4
        with atomic_folder(output) as folder:
            for name in CONTRASTS:
                if name in series:
                    _write(series, name, folder, wanted)


def _write(series: Projections, name: str, folder: Path, mp4: bool) -> None:
    """The film of one contrast."""
    look, count = look_of(name, PROJECTION_LOOKS), series.count
    rows, columns = series.shape(name)[1:]
    step = -(-max(rows, columns) // _MOST_PIXELS)
    zoom = max(1, _LEAST_PIXELS // max(rows, columns))
    chosen = np.unique(np.linspace(0, count - 1, min(count, _RANGE_FRAMES)).round().astype(np.intp))
    coarse = step * max(
        1, math.ceil(math.sqrt(len(chosen) * (rows // step) * (columns // step) / _RANGE_PIXELS))
    )
    sampled = [series.read(name, slice(k, k + 1))[0, ::coarse, ::coarse] for k in chosen.tolist()]
    low, high = robust_range(sampled, symmetric=look.symmetric)
    colours = np.zeros((256, 3), np.uint8)
    colours[:_COLOURS] = palette(look.colormap)[np.linspace(0, 255, _COLOURS).round().astype(np.intp)]
    colours[_WHITE] = 255
    height, width = -(-rows // step), -(-columns // step)
    canvas = _canvas(height * zoom, width * zoom, look, low, high)
    texts = {
        "speckleflow contrast": name,
        "speckleflow low": str(low),
        "speckleflow high": str(high),
        "speckleflow unit": look.unit,
        "speckleflow source": str(series.attrs[IDENTITY]),
    }
    shown = _shown_ms(series.file["time_s"][:])
    with (
        Mp4(folder / f"{name}.mp4", canvas.shape, colours, min(shown), texts)
        if mp4
        else AnimatedPng(folder / f"{name}.png", canvas.shape, colours, count, texts)
    ) as film:
        for k, (label, duration) in enumerate(zip(series.labels, shown, strict=True)):
            image = series.read(name, slice(k, k + 1))[0, ::step, ::step]
            part = np.clip((np.nan_to_num(image, nan=low) - low) / (high - low), 0, 1)
            numbers = np.round((_COLOURS - 1) * part).astype(np.uint8)
            frame = canvas.copy()
            frame[: height * zoom, : width * zoom] = numbers.repeat(zoom, 0).repeat(zoom, 1)
            _text(frame, label, height * zoom + 2, 2)
            film.add(frame, duration)


def _shown_ms(times_s: NDArray[np.float64]) -> list[int]:
    """Time that each frame is shown: until the next, within what can be watched."""
    if len(times_s) < 2:
        return [int(_SHOWN_MS[1])]
    steps = np.diff(times_s)
    each = 1e3 * np.append(steps, np.median(steps))
    return np.clip(each, *_SHOWN_MS).round().astype(int).tolist()


def _canvas(height: int, width: int, look: Look, low: float, high: float) -> NDArray[np.uint8]:
    """Colour numbers (y, x) of what all frames share, of even size: the colour bar and its ends, the title."""
    rows = max(height, 3 * _STRIP) + _STRIP
    columns = width + _BAR
    canvas = np.full((rows + rows % 2, columns + columns % 2), _BLACK, np.uint8)
    first, last = (width + place for place in _BAR_PLACE)
    bar = np.linspace(_COLOURS - 1, 0, rows - _STRIP).round().astype(np.uint8)
    canvas[: rows - _STRIP, first:last] = bar[:, None]
    for value, top in ((high, 1), (low, rows - 2 * _STRIP)):
        _text(canvas, number(value).replace("\u2212", "-"), top, last + 4)  # the font has the ASCII sign
    if look.unit:
        _text(canvas, look.unit, (rows - _STRIP) // 2 - _STRIP // 2, last + 4)
    _text(canvas, look.title, rows - _STRIP + 2, 72)
    return canvas


def _text(canvas: NDArray[np.uint8], words: str, top: int, left: int) -> None:
    """Words in white, as far as there is room."""
    mask = Image.new("1", (max(1, canvas.shape[1] - left), _STRIP - 2))
    draw = ImageDraw.Draw(mask)
    draw.fontmode = "1"
    draw.text((0, 0), words, fill=1)
    rows = canvas[top : top + _STRIP - 2, left:]
    rows[np.asarray(mask)[: len(rows)]] = _WHITE
