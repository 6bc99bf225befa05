"""Hostile inputs, seeded: a small good scan of every format, and ways to spoil it.

spoil(case, folder) -> Task       writes the input of one case and says what is to be tried with it
"""

from __future__ import annotations

import io
import os
import random
import shutil
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import tifffile
import yaml

from speckleflow.config import ScanConfig
from speckleflow.config.load import keys

FRAMES, ROWS, COLUMNS = 8, 10, 24
#: a scan of images, whose flats and darks lie in files of their own
IMAGES = {
    "files": {"sample": "s.tif", "reference": None, "flat": "flat.npy", "dark": "dark.npy"},
    "geometry": {"pixel_size_um": 1.0, "angles": "range"},
    "retrieval": {"method": "absorption"},
    "tomography": {"axis_px": 11.5},
}
HDF5: dict[str, Any] = {
    **IMAGES,
    "files": {"sample": "s.h5", "reference": None},
    "geometry": {"pixel_size_um": 1.0},
}


@dataclass(frozen=True)
class Task:
    """What a worker tries: 'scan' (inspect, and all that reads frames), 'weights' or 'config'."""

    kind: str
    folder: str
    group: str
    words: str


def _stack(level: int, count: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(level).poisson(level, (count, ROWS, COLUMNS)).astype(np.uint16)


# --- good scans ---


def _data_exchange(folder: Path) -> None:
    with h5py.File(folder / "s.h5", "w") as file:
        chunks = (2, ROWS, COLUMNS)
        file.create_dataset("exchange/data", data=_stack(5000), chunks=chunks, compression="gzip")
        file["exchange/data_white"], file["exchange/data_dark"] = _stack(5001, 6), _stack(100, 6)
        file["exchange/theta"] = np.arange(FRAMES) * 180.0 / FRAMES
        file["exchange/theta"].attrs["units"] = "deg"
        pixel = file.create_dataset("measurement/instrument/detection_system/objective/resolution", data=1.5)
        pixel.attrs["units"] = "um"


def _nxtomo(folder: Path) -> None:
    with h5py.File(folder / "s.h5", "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry["definition"] = "NXtomo"
        detector = entry.create_group("instrument/detector")
        detector.attrs["NX_class"], entry["instrument"].attrs["NX_class"] = "NXdetector", "NXinstrument"
        detector["data"] = np.concatenate([_stack(100, 6), _stack(5001, 6), _stack(5000)])
        detector["image_key"] = np.array([2] * 6 + [1] * 6 + [0] * FRAMES)
        detector["image_key_control"] = detector["image_key"][()]
        detector["x_pixel_size"] = 1.5
        detector["x_pixel_size"].attrs["units"] = "um"
        sample = entry.create_group("sample")
        sample.attrs["NX_class"] = "NXsample"
        sample["rotation_angle"] = np.r_[np.zeros(12), np.arange(FRAMES) * 180.0 / FRAMES]
        sample["rotation_angle"].attrs["units"] = "degree"
        entry["data/data"] = h5py.SoftLink("/entry/instrument/detector/data")


def _als(folder: Path) -> None:
    with h5py.File(folder / "s.h5", "w") as file:
        group = file.create_group("run")
        about = {"nangles": str(FRAMES), "arange": "180", "pxsize": "0.0015", "senergy": "20000"}
        group.attrs.update(about)
        for tag, frames in (("", _stack(5000)), ("bak", _stack(5001, 6)), ("drk", _stack(100, 6))):
            for number, frame in enumerate(frames):
                group[f"run{tag}_0000_{number:04d}.tif"] = frame[None]


def _calibration(folder: Path) -> None:
    np.save(folder / "flat.npy", _stack(5001, 6))
    np.save(folder / "dark.npy", _stack(100, 6))


def _tiff(folder: Path, **how: Any) -> None:
    _calibration(folder)
    tifffile.imwrite(folder / "s.tif", _stack(5000), photometric="minisblack", **how)


def _tiff_folder(folder: Path) -> None:
    _calibration(folder)
    (folder / "s").mkdir()
    for number, frame in enumerate(_stack(5000)):
        tifffile.imwrite(folder / f"s/f_{number:03d}.tif", frame)


def _edf(folder: Path) -> None:
    _calibration(folder)
    image = fabio.edfimage.EdfImage(data=_stack(5000)[0])
    for frame in _stack(5000)[1:]:
        image.append_frame(data=frame)
    image.write(str(folder / "s.edf"))


def _cbf(folder: Path) -> None:
    _calibration(folder)
    (folder / "s").mkdir()
    for number, frame in enumerate(_stack(5000)):
        fabio.cbfimage.CbfImage(data=frame.astype(np.int32)).write(str(folder / f"s/f_{number:03d}.cbf"))


def _npy(folder: Path) -> None:
    _calibration(folder)
    np.save(folder / "s.npy", _stack(5000))


def _sample(name: str) -> dict[str, Any]:
    return {**IMAGES, "files": {**IMAGES["files"], "sample": name}}


#: format -> how a scan of it is written, its configuration, and the file that is spoiled
FORMATS: dict[str, tuple[Callable[[Path], None], dict[str, Any], str]] = {
    "Data Exchange": (_data_exchange, HDF5, "s.h5"),
    "NXtomo": (_nxtomo, HDF5, "s.h5"),
    "ALS": (_als, HDF5, "s.h5"),
    "TIFF": (_tiff, IMAGES, "s.tif"),
    "TIFF zlib": (lambda folder: _tiff(folder, compression="zlib"), IMAGES, "s.tif"),
    "OME-TIFF": (lambda folder: _tiff(folder, ome=True, metadata={"axes": "TYX"}), IMAGES, "s.tif"),
    "ImageJ TIFF": (lambda folder: tifffile_imagej(folder), IMAGES, "s.tif"),
    "TIFF folder": (_tiff_folder, _sample("s"), "s/f_003.tif"),
    "EDF": (_edf, _sample("s.edf"), "s.edf"),
    "CBF": (_cbf, _sample("s"), "s/f_003.cbf"),
    "npy": (_npy, _sample("s.npy"), "s.npy"),
    "flat": (_npy, _sample("s.npy"), "flat.npy"),
    "dark": (_npy, _sample("s.npy"), "dark.npy"),
}


def tifffile_imagej(folder: Path) -> None:
    _calibration(folder)
    tifffile.imwrite(folder / "s.tif", _stack(5000), imagej=True, metadata={"axes": "TYX"})


@cache
def _good(name: str, store: str) -> Path:
    """A folder with a good scan, written once a process."""
    folder = Path(store) / name.replace(" ", "_")
    folder.mkdir(parents=True)
    make, config, _ = FORMATS[name]
    make(folder)
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "scans": "scans.tsv"}))
    (folder / "scans.tsv").write_text("scan\na\n")
    return folder


