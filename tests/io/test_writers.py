"""Volumes in the formats of other programs, read back by readers that are not ours.

Every voxel is a linear function of its place, so a mean over voxels is the function at the mean of their places: a
wrong axis, scale or half voxel of a level of the pyramid shows in its values.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing
import xml.etree.ElementTree as ET
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from speckleflow.config.sections.output import Format
from speckleflow.errors import ConfigError, InputError, OutputError
from speckleflow.io.nexus import titles_of, write_volume_entry
from speckleflow.io.results import create, result_file, write_provenance
from speckleflow.io.sealed_json import read_sealed
from speckleflow.io.writers import base, tiff
from speckleflow.io.writers.registry import WRITERS, make_writer
from speckleflow.scan.warnings import write_warnings
from speckleflow.stages.export import export_volumes

VOXEL_UM = 1.3
SHAPE = (9, 150, 261)
#: value at (0, 0, 0), and change per micrometre along z, y, x
SLOPES = {"delta": (2e-7, 3e-9, -1e-9, 4e-10), "mu": (-50.0, 2.0, 0.5, -0.25)}
UNITS = {"delta": "1", "mu": "1/m"}


def plane(name: str, z, y, x):
    """The value of a volume at places in micrometres."""
    start, *slopes = SLOPES[name]
    return start + slopes[0] * z + slopes[1] * y + slopes[2] * x


def volume(name: str) -> np.ndarray:
    z, y, x = np.meshgrid(*(VOXEL_UM * np.arange(n) for n in SHAPE), indexing="ij")
    return plane(name, z, y, x).astype(np.float32)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A folder of results with volumes.h5 alone."""
    folder = tmp_path_factory.mktemp("results") / "rods"
    with result_file(folder / "volumes.h5") as file:
        for name in SLOPES:
            create(file, name, volume(name), unit=UNITS[name], description=f"the {name}")
        file.attrs["voxel_size_m"] = VOXEL_UM * 1e-6
        write_warnings(file, ["too few angles"])
        write_provenance(file, stage="volume", settings={}, scan="rods")
        write_volume_entry(file, titles_of(file, tuple(SLOPES)), scan="rods", voxel_size_m=VOXEL_UM * 1e-6)
    return folder


@pytest.fixture(scope="module")
def exported(results) -> dict[str, Path]:
    """The folder of every format."""
    return {name: export_volumes(results, name) for name in WRITERS}


def test_the_configuration_knows_the_registered_formats():
    assert typing.get_args(Format) == tuple(WRITERS)


@pytest.mark.parametrize("name", WRITERS)
def test_a_record_says_what_the_folder_holds(exported, results, name):
    folder = exported[name]
    record = read_sealed(folder / "export.json", "a record", "")
    assert folder == results / name
    assert {entry.name for entry in folder.iterdir()} == {*record["files"], "export.json"}
    assert (record["scan"], record["format"]) == ("rods", name)
    assert record["voxel_size_um"] == pytest.approx(VOXEL_UM, rel=1e-12)
    assert record["shape_zyx"] == list(SHAPE)
    assert {key: entry["unit"] for key, entry in record["volumes"].items()} == UNITS
    assert record["warnings"] == ["too few angles"]
    with h5py.File(results / "volumes.h5") as file:
        assert record["source_identity"] == file.attrs["identity"]


# ---- OME-Zarr --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(exported) -> Path:
    return exported["ome-zarr"] / "volumes.ome.zarr"


def multiscale(store: Path) -> dict:
    return json.loads((store / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]


def test_ome_zarr_is_valid(store):
    yaozarrs = pytest.importorskip("yaozarrs", reason="validates OME-Zarr (test extra)")
    yaozarrs.validate_zarr_store(str(store))
    metadata = yaozarrs.validate_ome_json((store / "zarr.json").read_text())
    assert type(metadata).__module__.startswith("yaozarrs.v05")


@pytest.mark.parametrize("level", range(3))
def test_every_level_is_at_its_place(store, level):
    """Values, read by tensorstore, equal the plane at the places that the metadata give them."""
    tensorstore = pytest.importorskip("tensorstore", reason="another implementation of Zarr (test extra)")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(store / str(level))}}
    found = tensorstore.open(spec).result().read().result()
    dataset = multiscale(store)["datasets"][level]
    assert dataset["path"] == str(level)
    (scale, translation) = (step[step["type"]] for step in dataset["coordinateTransformations"])
    assert found.shape == (2, SHAPE[0] >> level, SHAPE[1] >> level, SHAPE[2] >> level)
    assert found.dtype == np.float32
    assert (scale[0], translation[0]) == (1, 0)
    assert scale[1:] == pytest.approx([VOXEL_UM * 2**level] * 3)
    places = (
        t + s * np.arange(n) for t, s, n in zip(translation[1:], scale[1:], found.shape[1:], strict=True)
    )
    z, y, x = np.meshgrid(*places, indexing="ij")
    for channel, name in enumerate(SLOPES):
        true = plane(name, z, y, x)
        # float32 rounds to 6e-8 of the largest value; measured: at most 5.9e-8 of it at every level
        assert np.abs(found[channel] - true).max() < 1.5e-7 * np.abs(true).max(), name


