"""The correction as a file, ``corrected.h5``."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import h5py
import numpy as np

from speckleflow.correction.detector_blur import DetectorBlur
from speckleflow.correction.flats import FlatGroups
from speckleflow.correction.frames import Correction
from speckleflow.correction.references import Image, ReferenceSets
from speckleflow.io.results import create, open_result, require, result_file

#: begins the attributes that hold the detector's point spread
_BLUR = "detector_blur_"
#: dataset of the references of several times
_SETS = "reference_sets"


def save_correction(correction: Correction, path: str | Path) -> None:
    """Write a file by itself: complete or absent (see :mod:`speckleflow.io.results`)."""
    with result_file(path) as file:
        write_correction(correction, file)


def write_correction(correction: Correction, file: h5py.File) -> None:
    """Write into an open result file what :func:`load_correction` reads."""
    if correction.dark is not None:
        create(file, "dark", correction.dark, unit="counts", description="mean dark (1 or N, y, x)")
    if correction.gain is not None:
        words = "1 / (flat - dark), (1 or N, y, x); 0 where there is no beam"
        create(file, "gain", correction.gain, unit="1/counts", description=words)
    if correction.flats is not None:
        words = "flats - dark of each group (group, 1 or N, y, x), between which each projection's are interpolated"
        create(file, "flat_groups", correction.flats.beams, unit="counts", description=words)
        words = "raw projections recorded before each group of flats"
        create(file, "flat_places", correction.flats.at, unit="", description=words, dtype=np.float64)
        file.attrs["flats"] = str(correction.flats)
    create(file, "bad_pixels", correction.bad, unit="", description="1: filled (y, x)", dtype=np.uint8)
    if correction.reference is not None:
        unit = "counts" if correction.gain is None else ""
        words = "corrected reference stack (N, y, x)"
        create(file, "reference", correction.reference, unit=unit, description=words)
    if correction.references is not None:
        _write_sets(correction.references, file)
    file.attrs["air_px"] = correction.air
    file.attrs["flux"] = correction.flux
    if correction.blur is not None:
        for key, value in asdict(correction.blur).items():
            file.attrs[f"{_BLUR}{key}"] = value
    file.attrs["fill_px"] = correction.fill_px
    if correction.saturation is not None:
        file.attrs["saturation_level"] = correction.saturation


def _write_sets(sets: ReferenceSets, file: h5py.File) -> None:
    """One set at a time."""
    first = sets.read(0)
    made = create(
        file,
        _SETS,
        shape=(len(sets.at), *first.shape),
        unit=file["reference"].attrs["units"],
        description=f"corrected reference stack of each time (set, N, y, x): {sets.how}",
    )
    for number in range(len(sets.at)):
        made[number] = first if number == 0 else sets.read(number)
    words = "raw projections recorded before each set of references"
    create(file, "reference_places", sets.at, unit="", description=words, dtype=np.float64)
    words = "movement (y, x) of each pattern from one set to the next (set - 1, N, 2)"
    create(file, "reference_motion", sets.moved_px, unit="px", description=words, dtype=np.float64)
    file.attrs["references"] = sets.how


def _read_sets(file: h5py.File, path: str | Path) -> ReferenceSets | None:
    if _SETS not in file:
        return None

    def read(number: int) -> Image:
        with open_result(path, verify=False) as later:
            return np.asarray(later[_SETS][number])

    places, moved = (require(file, f"reference_{name}")[()] for name in ("places", "motion"))
    return ReferenceSets(places, file.attrs["references"], moved, read)


def load_correction(path: str | Path) -> Correction:
    """Read what :func:`save_correction` wrote.

    Raises
    ------
    InputError
        Not such a file.
    """
    with open_result(path) as file:
        optional = {name: file[name][()] if name in file else None for name in ("dark", "gain", "reference")}
        bad = require(file, "bad_pixels")[()].astype(bool)
        left, right, top, bottom = (int(n) for n in file.attrs["air_px"])
        flux = bool(file.attrs["flux"])
        level = file.attrs.get("saturation_level")
        saturation = None if level is None else float(level)
        keys = [field.name for field in fields(DetectorBlur)]
        blur = None
        if _BLUR + keys[0] in file.attrs:
            blur = DetectorBlur(**{key: float(file.attrs[_BLUR + key]) for key in keys})
        fill_px = float(file.attrs["fill_px"])
        flats = None
        if "flat_groups" in file:
            flats = FlatGroups(file["flat_groups"][()], require(file, "flat_places")[()])
        sets = _read_sets(file, path)
    air = (left, right, top, bottom)
    dark, gain, reference = optional["dark"], optional["gain"], optional["reference"]
    return Correction(dark, gain, bad, air, flux, reference, saturation, flats, blur, fill_px, sets)