# --- damage to bytes ---

_EXTREMES = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def spoil_bytes(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """A file's bytes cut, flipped, overwritten or doubled; half of the changes within the first 2 kB."""
    data = bytearray(content)
    length = len(data)
    within = length if draw.random() < 0.5 else min(length, 2048)
    way = draw.choice(
        ["cut", "cut header", "flip", "flip many", "number", "zeros", "noise", "double", "append", "shift"]
    )
    place = draw.randrange(max(within - 8, 1))
    if way == "cut":
        return bytes(data[: draw.randrange(length)]), way
    if way == "cut header":
        return bytes(data[draw.randrange(1, within) :]), way
    if way in ("flip", "flip many"):
        for _ in range(1 if way == "flip" else 20):
            data[draw.randrange(within)] ^= 1 << draw.randrange(8)
    elif way == "number":
        form = draw.choice(["<I", ">I", "<Q"])
        number = struct.pack(form, draw.choice(_EXTREMES))
        data[place : place + len(number)] = number
    elif way in ("zeros", "noise"):
        size = draw.choice([4, 32, 256])
        data[place : place + size] = bytes(size) if way == "zeros" else draw.randbytes(size)
    elif way == "double":
        size = draw.choice([8, 64, 512])
        data[place:place] = data[place : place + size]
    elif way == "append":
        data += draw.randbytes(draw.choice([1, 100, 5000]))
    else:
        del data[place : place + draw.choice([1, 3, 16])]
    return bytes(data), way


# --- things in the place of a file ---


def special(path: Path, draw: random.Random) -> str:
    """A device, pipe, loop or folder in the place of a file."""
    if path.exists():
        path.unlink()
    way = draw.choice(
        ["pipe", "/dev/zero", "/dev/null", "/dev/full", "loop", "folder", "empty", "dangling", "socket", "/etc/passwd",
         "/proc/self/mem", "text", "sparse"]
    )  # fmt: skip
    if way == "pipe":
        os.mkfifo(path)
    elif way in ("loop", "dangling"):
        path.symlink_to(path.name if way == "loop" else "nowhere")
    elif way == "folder":
        path.mkdir()
    elif way == "empty":
        path.touch()
    elif way == "text":
        path.write_text("The data are on the other disk.\n")
    elif way == "sparse":
        with path.open("wb") as stream:
            stream.truncate(1 << 36)
    elif way == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(path.parent)  # the address of a socket is short
            server.bind(path.name)
            os.chdir(here)
    else:
        path.symlink_to(way)
    return way


# --- HDF5 that is well formed and absurd ---

_ABSURD: list[tuple[str, Callable[[], Any]]] = [
    ("no axes", lambda: np.float64(3)),
    ("one axis", lambda: np.arange(50.0)),
    ("two axes", lambda: np.ones((ROWS, COLUMNS))),
    ("five axes", lambda: np.ones((2, 2, 2, ROWS, COLUMNS))),
    ("no frames", lambda: np.empty((0, ROWS, COLUMNS))),
    ("no columns", lambda: np.empty((FRAMES, ROWS, 0))),
    ("text", lambda: np.array([b"12", b"x"])),
    ("records", lambda: np.zeros((FRAMES, ROWS, COLUMNS), [("a", "f4"), ("b", "i2")])),
    ("complex", lambda: np.ones((FRAMES, ROWS, COLUMNS), complex)),
    ("yes and no", lambda: np.ones((FRAMES, ROWS, COLUMNS), bool)),
    ("half precision", lambda: np.ones((FRAMES, ROWS, COLUMNS), np.float16)),
    ("NaN", lambda: np.full((FRAMES, ROWS, COLUMNS), np.nan)),
    ("infinity", lambda: np.full(FRAMES, np.inf)),
    ("1e300", lambda: np.full((FRAMES, ROWS, COLUMNS), 1e300)),
    ("negative", lambda: np.full((FRAMES, ROWS, COLUMNS), -5)),
    ("nothing", lambda: h5py.Empty("f4")),
    ("others", lambda: np.ones((3, ROWS + 1, COLUMNS - 3))),
]
_SHAPES = [
    (1 << 40, ROWS, COLUMNS),
    (FRAMES, 1 << 20, 1 << 20),
    (1 << 31, 1, 1),
    (FRAMES, ROWS, 1 << 33),
    (1 << 62, 1, 1),
]


def _datasets(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def spoil_hdf5(path: Path, draw: random.Random) -> str:
    """One dataset, link or attribute of a file in the place of another."""
    with h5py.File(path, "r+") as file:
        name = draw.choice(_datasets(file))
        attributes = dict(file[name].attrs)
        way = draw.choice(
            ["value", "value", "value", "shape", "bomb", "external", "external", "soft loop", "of itself", "virtual", "group",
             "gone", "attribute", "attribute", "foreign storage", "chunk", "reference", "type", "huge attribute", "names"]
        )  # fmt: skip
        if way in ("attribute", "huge attribute"):
            target = draw.choice([name, *{str(Path(name).parent), "/"}])
            key = draw.choice(
                [
                    "units",
                    "axes",
                    "NX_class",
                    "signal",
                    "default",
                    "nangles",
                    "arange",
                    "pxsize",
                    "definition",
                ]
            )
            values: list[Any] = [b"\xff\xfe", "", "a" * 1000, np.arange(9), np.nan, 1 << 62, h5py.Empty("f"), "y:x:theta",
                      "x:x:x", ["a", "b"], np.array([b"y", b"x"]), -1]  # fmt: skip
            file[target].attrs[key] = np.zeros(7000) if way == "huge attribute" else draw.choice(values)
            return f"{way} {key} of {target}"
        if way == "names":
            file.require_group(
                draw.choice(["exchange", "entry2", "ä/ö", "a" * 300, "entry/instrument/detector2"])
            ).attrs["NX_class"] = draw.choice(["NXentry", "NXdetector", 5])
            return way
        frames = file[name][()]
        del file[name]
        if way == "value":
            what, make = draw.choice(_ABSURD)
            file[name] = make()
            file[name].attrs.update(attributes)
            return f"{name} is {what}"
        if way == "shape":
            shape = draw.choice(_SHAPES)
            file.create_dataset(
                name, shape, draw.choice(["u2", "f8"]), chunks=tuple(min(n, 64) for n in shape)
            )
            return f"{name} of shape {shape}"
        if way == "bomb":
            bomb = file.create_dataset(
                name, (FRAMES, 4096, 8192), "f8", chunks=(1, 4096, 8192), compression="gzip"
            )
            bomb[0] = 0  # 268 MB of zeros in 260 kB
        elif way == "external":
            other = draw.choice(
                ["pipe.h5", "/dev/zero", "/etc/passwd", path.name, "nowhere.h5", ".", "loop.h5"]
            )
            if other == "pipe.h5":
                os.mkfifo(path.parent / other)
            if other == "loop.h5":
                with h5py.File(path.parent / other, "w") as back:
                    back[name] = h5py.ExternalLink(path.name, name)
            file[name] = h5py.ExternalLink(other, name)
            way = f"external link to {other}"
        elif way == "soft loop":
            file[name] = h5py.SoftLink(draw.choice([f"/{name}", "/nowhere", "/", "."]))
        elif way in ("of itself", "virtual"):
            shape = np.shape(frames) or (1,)
            layout = h5py.VirtualLayout(shape, "u2")
            source = "." if way == "of itself" else draw.choice(["nowhere.h5", "part_%%.h5", "/dev/zero"])
            layout[...] = h5py.VirtualSource(source, name, shape)
            file.create_virtual_dataset(name, layout)
        elif way == "group":
            file.create_group(name)
        elif way == "foreign storage":
            count = int(np.prod(np.shape(frames))) or 1
            file.create_dataset(name, np.shape(frames) or (1,), "u1", external=[("/etc/passwd", 0, count)])
        elif way == "chunk":
            shape = np.shape(frames) or (1,)
            file.create_dataset(name, shape, "u2", chunks=shape)
            file[name].id.write_direct_chunk((0,) * len(shape), b"not enough")
        elif way == "reference":
            file[name] = np.array([file.ref] * FRAMES, h5py.ref_dtype)
        elif way == "type":
            file[name] = np.dtype("f4")
    return f"{way}: {name}"


# --- images that are well formed and absurd ---


def spoil_image(path: Path, draw: random.Random) -> str:
    """An image file of another kind, size or header."""
    if path.suffix == ".npy":
        way = draw.choice(["object", "shape", "type", "fortran", "archive", "flat list", "text", "complex"])
        header = {"descr": "<u2", "fortran_order": False, "shape": (FRAMES, ROWS, COLUMNS)}
        if way == "object":
            np.save(path, np.array([{}] * 4, object), allow_pickle=True)
        elif way == "archive":
            with path.open("wb") as stream:
                np.savez(stream, a=_stack(5000))
        elif way == "complex":
            np.save(path, _stack(5000) * 1j)
        else:
            header |= {
                "shape": {
                    "shape": draw.choice(
                        [(-1, 4, 4), (1 << 40, 4, 4), (1 << 62, 1 << 62, 9), (), (5,), (0, 4, 4)]
                    )
                },
                "type": {"descr": draw.choice(["|O", "<U9", "<M8[s]", "nonsense", [("a", "<f4")], ">f8"])},
                "fortran": {"fortran_order": draw.choice([True, 7, "x"])},
                "flat list": {"shape": [1, 2]},
                "text": {"shape": "__import__('os').system('touch hacked')"},
            }[way]
            text = (repr(header) + "\n").encode()
            path.write_bytes(
                b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + _stack(5000).tobytes()
            )
        return way
    if path.suffix in (".edf", ".cbf"):
        content = path.read_bytes()
        line = draw.choice([b"Dim_1", b"Dim_2", b"DataType", b"ByteOrder", b"EDF_HeaderSize", b"X-Binary-Size:",
                            b"X-Binary-Size-Fastest-Dimension:", b"X-Binary-Element-Type:", b"conversions"])  # fmt: skip
        value = draw.choice([b"-16", b"0", b"99999999999", b"4294967296", b"nan", b"Quadruple", b"", b"1e9"])
        at = content.find(line)
        if at >= 0:
            end = min(i for i in (content.find(b";", at), content.find(b"\n", at)) if i > 0)
            sign = b" = " if path.suffix == ".edf" else b" "
            content = content[:at] + line + sign + value + content[end:]
        path.write_bytes(content)
        return f"{line.decode()} {value.decode()}"
    way = draw.choice(
        ["colours", "planar", "two sizes", "12 bit", "float", "bomb", "tag", "tag", "tag", "loop", "complex"]
    )
    if way in ("tag", "loop"):
        data = bytearray(path.read_bytes())
        first = struct.unpack_from("<I", data, 4)[0]
        count = struct.unpack_from("<H", data, first)[0] if first + 2 < len(data) else 0
        if way == "loop" and first + 6 + 12 * count <= len(data):
            struct.pack_into("<I", data, first + 2 + 12 * count, first)
        elif count:
            entry = first + 2 + 12 * draw.randrange(count)
            field = draw.choice([("<H", 0), ("<H", 2), ("<I", 4), ("<I", 8)])
            struct.pack_into(
                field[0],
                data,
                entry + field[1],
                draw.choice(_EXTREMES) & (0xFFFF if field[0] == "<H" else 0xFFFFFFFF),
            )
        path.write_bytes(data)
        return way
    frames = _stack(5000)
    if way == "two sizes":
        with tifffile.TiffWriter(path) as tiff:
            for frame in (frames[0], frames[0, :5], frames[1]):
                tiff.write(frame, contiguous=False)
    elif way == "bomb":
        tifffile.imwrite(path, np.zeros((4096, 8192)), compression="zlib", photometric="minisblack")
    else:
        arrays = {
            "colours": (np.zeros((ROWS, COLUMNS, 3), np.uint8), {"photometric": "rgb"}),
            "planar": (
                np.zeros((3, ROWS, COLUMNS), np.uint8),
                {"photometric": "rgb", "planarconfig": "separate"},
            ),
            "12 bit": (frames & 0xFFF, {"photometric": "minisblack"}),
            "float": (frames * np.float32(np.nan), {"photometric": "minisblack"}),
            "complex": (frames.astype(np.complex64), {"photometric": "minisblack"}),
        }
        array, how = arrays[way]
        tifffile.imwrite(path, array, **how)
    return way


# --- configuration and scan table ---

_VALUES: list[Any] = [
    -1, 0, 1e300, -1e-300, float("nan"), float("inf"), 1 << 70, "", "x", "a" * 5000, "../../etc/passwd", "/dev/zero", "\x01",
    "{position}", "{scan", "{position:099999d}", "**/*", "[", "0-99999999999", "1-3,2", "ä/ö", "~", "$(touch hacked)",
    None, True, [], [1, 2], {"a": 1}, [[[]]], ["position", "angle", "y", "x"], ["y", "x", "y"], [1e9] * 4, "auto", "2026-11-25",
]  # fmt: skip
_TEXTS = [
    "a: &a [x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nfiles: *c\n",
    "&a [*a]", "files: &f {<<: *f}", "!!python/object/apply:os.system ['touch hacked']", "!!binary x", "? - a\n: b", "a: b: c", "\t- a",
    "- 1\n- 2", "5", "null", "'", "%YAML 9.9\n---\na: 1", "---\na: 1\n---\nb: 2", "{" * 5000, "[" * 100000, "a" * 1000000, "\x00\x01",
    "geometry: 7", "geometry: [1]", "files: {sample: s.h5, sample: t.h5}", "scans: scans.tsv\n" * 2, "retrieval: {method: umpaa}", "1: 2",
    "results: ''\nscans: scans.tsv", "results: /\nscans: scans.tsv", "scans: .\n", "scans: /dev/zero\n", "scans: config.yaml\n",
    "\n".join(f"k{n}: 1" for n in range(30000)),
]  # fmt: skip


def spoil_config(folder: Path, draw: random.Random) -> str:
    """The configuration file: a value of another kind, a key that is none, or another text."""
    path = folder / "config.yaml"
    way = draw.choice(["value", "value", "value", "text", "bytes", "encoding", "special"])
    if way == "value":
        key = draw.choice(keys(ScanConfig))
        *sections, last = key.split(".")
        config: dict[str, Any] = yaml.safe_load(path.read_text())
        target = config
        for section in sections:
            target = target.setdefault(section, {})
        target[last] = draw.choice(_VALUES)
        path.write_text(yaml.safe_dump(config))
        return f"{key}: {str(target[last])[:20]}"
    if way == "text":
        path.write_text(draw.choice(_TEXTS))
    elif way == "bytes":
        content, what = spoil_bytes(path.read_bytes(), draw)
        path.write_bytes(content)
        way = what
    elif way == "encoding":
        path.write_text(path.read_text(), encoding=draw.choice(["utf-16", "utf-32", "utf-8-sig", "cp037"]))
    else:
        way = special(path, draw)
    return way


def spoil_table(folder: Path, draw: random.Random) -> str:
    """The scan table: odd names, columns and cells, or other bytes."""
    path = folder / "scans.tsv"
    way = draw.choice(["cell", "cell", "cell", "name", "column", "bytes", "encoding", "special", "rows"])
    if way == "cell":
        key = draw.choice(keys(ScanConfig))
        cell = str(draw.choice([*_VALUES, *_TEXTS[:10]])).replace("\n", " ")[:20000]
        path.write_text(f"scan\t{key}\na\t{cell}\n")
        return f"{key}: {cell[:20]}"
    if way == "name":
        names = [
            "../x",
            "/abs",
            "a b",
            "ä",
            ".",
            "..",
            "a\x00b",
            "a" * 5000,
            '"',
            "{scan}",
            "a;rm",
            "-rf",
            "a\tb",
            "a\r",
        ]
        path.write_text(f"scan\n{draw.choice(names)}\n")
    elif way == "column":
        header = draw.choice(
            [
                "scan\tscan",
                "name",
                "",
                "scan\tscans",
                "scan\tresults",
                "scan\t",
                '"scan',
                "scan,energy_kev;x",
                "scan\t" * 2000,
            ]
        )
        path.write_text(f"{header}\na\t1\n")
    elif way == "bytes":
        content, way = spoil_bytes(path.read_bytes() * 3, draw)
        path.write_bytes(content)
    elif way == "encoding":
        path.write_text(path.read_text(), encoding=draw.choice(["utf-16", "utf-32", "utf-8-sig", "cp037"]))
    elif way == "rows":
        path.write_text("scan\n" + "a\n" * draw.choice([0, 2, 1000]))
    else:
        way = special(path, draw)
    return way


# --- weights ---


def spoil_weights(folder: Path, draw: random.Random) -> str:
    """The network's weights, as safetensors or as a checkpoint."""
    from speckleflow.weights import find

    content = find("espinnet", "shipped").read_bytes()
    suffix = draw.choice([".safetensors", ".safetensors", ".pt"])
    if suffix == ".pt":
        import torch

        stream = io.BytesIO()
        torch.save({"model_state_dict": {"encoder.0.weight": torch.zeros(400)}}, stream)
        content = stream.getvalue()
    path = folder / f"w{suffix}"
    way = draw.choice(["bytes", "bytes", "header", "special", "text", "other"])
    if way == "bytes":
        content, way = spoil_bytes(content, draw)
        path.write_bytes(content)
    elif way == "header":
        length = draw.choice([0, 1, 2, 1 << 20, 1 << 40, (1 << 64) - 1])
        path.write_bytes(struct.pack("<Q", length) + content[8:])
    elif way == "special":
        way = special(path, draw)
    elif way == "text":
        path.write_text(
            draw.choice(
                ["{}", "weights", '{"__metadata__": []}', "\x80\x02cos\nsystem\n(S'touch hacked'\ntR."]
            )
        )
    else:
        np.save(folder / "w.npy", np.zeros(5))
        (folder / "w.npy").rename(path)
    return f"{suffix} {way}"


# --- a case ---

_WEIGHTED = [*FORMATS, *FORMATS, "mask", "config", "config", "config", "table", "table", "weights"]


def spoil(case: int, folder: Path, store: Path, seed: int = 2026) -> Task:
    """Write the input of a case into an empty folder; the same one for the same number and seed."""
    group = _WEIGHTED[case % len(_WEIGHTED)]
    draw = random.Random(f"{seed} {case}")
    name = group if group in FORMATS else draw.choice(["Data Exchange", "npy"])
    good = _good(name, str(store))
    shutil.copytree(good, folder, dirs_exist_ok=True)
    if group == "config":
        return Task("config", str(folder), group, spoil_config(folder, draw))
    if group == "table":
        return Task("config", str(folder), group, spoil_table(folder, draw))
    if group == "weights":
        words = spoil_weights(folder, draw)
        return Task("weights", str(folder), group, words)
    if group == "mask":
        path = folder / draw.choice(["m.npy", "m.tif", "m.edf"])
        mask = (np.random.default_rng(case).random((ROWS, COLUMNS)) < 0.02).astype(np.uint8)
        if path.suffix == ".npy":
            np.save(path, mask)
        elif path.suffix == ".tif":
            tifffile.imwrite(path, mask)
        else:
            fabio.edfimage.EdfImage(data=mask).write(str(path))
        config = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**config, "correct": {"mask": path.name}}))
    else:
        path = folder / FORMATS[group][2]
    chance = draw.random()
    if chance < 0.1:
        words = special(path, draw)
    elif chance < 0.5:
        words = spoil_hdf5(path, draw) if path.suffix == ".h5" else spoil_image(path, draw)
    else:
        content, words = spoil_bytes(path.read_bytes(), draw)
        path.write_bytes(content)
    return Task("scan", str(folder), group, f"{path.name}: {words}")