def test_the_pyramid_ends_with_a_small_level(store):
    assert len(multiscale(store)["datasets"]) == 3  # 261 -> 130 -> 65 voxels, the first of at most 128


def test_axes_are_named_with_units_and_channels_with_windows(store):
    ome = json.loads((store / "zarr.json").read_text())["attributes"]["ome"]
    axes = [(axis["name"], axis["type"], axis.get("unit")) for axis in multiscale(store)["axes"]]
    assert axes == [("c", "channel", None), *((axis, "space", "micrometer") for axis in "zyx")]
    assert multiscale(store)["name"] == ome["omero"]["name"] == "rods"
    assert [channel["label"] for channel in ome["omero"]["channels"]] == list(SLOPES)
    assert [channel["active"] for channel in ome["omero"]["channels"]] == [True, False]
    for channel, name in zip(ome["omero"]["channels"], SLOPES, strict=True):
        values, window = volume(name), channel["window"]
        assert (window["min"], window["max"]) == (values.min(), values.max())
        assert window["min"] < window["start"] < window["end"] < window["max"]


def test_a_store_is_sharded(store):
    level = json.loads((store / "0" / "zarr.json").read_text())
    assert level["codecs"][0]["name"] == "sharding_indexed"
    assert level["dimension_names"] == ["c", "z", "y", "x"]
    assert (
        len([path for path in (store / "0").rglob("*") if path.is_file()]) == 1 + 2
    )  # zarr.json, 2 channels


# ---- TIFF ------------------------------------------------------------------------------------------------------


def read_by(reader: str, path: Path, index: int) -> np.ndarray:
    """Slice ``index`` of a stack."""
    if reader == "fabio":
        fabio = pytest.importorskip("fabio")
        return fabio.open(str(path)).getframe(index).data
    if reader == "pillow":
        image = pytest.importorskip("PIL.Image").open(path)
        image.seek(index)
        return np.array(image)
    if reader == "imageio":
        return pytest.importorskip("imageio.v3").imread(path, index=index, plugin="pillow")
    return tifffile.imread(path, key=index)


@pytest.mark.parametrize("reader", ["tifffile", "fabio", "pillow", "imageio"])
@pytest.mark.parametrize("name", SLOPES)
def test_a_float_stack_has_the_numbers(exported, reader, name):
    for index in (0, 5):
        found = read_by(reader, exported["tiff"] / f"{name}.tif", index)
        assert found.dtype == np.float32
        assert np.array_equal(found, volume(name)[index])


@pytest.mark.parametrize("reader", ["tifffile", "fabio", "pillow", "imageio"])
@pytest.mark.parametrize("name", SLOPES)
def test_a_16_bit_stack_has_the_numbers_by_its_window(exported, reader, name):
    folder = exported["tiff16"]
    window = json.loads((folder / "export.json").read_text())["windows"][name]
    grey = read_by(reader, folder / f"{name}.tif", 5)
    assert grey.dtype == np.uint16
    off = window["offset"] + window["step"] * grey.astype(np.float64) - volume(name)[5]
    assert np.abs(off).max() < 0.51 * window["step"]
    whole = volume(name)
    assert window["step"] == pytest.approx((whole.max() - float(whole.min())) / 65534, rel=1e-6)
    assert window["unit"] == UNITS[name]


