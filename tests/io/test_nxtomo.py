"""NXtomo files as the ESRF's own package writes them, and as other beamlines vary them."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from nxtomo.application.nxtomo import NXtomo as Writer
from nxtomo.nxobject.nxdetector import ImageKey

from speckleflow.errors import InputError
from speckleflow.io.open import open_source

pint = pytest.importorskip("pint")
UNIT = pint.get_application_registry()

#: two darks, a flat, four projections with a flat between them, and two alignment views
KEYS = [2, 2, 1, 0, 0, 1, 0, 0, -1, -1]
ANGLES = np.array([0, 0, 0, 10.0, 55.0, 55.0, 100.0, 145.0, 55.0, 10.0])
FRAMES = np.random.default_rng(4).integers(0, 60000, (10, 5, 7)).astype(np.uint16)
PROJECTIONS = [3, 4, 6, 7]


def write(path: Path, *, mirrored: tuple[bool, bool] = (False, False), half: bool = False) -> Path:
    """A scan as ESRF's package writes it; ``mirrored``: left to right, top to bottom."""
    scan = Writer()
    detector = scan.instrument.detector
    detector.image_key_control = [ImageKey(key) for key in KEYS]
    detector.data = FRAMES
    detector.field_of_view = "Half" if half else "Full"
    detector.distance = 30.0 * UNIT.millimeter
    detector.x_pixel_size = detector.y_pixel_size = 0.75 * UNIT.micrometer
    detector.set_transformation_from_lr_flipped(mirrored[0])
    detector.set_transformation_from_ud_flipped(mirrored[1])
    scan.energy = 26.0 * UNIT.keV
    scan.sample.rotation_angle = ANGLES * UNIT.degree
    scan.sample.propagation_distance = 29.5 * UNIT.millimeter
    scan.sample.x_pixel_size = scan.sample.y_pixel_size = 0.7 * UNIT.micrometer
    scan.save(str(path), data_path="entry0000")
    return path


def test_what_the_esrf_writes(tmp_path: Path):
    """Frames by their key, alignment views left out, and the numbers in the plane of the sample."""
    source = open_source(write(tmp_path / "a.nx"), "a.nx")
    np.testing.assert_array_equal(source.read(), FRAMES[PROJECTIONS])
    np.testing.assert_array_equal(source.read(slice(1, 3), slice(1, 4)), FRAMES[[4, 6], 1:4])
    np.testing.assert_array_equal(source.flats(), FRAMES[[2, 5]])
    np.testing.assert_array_equal(source.darks(), FRAMES[:2])
    angles = source.angles()
    assert angles is not None
    assert angles.unit == "degree"
    np.testing.assert_array_equal(angles.values, ANGLES[PROJECTIONS])
    stated = source.metadata
    assert stated.energy_kev == pytest.approx(26.0)
    assert stated.pixel_size_um == pytest.approx(0.7)
    assert stated.pixel_size_y_um == pytest.approx(0.7)
    assert stated.distance_m == pytest.approx(0.0295)
    assert stated.half_acquisition is False
    assert stated.notes == ("2 alignment views (image_key_control below 0) are left out",)


@pytest.mark.parametrize("mirrored", [(False, True), (True, False), (True, True)])
def test_mirrors_that_the_file_states(tmp_path: Path, mirrored: tuple[bool, bool]):
    source = open_source(write(tmp_path / "a.nx", mirrored=mirrored), "a.nx")
    upright = FRAMES[:, :: -1 if mirrored[1] else 1, :: -1 if mirrored[0] else 1]
    np.testing.assert_array_equal(source.read(), upright[PROJECTIONS])
    np.testing.assert_array_equal(source.read(slice(0, 2), slice(0, 2)), upright[PROJECTIONS][:2, :2])
    np.testing.assert_array_equal(source.flats(), upright[[2, 5]])
    np.testing.assert_array_equal(source.darks(), upright[:2])


def test_half_a_field_of_view(tmp_path: Path):
    assert open_source(write(tmp_path / "a.nx", half=True), "a.nx").metadata.half_acquisition is True


@pytest.mark.parametrize("turn", [90.0, 12.0])
def test_a_detector_turned_otherwise_is_refused(tmp_path: Path, turn: float):
    with h5py.File(write(tmp_path / "a.nx"), "r+") as file:
        file["entry0000/instrument/detector/transformations/ry"][...] = turn
    with pytest.raises(InputError, match=r"found 90|found 12 degrees; turn the frames with files.transpose"):
        open_source(tmp_path / "a.nx", "a.nx")


