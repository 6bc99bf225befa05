"""A slab from projections on disk: units, offset scans, contrasts that are absent."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from speckleflow.config import ScanConfig
from speckleflow.io.results import create, result_file
from speckleflow.scan.spec import ScanSpec
from speckleflow.stages.inputs import describe
from speckleflow.stages.reconstruct import reconstruct_slab
from speckleflow.stages.volume import assemble_volumes
from tests.tomo.ellipses import Ellipse, sinogram

PIXEL_M = 2e-6
COLUMNS = 96


def spec_of(**sections) -> ScanSpec:
    return ScanSpec("a", ScanConfig.model_validate(sections))


def write_projections(path, spec, angles, axis, contrasts, rows=4, noise=0.0):
    """Projections (projection, y, x) of one disc of line integral 0.01 a pixel, 10 pixels from the axis; the rows
    differ by a factor, so that a slab of other rows shows."""
    disc = [Ellipse(0.01, x=10.0, y=0.0, a=15.0, b=15.0)]
    line = sinogram(disc, angles, COLUMNS, axis)
    block = (line[:, None, :] * (1 + 0.1 * np.arange(rows))[:, None]).astype(np.float32)
    block += noise * np.random.default_rng(4).normal(size=block.shape).astype(np.float32)
    with result_file(path) as file:
        create(file, "angle_deg", angles, unit="deg", description="", dtype=np.float64)
        for name in contrasts:
            values = -block if name == "phase" else np.exp(-block)
            create(file, name, values, unit="", description="")
        file.attrs.update({"pixel_size_um": PIXEL_M * 1e6, "energy_kev": 20.0, "rotation_axis_px": axis})
        describe(file, "assemble", spec)
    return path


def middle(path, name):
    """Mean of the disc's core, which lies 10 pixels right of the slice's centre."""
    with h5py.File(path) as file:
        size = file[name].shape[-1]
        centre = round((size - 1) / 2)
        return float(file[name][0, centre - 5 : centre + 6, centre + 5 : centre + 16].mean())


@pytest.mark.parametrize(
    ("offset", "span", "axis"), [(False, 180.0, 45.3), (True, 360.0, 15.0)], ids=["half turn", "offset"]
)
def test_a_disc_has_its_value_in_physical_units(tmp_path, offset, span, axis):
    angles = np.arange(240) * span / 240
    spec = spec_of(tomography={"offset_axis": offset})
    projections = write_projections(tmp_path / "p.h5", spec, angles, axis, ["transmission", "phase"])
    reconstruct_slab(spec, projections=projections, rows=(0, 4), output=tmp_path / "s.h5")
    assert middle(tmp_path / "s.h5", "mu") == pytest.approx(0.01 / PIXEL_M, rel=0.02)
    expected = 0.01 * 1.23984198e-6 / 20e3 / (2 * np.pi * PIXEL_M)
    assert middle(tmp_path / "s.h5", "delta") == pytest.approx(expected, rel=0.02)
    with h5py.File(tmp_path / "s.h5") as file:
        assert "darkfield" not in file
        assert file["mu"].shape[2] > COLUMNS if offset else file["mu"].shape[2] == COLUMNS


def test_slabs_are_joined_in_order_and_a_gap_is_refused(tmp_path):
    angles = np.arange(60) * 3.0
    spec = spec_of()
    projections = write_projections(tmp_path / "p.h5", spec, angles, 47.0, ["transmission"])
    for k, rows in enumerate([(0, 1), (1, 4)]):
        reconstruct_slab(spec, projections=projections, rows=rows, output=tmp_path / f"{k}.h5")
    assemble_volumes(spec, slabs=[tmp_path / "0.h5", tmp_path / "1.h5"], output=tmp_path / "v.h5")
    with h5py.File(tmp_path / "v.h5") as file, h5py.File(tmp_path / "1.h5") as last:
        assert file["mu"].shape == (4, COLUMNS, COLUMNS)
        assert np.array_equal(file["mu"][1:], last["mu"][:])
        core = file["mu"][:, 43:54, 53:64].mean((1, 2))
        assert np.allclose(core / core[0], [1, 1.1, 1.2, 1.3], rtol=1e-3)
        assert file["mu"].attrs["units"] == "1/m"
        assert np.allclose(file["mu"].attrs["voxel_size_m"], PIXEL_M)
    with pytest.raises(Exception, match="expected rows from 0, found rows from 1"):
        assemble_volumes(spec, slabs=[tmp_path / "1.h5"], output=tmp_path / "w.h5")
    assert not (tmp_path / "w.h5").exists()


def test_an_iterative_backend_says_how_it_stopped_and_states_no_noise_of_voxels(tmp_path):
    """Forty angles with noise of 2 % of the greatest line integral, from projections to volumes in two slabs."""
    angles = np.arange(40) * 4.5
    spec = spec_of(tomography={"backend": "tv", "padding": "zero"})
    projections = write_projections(tmp_path / "p.h5", spec, angles, 47.0, ["transmission"], noise=0.006)
    for k, rows in enumerate([(0, 2), (2, 4)]):
        reconstruct_slab(spec, projections=projections, rows=rows, output=tmp_path / f"{k}.h5")
    assemble_volumes(spec, slabs=[tmp_path / "0.h5", tmp_path / "1.h5"], output=tmp_path / "v.h5")
    assert middle(tmp_path / "v.h5", "mu") == pytest.approx(0.01 / PIXEL_M, rel=0.02)
    with h5py.File(tmp_path / "v.h5") as file:
        assert "mu_std" not in file
        assert file.attrs["voxel_std"] == "not stated: the backend tv is not linear"
        assert "1.1 times the noise of the sinogram" in file.attrs["stopping_rule"]
        assert file["mu"].attrs["solver_fits_noise"] == 4  # all slices of both slabs
        assert 4 * 20 < file["mu"].attrs["solver_steps"] <= 4 * 200
        # air is flat: filtered back-projection leaves 30 times as much
        assert file["mu"][:, 5:20, 40:55].std() * PIXEL_M / 0.01 < 0.02