@pytest.mark.parametrize("format", ["tiff", "tiff16"])
def test_imagej_shows_micrometres_and_values(exported, format):
    with tifffile.TiffFile(exported[format] / "mu.tif") as file:
        about, page = file.imagej_metadata, file.pages[0]
        assert (file.series[0].axes, file.series[0].shape) == ("ZYX", SHAPE)
        assert about["unit"] == "um"
        assert about["spacing"] == pytest.approx(VOXEL_UM)
        for tag in ("XResolution", "YResolution"):  # ImageJ: pixels per unit
            numerator, denominator = page.tags[tag].value
            assert denominator / numerator == pytest.approx(VOXEL_UM, rel=1e-6)
    if format == "tiff16":  # ImageJ's calibration: value = c0 + c1 * grey
        grey = tifffile.imread(exported[format] / "mu.tif", key=3)
        assert (about["cf"], about["vunit"]) == (0, "1/m")
        off = about["c0"] + about["c1"] * grey.astype(np.float64) - volume("mu")[3]
        assert np.abs(off).max() < 0.51 * about["c1"]
    else:
        assert (about["min"], about["max"]) == pytest.approx((volume("mu").min(), volume("mu").max()))


def test_a_large_stack_is_a_bigtiff_with_ome_metadata(results, tmp_path, monkeypatch):
    """A limit of 1 MB in place of 4 GB."""
    monkeypatch.setattr(tiff, "BIG", 1 << 20)
    path = export_volumes(results, "tiff", tmp_path / "large") / "delta.tif"
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        pixels = ET.fromstring(file.ome_metadata).find(".//{*}Pixels")
        assert file.series[0].shape == SHAPE
        assert np.array_equal(file.asarray(), volume("delta"))
    assert pixels is not None
    for axis, length in zip("ZYX", SHAPE, strict=True):
        assert float(pixels.attrib[f"PhysicalSize{axis}"]) == pytest.approx(VOXEL_UM)
        assert pixels.attrib[f"PhysicalSize{axis}Unit"] == "\u00b5m"
        assert int(pixels.attrib[f"Size{axis}"]) == length


def test_16_bit_keeps_nan_apart(tmp_path):
    values = np.linspace(-3, 5, 24, dtype=np.float32).reshape(2, 3, 4)
    values[1, 2, 3] = np.nan
    with result_file(tmp_path / "volumes.h5") as file:
        create(file, "mu", values, unit="1/m", description="mu")
        file.attrs["voxel_size_m"] = 1e-6
        write_provenance(file, stage="volume", settings={}, scan="a")
    folder = export_volumes(tmp_path, "tiff16")
    grey = tifffile.imread(folder / "mu.tif")
    assert grey[1, 2, 3] == 0
    assert grey[0, 0, 0] == 1
    assert (grey == 0).sum() == 1
    assert grey.max() == 65535


# ---- XDMF ------------------------------------------------------------------------------------------------------


def grid_of(path: Path) -> ET.Element:
    grid = ET.parse(path).getroot().find("Domain/Grid")
    assert grid is not None
    return grid


def test_xdmf_names_values_and_places(exported):
    """Values at the places that origin and spacing (z, y, x) give, from the datasets that the file names."""
    grid = grid_of(exported["xdmf"] / "volumes.xdmf")
    assert grid.attrib == {"Name": "rods", "GridType": "Uniform"}
    topology, geometry = grid.find("Topology"), grid.find("Geometry")
    assert topology is not None
    assert geometry is not None
    assert topology.attrib == {"TopologyType": "3DCoRectMesh", "Dimensions": " ".join(map(str, SHAPE))}
    assert geometry.attrib == {"GeometryType": "ORIGIN_DXDYDZ"}
    origin, spacing = ([float(n) for n in str(item.text).split()] for item in geometry.findall("DataItem"))
    places = (o + s * np.arange(n) for o, s, n in zip(origin, spacing, SHAPE, strict=True))
    z, y, x = np.meshgrid(*places, indexing="ij")
    names = []
    for attribute in grid.findall("Attribute"):
        assert (attribute.get("AttributeType"), attribute.get("Center")) == ("Scalar", "Node")
        item, unit = attribute.find("DataItem[@Format='HDF']"), attribute.find("Information[@Name='unit']")
        assert item is not None
        assert unit is not None
        path, _, dataset = str(item.text).partition(":")
        with h5py.File(exported["xdmf"] / path) as file:
            values = file[dataset][()]
        assert values.dtype == np.dtype(f"f{item.attrib['Precision']}")
        assert values.shape == tuple(int(n) for n in item.attrib["Dimensions"].split())
        true = plane(attribute.attrib["Name"], z, y, x)
        assert np.abs(values - true).max() < 1.5e-7 * np.abs(true).max()
        assert unit.get("Value") == UNITS[attribute.attrib["Name"]]
        names.append(attribute.attrib["Name"])
    assert names == list(SLOPES)