@pytest.mark.parametrize("key", ["x_flipped", "y_flipped"])
def test_flags_of_older_files(tmp_path: Path, key: str):
    with h5py.File(write(tmp_path / "a.nx"), "r+") as file:
        del file["entry0000/instrument/detector/transformations"]
        file["entry0000/instrument/detector"][key] = True
    mirror = FRAMES[..., ::-1] if key == "x_flipped" else FRAMES[:, ::-1]
    np.testing.assert_array_equal(open_source(tmp_path / "a.nx", "a.nx").read(), mirror[PROJECTIONS])


@pytest.mark.parametrize("link", ["soft", "hard", "none"])
def test_links_to_the_frames_are_the_frames(tmp_path: Path, link: str):
    with h5py.File(write(tmp_path / "a.nx"), "r+") as file:
        for key, target in (("data", "data"), ("image_key", "image_key")):
            del file["entry0000/data"][key]
            where = f"/entry0000/instrument/detector/{target}"
            if link != "none":
                file["entry0000/data"][key] = h5py.SoftLink(where) if link == "soft" else file[where]
    np.testing.assert_array_equal(open_source(tmp_path / "a.nx", "a").read(), FRAMES[PROJECTIONS])


def test_a_second_detector_is_one_to_choose_from(tmp_path: Path):
    with h5py.File(write(tmp_path / "a.nx"), "r+") as file:
        file.copy("entry0000/instrument/detector", "entry0000/instrument/second")
    with pytest.raises(InputError, match="detector and /entry0000/instrument/second"):
        open_source(tmp_path / "a.nx", "a")


def test_frames_behind_a_link_that_leads_nowhere(tmp_path: Path):
    """The file that is not there is named; so is one that is a pipe, which is not opened."""
    with h5py.File(write(tmp_path / "a.nx"), "r+") as file:
        for group in ("entry0000/instrument/detector", "entry0000/data"):
            del file[group]["data"]
            file[group]["data"] = h5py.ExternalLink("raw_0001.h5", "/1.1/frames")
    with pytest.raises(InputError, match=r"expected frames, found a link to raw_0001.h5, which is not there"):
        open_source(tmp_path / "a.nx", "a")
    os.mkfifo(tmp_path / "raw_0001.h5")
    with pytest.raises(InputError, match=r"found a link to raw_0001.h5, which is no regular file"):
        open_source(tmp_path / "a.nx", "a")


def test_frames_behind_a_link_that_leads_on(tmp_path: Path):
    with h5py.File(tmp_path / "raw_0001.h5", "w") as file:
        file["1.1/frames"] = FRAMES
    with h5py.File(write(tmp_path / "a.nx"), "r+") as file:
        for group in ("entry0000/instrument/detector", "entry0000/data"):
            del file[group]["data"]
            file[group]["data"] = h5py.ExternalLink("raw_0001.h5", "/1.1/frames")
    np.testing.assert_array_equal(open_source(tmp_path / "a.nx", "a").read(), FRAMES[PROJECTIONS])


def test_the_energy_of_the_ring_is_not_that_of_the_photons(tmp_path: Path):
    with h5py.File(write(tmp_path / "a.nx"), "r+") as file:
        del file["entry0000/instrument/beam"]
        if "beam" in file["entry0000"]:
            del file["entry0000/beam"]
        source = file.require_group("entry0000/instrument/source")
        source["energy"] = 3.0009
        source["energy"].attrs["units"] = "GeV"
    assert open_source(tmp_path / "a.nx", "a").metadata.energy_kev is None


def test_the_real_esrf_file_names_its_absent_source(shared_data):
    path = shared_data("esrf-nxtomo/TestEwoksTomo_0010.nx")
    source = open_source(path, path.name)
    assert source.shape == (11, 16, 16)
    assert (source.n_flats, source.n_darks) == (2, 2)
    assert source.metadata.pixel_size_um == pytest.approx(0.669)
    assert source.metadata.distance_m == pytest.approx(0.029982702287142033)
    assert source.metadata.notes == ("5 alignment views (image_key_control below 0) are left out",)
    lost, why = source.lost()
    np.testing.assert_array_equal(lost, np.arange(11))
    assert "TestEwoksTomo_0010.h5" in why


def test_the_real_i12_header_is_not_believed(shared_data):
    """Frames behind an absent file; NaN, 'undefined' and the ring's energy are no geometry."""
    path = shared_data("i12-header/112482.nxs")
    with pytest.raises(InputError, match=r"found a link to pco1-112482.hdf, which is not there"):
        open_source(path, path.name)
