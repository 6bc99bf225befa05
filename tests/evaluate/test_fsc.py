"""Fourier shell correlation against noise, identity, a known spectrum and a known band limit."""

from __future__ import annotations

import numpy as np
import pytest

from speckleflow.errors import InputError
from speckleflow.evaluate.fsc import shell_correlation
from speckleflow.io.results import create, result_file
from speckleflow.stages.fsc import correlate_files

SHAPE = (40, 48, 55)  # even and odd, all different


def radius() -> np.ndarray:
    z, y, x = (np.fft.fftfreq(n) for n in SHAPE)
    return np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)


def filtered(volume: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    return np.fft.ifftn(np.fft.fftn(volume) * transfer).real


@pytest.mark.parametrize("edge", [0.0, 0.15, 0.4])
def test_white_noise_is_zero_within_its_standard_error(edge):
    """Deviations over 1 / sqrt(2 independent) have the variance 1, with a window as without one."""
    rng = np.random.default_rng(1)
    squares = []
    for _ in range(4):
        found = shell_correlation(*rng.normal(size=(2, *SHAPE)), edge=edge)
        keep = found.independent > 20
        squares.append(np.mean(found.correlation[keep] ** 2 * 2 * found.independent[keep]))
    # some 100 shells: 1 +- 0.15; measured 0.93, 0.77 and 0.87
    assert 0.7 < np.mean(squares) < 1.35
    assert found.resolution_voxels("half-bit") == np.inf


@pytest.mark.parametrize("columns", [54, 55])
def test_shells_hold_every_pair_once(columns):
    """Half of the coefficients of the full spectrum, shell by shell, also on planes of their own conjugates."""
    shape = (40, 48, columns)
    found = shell_correlation(*np.random.default_rng(1).normal(size=(2, *shape)), edge=0.0)
    z, y, x = (np.fft.fftfreq(n) for n in shape)
    shell = np.rint(columns * np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)).astype(int)
    wanted = np.bincount(shell.ravel())[1 : columns // 2 + 1] / 2
    np.testing.assert_allclose(found.independent, wanted)


def test_identical_volumes_agree_to_the_sampling():
    volume = np.random.default_rng(2).normal(size=SHAPE)
    found = shell_correlation(volume, 5 - 2 * -volume)
    np.testing.assert_allclose(found.correlation, 1, atol=1e-12)
    np.testing.assert_allclose(shell_correlation(volume, -volume).correlation, -1, atol=1e-12)
    assert [found.resolution_voxels(name) for name in ("half-bit", "quarter-bit", "1/7")] == [2, 2, 2]


@pytest.mark.parametrize("edge", [0.0, 0.15])
def test_known_spectrum_gives_snr_over_one_plus_snr(edge):
    rng = np.random.default_rng(3)
    ratio = 20 * np.exp(-((radius() / 0.16) ** 2))
    signal = filtered(rng.normal(size=SHAPE), np.sqrt(ratio))
    found = shell_correlation(*(signal + rng.normal(size=(2, *SHAPE))), edge=edge)
    snr = 20 * np.exp(-((found.frequency / 0.16) ** 2))
    wanted = snr / (1 + snr)
    # of two jointly normal variables: (1 - c^2) / sqrt(2 n) (1 + c^2 in the limit of c = 0)
    error = np.sqrt((1 - wanted**2) ** 2 + 1e-4) / np.sqrt(2 * found.independent)
    keep = found.independent > 20
    deviation = ((found.correlation - wanted) / error)[keep]
    assert np.sqrt(np.mean(deviation**2)) < 1.6
    # 1/7 is the ratio 1/6 of half the data
    where = 0.16 * np.sqrt(np.log(20 * 6))
    assert found.resolution_voxels("1/7") == pytest.approx(1 / where, rel=0.06)


def test_thresholds_are_those_of_the_paper():
    """Half bit: (0.2071 + 1.9102 / sqrt n) / (1.2071 + 0.9102 / sqrt n), from van Heel and Schatz."""
    found = shell_correlation(*np.random.default_rng(1).normal(size=(2, *SHAPE)))
    root = np.sqrt(found.independent)
    np.testing.assert_allclose(
        found.threshold("half-bit"), (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root), atol=1e-4
    )
    assert (found.threshold("quarter-bit") < found.threshold("half-bit")).all()
    np.testing.assert_allclose(found.threshold("1/7"), 0.142857, atol=1e-6)


@pytest.mark.parametrize("limit", [0.15, 0.3])
@pytest.mark.parametrize("name", ["half-bit", "quarter-bit", "1/7"])
@pytest.mark.parametrize(("edge", "height", "shells"), [(0.0, 10, 1.0), (0.15, 2, 2.0)])
def test_a_band_limit_is_the_resolution(limit, name, edge, height, shells):
    rng = np.random.default_rng(4)
    signal = height * filtered(rng.normal(size=SHAPE), radius() <= limit)
    found = shell_correlation(*(signal + rng.normal(size=(2, *SHAPE))), edge=edge)
    # a shell is 1/55 wide; the window smooths the spectrum by as much; measured 0.3 to 0.6 shells, 0.5 to 1.25
    assert 1 / found.resolution_voxels(name) == pytest.approx(limit, abs=shells / 55)


def test_the_window_takes_away_what_wraps_around():
    """The same ramp in two volumes of noise: its step at the border is no detail on which they agree."""
    rng = np.random.default_rng(5)
    ramp = np.linspace(-20, 20, SHAPE[2])
    volumes = ramp + rng.normal(size=(2, *SHAPE))
    high = slice(20, None)
    assert shell_correlation(*volumes, edge=0.0).correlation[high].mean() > 0.1
    assert abs(shell_correlation(*volumes).correlation[high].mean()) < 0.01


def written(path, shape=SHAPE, voxel_um=1.3, seed=0):
    rng = np.random.default_rng(seed)
    volume = 10 * np.random.default_rng(9).normal(size=shape) + rng.normal(size=shape)
    with result_file(path) as file:
        dataset = create(file, "delta", volume.astype(np.float32), unit="1", description="")
        dataset.attrs["voxel_size_m"] = [voxel_um * 1e-6] * 3
    return path


def test_files_give_lines_a_table_and_a_picture(tmp_path):
    first, second = written(tmp_path / "a.h5"), written(tmp_path / "b.h5", seed=1)
    text = correlate_files(first, second, "delta", tmp_path / "curve.png", size=44)
    assert "40 x 44 x 44 voxels" in text
    assert "half-bit: 2.00 voxels, 2.6 um (the sampling)" in text
    table = np.genfromtxt(tmp_path / "curve.csv", delimiter=",", names=True)
    np.testing.assert_allclose(table["cycles_per_um"], table["cycles_per_voxel"] / 1.3, rtol=1e-4)
    # signal to noise 100
    np.testing.assert_allclose(table["correlation"][5:], 100 / 101, atol=0.01)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": (40, 48, 54)}, "a volume of .40, 48, 55. voxels"),
        ({"voxel_um": 1.4}, "voxels of 1.3 micro.*1.4"),
    ],
)
def test_files_that_do_not_fit(tmp_path, change, words):
    first, second = written(tmp_path / "a.h5"), written(tmp_path / "b.h5", **change)
    with pytest.raises(InputError, match=words):
        correlate_files(first, second, "delta", tmp_path / "curve.png")
    with pytest.raises(InputError, match="a volume 'mu', found delta"):
        correlate_files(first, first, "mu", tmp_path / "curve.png")


def test_arrays_that_do_not_fit():
    with pytest.raises(InputError, match="of one shape"):
        shell_correlation(np.zeros(SHAPE), np.zeros((40, 48, 54)))
    with pytest.raises(InputError, match="a constant"):
        shell_correlation(np.ones(SHAPE), np.ones(SHAPE))