def test_xdmf_and_volumes_move_together(results, exported, tmp_path):
    shutil.copytree(results, tmp_path / "moved", ignore=shutil.ignore_patterns("tiff*", "ome*"))
    attribute = grid_of(tmp_path / "moved/xdmf/volumes.xdmf").find("Attribute/DataItem")
    assert attribute is not None
    path = str(attribute.text).partition(":")[0]
    assert (tmp_path / "moved/xdmf" / path).samefile(tmp_path / "moved/volumes.h5")


PARAVIEW = """
import sys
from paraview.simple import XDMFReader, servermanager
reader = XDMFReader(FileNames=[sys.argv[1]])
reader.UpdatePipeline()
image = servermanager.Fetch(reader)
print(*image.GetDimensions(), *image.GetOrigin(), *image.GetSpacing())
for k in range(image.GetPointData().GetNumberOfArrays()):
    values = image.GetPointData().GetArray(k)
    print(values.GetName(), *values.GetRange(), values.GetValue(image.ComputePointId((7, 4, 2))))
"""


@pytest.mark.slow
def test_paraview_reads_the_same_numbers(exported):
    """By the interpreter that ParaView belongs to (Debian: python3-paraview)."""
    python = "/usr/bin/python3"
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": ""}
    try:
        probe = subprocess.run([python, "-c", "import paraview.simple"], capture_output=True, env=environment)
    except OSError:
        pytest.skip(f"no {python}")
    if probe.returncode:
        pytest.skip("ParaView is not installed (Debian: python3-paraview)")
    done = subprocess.run(
        [python, "-c", PARAVIEW, exported["xdmf"] / "volumes.xdmf"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    grid, *arrays = done.stdout.strip().splitlines()
    numbers = [float(n) for n in grid.split()]
    assert numbers[:3] == list(SHAPE[::-1])
    assert numbers[3:] == pytest.approx([0, 0, 0, VOXEL_UM, VOXEL_UM, VOXEL_UM])
    found = {name: [float(n) for n in rest] for name, *rest in map(str.split, arrays)}
    assert set(found) == set(SLOPES)
    for name in SLOPES:
        values = volume(name)
        true = [float(v) for v in (values.min(), values.max(), values[2, 4, 7])]
        assert found[name] == pytest.approx(true, rel=1e-6), name


# ---- all formats -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_parts_of_any_size_give_the_same_files(results, exported, tmp_path, monkeypatch, name):
    """A slice at a time, as of a volume much larger than the memory."""
    monkeypatch.setattr(base, "PART_BYTES", 1)
    again = export_volumes(results, name, tmp_path / name)
    ours, theirs = (
        {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".xdmf"
        }
        for folder in (again, exported[name])
    )
    assert ours == theirs


@pytest.mark.parametrize("name", WRITERS)
def test_what_fails_leaves_the_earlier_export(exported, results, tmp_path, monkeypatch, name):
    before = export_volumes(results, name, tmp_path / "out")
    files = {path: path.stat().st_ino for path in before.rglob("*")}
    writer = type(make_writer(name))
    write = writer.write

    def fail(self, source, folder):
        write(self, source, folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write", fail)
    with pytest.raises(OutputError, match=r"disk of .* is full"):
        export_volumes(results, name, tmp_path / "out")
    assert {path: path.stat().st_ino for path in before.rglob("*")} == files
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    monkeypatch.setattr(writer, "write", write)
    export_volumes(results, name, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_folder_is_not_written_over(results, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"mine: expected a new folder or an earlier export"):
        export_volumes(results, "tiff", tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").exists()


def test_an_unknown_format_is_named_with_the_nearest(results):
    with pytest.raises(ConfigError, match=r"expected one of .*, found 'tif'; did you mean 'tiff'\?"):
        export_volumes(results, "tif")


def test_a_scan_without_volumes_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"expected a folder with volumes.h5, found none in it"):
        export_volumes(tmp_path, "tiff")
