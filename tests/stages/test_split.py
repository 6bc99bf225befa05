"""``tomography.split``: halves of a scan through slabs into volumes, their correlation against a known truth."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from speckleflow.cli import app
from speckleflow.config import ScanConfig
from speckleflow.config.models import coupled_problems
from speckleflow.errors import InputError
from speckleflow.evaluate.fsc import shell_correlation
from speckleflow.io.results import create, result_file
from speckleflow.scan.spec import ScanSpec
from speckleflow.scan.warnings import read_warnings
from speckleflow.stages.fsc import read_correlation, show_halves
from speckleflow.stages.inputs import describe
from speckleflow.stages.reconstruct import reconstruct_slab
from speckleflow.stages.volume import assemble_volumes
from speckleflow.tomo.halves import SIDE, middle, odd_and_even

ROWS, COLUMNS, AXIS, ANGLES = 40, 64, 31.5, 160
PIXEL_UM = 2.0
#: width in px of the blur of the grains that the sample is made of
GRAIN_PX = 1.2


def grains() -> np.ndarray:
    """Line integrals (projection, y, x) of 300 Gaussian grains within a cylinder."""
    rng = np.random.default_rng(3)
    radius, turn = 24 * np.sqrt(rng.random(300)), 2 * np.pi * rng.random(300)
    height, value = rng.uniform(-4, ROWS + 4, 300), rng.uniform(0.01, 0.03, 300)
    angle = np.deg2rad(np.arange(ANGLES) * 180 / ANGLES)
    x = AXIS + radius * np.cos(turn) * np.cos(angle[:, None]) + radius * np.sin(turn) * np.sin(angle[:, None])
    across = np.exp(-((np.arange(COLUMNS)[:, None] - x[:, None]) ** 2) / (2 * GRAIN_PX**2))
    along = np.exp(-((np.arange(ROWS)[:, None] - height) ** 2) / (2 * GRAIN_PX**2))
    return np.einsum("pxg,yg,g->pyx", across, along, value)


def volumes(folder, noise: float, split: str = "angles", rows: int = ROWS, **tomography):
    """volumes.h5 of the grains with white noise of the transmission, in two slabs."""
    folder.mkdir(exist_ok=True)
    settings = {"tomography": {"split": split, "voxel_std": False, "filter": "ramlak", **tomography}}
    spec = ScanSpec("a", ScanConfig.model_validate(settings))
    integrals = grains()[:, :rows]
    values = np.exp(-integrals) + noise * np.random.default_rng(1).normal(size=integrals.shape)
    with result_file(folder / "p.h5") as file:
        angles = np.arange(ANGLES) * 180 / ANGLES
        create(file, "angle_deg", angles, unit="deg", description="", dtype=np.float64)
        create(file, "transmission", values.astype(np.float32), unit="", description="")
        file.attrs.update({"pixel_size_um": PIXEL_UM, "energy_kev": 20.0, "rotation_axis_px": AXIS})
        describe(file, "assemble", spec)
    slabs = []
    for k, part in enumerate([(0, rows // 4 * 2), (rows // 4 * 2, rows)]):
        slabs.append(folder / f"{k}.h5")
        reconstruct_slab(spec, projections=folder / "p.h5", rows=part, output=slabs[-1])
    assemble_volumes(spec, slabs=slabs, output=folder / "volumes.h5")
    return folder / "volumes.h5"


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    return volumes(tmp_path_factory.mktemp("halves"), 0.02)


def test_the_halves_predict_how_far_the_whole_volume_follows_the_truth(halves, tmp_path):
    """Of independent halves with correlation c, the whole correlates with the truth by sqrt(2 c / (1 + c))."""
    truth = volumes(tmp_path / "truth", 1e-6, split="none")
    with h5py.File(halves) as file, h5py.File(truth) as known:
        found = read_correlation(file["fsc/mu"])
        wanted = shell_correlation(file["mu"][:], known["mu"][:])
        assert "fsc" not in known
    predicted = np.sqrt(np.clip(2 * found.correlation / (1 + found.correlation), 0, None))
    inside = slice(3, 20)  # the innermost shells hold few coefficients
    assert np.abs(predicted - wanted.correlation)[inside].max() < 0.06  # measured 0.03
    assert predicted[3] > 0.97
    assert np.abs(found.correlation[-5:]).max() < 0.2


def test_more_noise_is_a_worse_resolution_and_the_criteria_are_in_order(halves, tmp_path):
    with h5py.File(halves) as file, h5py.File(volumes(tmp_path / "noisy", 0.06)) as noisy:
        stated = {key: file["fsc/mu"].attrs[f"resolution_{key}_m"] for key in ("half_bit", "quarter_bit")}
        assert 4e-6 < stated["quarter_bit"] < stated["half_bit"] < 20e-6
        assert noisy["fsc/mu"].attrs["resolution_half_bit_m"] > 1.2 * stated["half_bit"]
        assert list(file["fsc/mu"].attrs["shape_zyx"]) == [ROWS, COLUMNS, COLUMNS]
        np.testing.assert_array_equal(
            file["fsc/mu/half_bit"][:], read_correlation(file["fsc/mu"]).threshold("half-bit")
        )


def test_the_command_draws_what_the_workflow_compared(halves, tmp_path):
    picture = tmp_path / "curve.png"
    done = CliRunner().invoke(app, ["fsc", str(halves), "--contrast", "mu", "--output", str(picture)])
    assert done.exit_code == 0, done.output
    assert "half-bit: " in done.output
    assert "quarter-bit: " in done.output
    assert picture.exists()
    table = np.genfromtxt(picture.with_suffix(".csv"), delimiter=",", names=True)
    with h5py.File(halves) as file:
        np.testing.assert_allclose(table["correlation"], file["fsc/mu/correlation"][:], atol=1e-5)
    with pytest.raises(InputError, match=r"tomography\.split: angles"):
        show_halves(halves, "delta", picture)


def test_too_few_rows_are_said(tmp_path):
    path = volumes(tmp_path / "flat", 0.02, rows=6)
    with h5py.File(path) as file:
        assert "fsc" not in file
        assert any("no resolution of mu is stated" in words for words in read_warnings(file))


def test_halves_share_no_projection_and_take_every_other_angle():
    angles = np.random.default_rng(2).permutation(np.arange(31) * 6.0)
    odd, even = odd_and_even(angles)
    assert sorted([*odd, *even]) == list(range(31))
    np.testing.assert_array_equal(np.sort(angles[odd]), np.arange(0, 31, 2) * 6.0)
    assert (np.diff(odd) > 0).all()
    assert middle(100) == slice(0, 100)
    assert middle(2049) == slice(896, 896 + SIDE)


def test_several_turns_have_no_halves():
    config = ScanConfig.model_validate(
        {"geometry": {"axis": "both", "frame_s": 0.1}, "tomography": {"split": "angles"}}
    )
    assert any("tomography.split: angles compares halves" in words for words in coupled_problems(config))
