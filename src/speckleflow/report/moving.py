"""Files of moving pictures, written frame by frame: MP4 through ffmpeg, animated PNG by ourselves.

Neither holds more than one frame, so that memory does not follow the length of a film. Frames are colour numbers of
one palette.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from speckleflow.errors import OutputError

Indices = NDArray[np.uint8]

#: times that an MP4, whose frames all last as long, repeats a frame at most
_REPEATS = 12


class MovingPicture(Protocol):
    """A file of frames that is complete once it was left."""

    def __enter__(self) -> MovingPicture: ...

    def __exit__(self, *error: Any) -> None: ...

    def add(self, frame: Indices, shown_ms: int) -> None:
        """Add a frame (y, x) of colour numbers that is shown for some time."""
        ...


class AnimatedPng:
    """An animated PNG (https://www.w3.org/TR/png-3/), which every browser shows and Pillow reads.

    Parameters
    ----------
    path : of the file.
    size : (rows, columns).
    palette : (256, 3) colours.
    frames : number of frames, which stands in the head of the file.
    texts : key and value of what else the file says.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        palette: NDArray[np.uint8],
        frames: int,
        texts: Mapping[str, str],
    ) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._size, self._sequence, self._first = size, 0, True
        rows, columns = size
        self._file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0))
        self._chunk(b"acTL", struct.pack(">II", frames, 0))  # 0: again and again
        self._chunk(b"PLTE", palette.tobytes())
        for key, value in texts.items():
            self._chunk(b"tEXt", key.encode("latin-1") + b"\0" + value.encode("latin-1", "replace"))

    def __enter__(self) -> Self:
        return self

    def add(self, frame: Indices, shown_ms: int) -> None:
        """Add a frame (y, x) of colour numbers that is shown for some time."""
        rows, columns = self._size
        control = struct.pack(">IIIIIHHBB", self._next(), columns, rows, 0, 0, shown_ms, 1000, 0, 0)
        self._chunk(b"fcTL", control)
        lines = np.zeros((rows, columns + 1), np.uint8)  # a line begins with its filter, 0: none
        lines[:, 1:] = frame
        data = zlib.compress(lines.tobytes(), 6)
        if self._first:
            self._chunk(b"IDAT", data)
        else:
            self._chunk(b"fdAT", struct.pack(">I", self._next()) + data)
        self._first = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._chunk(b"IEND", b"")
        self._file.close()

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + kind + data)
        self._file.write(struct.pack(">I", zlib.crc32(kind + data)))


class Mp4:
    """An H.264 film in an MP4 file. All its frames last as long: one that is shown longer is repeated.

    Parameters
    ----------
    path : of the file.
    size : (rows, columns), even numbers.
    palette : (256, 3) colours.
    frame_ms : time that a frame lasts.
    texts : key and value of what else the file says, in its comment as JSON.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        palette: NDArray[np.uint8],
        frame_ms: int,
        texts: Mapping[str, str],
    ) -> None:
        import imageio_ffmpeg

        self._path, self._palette, self._frame_ms = path, palette, frame_ms
        self._count = 0
        self._writer: Iterator[None] = imageio_ffmpeg.write_frames(
            str(path),
            size[::-1],
            fps=float(Fraction(1000, frame_ms)),
            codec="libx264",
            quality=None,
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=[
                *("-crf", "12", "-preset", "medium", "-threads", "2"),
                # neither version nor hour of the encoder
                *("-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"),
                *("-metadata", f"comment={json.dumps(dict(texts))}"),
            ],
        )
        self._send(None)

    def __enter__(self) -> Self:
        return self

    def add(self, frame: Indices, shown_ms: int) -> None:
        """Add a frame (y, x) of colour numbers that is shown for some time."""
        for _ in range(min(_REPEATS, max(1, round(shown_ms / self._frame_ms)))):
            self._send(self._palette[frame].tobytes())
            self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import imageio_ffmpeg

        self._writer.close()  # type: ignore[attr-defined]
        if kind is None:
            counted, _ = imageio_ffmpeg.count_frames_and_secs(str(self._path))
            if counted != self._count:
                raise OutputError(
                    f"{self._path.name}: expected {self._count} frames in the film, found {counted}"
                )

    def _send(self, frame: bytes | None) -> None:
        try:
            self._writer.send(frame)  # type: ignore[attr-defined]
        except OSError as problem:
            words = " ".join(str(problem).split())
            raise OutputError(f"{self._path.name}: ffmpeg could not write the film, {words}") from problem


def can_write_mp4() -> bool:
    """Whether imageio-ffmpeg and an ffmpeg that it can start are installed."""
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return False
    return True
