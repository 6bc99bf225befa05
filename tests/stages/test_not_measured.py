"""What was not measured: filled near measured pixels, NaN and flagged beyond, and without a say in what follows."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import ndimage

from speckleflow.scan.schema import FILLED, LOST
from speckleflow.stages.by_hand import retrieve_files
from speckleflow.stages.phase import integrate_fields
from tests.raw_scan import DARK, RawScan
from tests.stages.chain import Chain

#: unlit columns at the right of 48, unlit rows at the top of 24, and how far they are filled
DARK_FROM, DARK_ROWS, FILL_PX = 40, 6, 2.0
SECTIONS = {
    "correct": {"fill_px": FILL_PX, "air_px": [4, 0, 0, 0]},
    "tomography": {"axis_px": 23.5, "voxel_std": True},
}


def smooth_transmission() -> np.ndarray:
    """(projection, y, x) without edges: at an edge the tracking fails with and without a stop."""
    y, x = np.mgrid[:24, :48]
    depth = 0.2 + 0.02 * np.arange(6)[:, None, None]
    return 1 - depth * np.exp(-((y - 14) ** 2) / 60 - (x - 20) ** 2 / 90)


@pytest.fixture(scope="module")
def unlit(tmp_path_factory) -> Chain:
    """A scan with a stop before the right and top edge of the detector, through all stages."""
    raw = RawScan(tmp_path_factory.mktemp("unlit"), projections=6, size=(24, 48))
    for name, stack in raw.frames.items():
        if name.startswith("sample"):
            light = (stack - DARK) / raw.transmission * smooth_transmission()
            raw.frames[name] = (DARK + light).round().astype(stack.dtype)
    for stacks in (raw.frames, raw.flats):
        for name, stack in stacks.items():
            level = np.median(raw.darks[name]).astype(stack.dtype)
            stack[..., DARK_FROM:] = level
            stack[..., :DARK_ROWS, :] = level
    return Chain(raw.write(), sections=SECTIONS, blocks=((0, 6),), slabs=((0, 24),)).run()


def lost_pixels() -> np.ndarray:
    """Farther than the limit from a lit pixel, except that rays land a part of a pixel beside."""
    dark = np.zeros((24, 48), bool)
    dark[:, DARK_FROM:] = True
    dark[:DARK_ROWS] = True
    return ndimage.distance_transform_edt(dark) > FILL_PX


@pytest.mark.slow
def test_fields_are_nan_beyond_the_limit_and_right_elsewhere(unlit, tmp_path):
    with h5py.File(unlit.path("projections.h5")) as file:
        flags = file["flags"][:]
        lost = flags & LOST > 0
        assert (lost == lost_pixels()).mean() > 0.95  # measured 0.978
        assert (flags[lost] & FILLED > 0).all()
        for name in ("ux", "uy", "transmission", "darkfield", "phase", "displacement_std"):
            values = file[name][:]
            np.testing.assert_array_equal(np.isnan(values), lost, err_msg=name)
        # lit pixels are right up to the stop: the sample displaces nothing
        lit = (slice(None), slice(DARK_ROWS, None), slice(0, DARK_FROM))
        errors = {
            "transmission": file["transmission"][:] - smooth_transmission(),
            "ux": file["ux"][:],
            "uy": file["uy"][:],
        }
        for name, error in errors.items():
            assert np.abs(error[lit]).max() < 0.1, name  # measured 0.036, 0.036 and 0.058


@pytest.mark.slow
def test_slices_that_were_never_measured_are_nan_and_the_others_finite(unlit):
    with h5py.File(unlit.path("volumes.h5")) as file:
        for name in ("delta", "mu", "darkfield"):
            values = file[name][:]
            first = DARK_ROWS - int(FILL_PX)
            assert np.isnan(values[:first]).all(), name
            assert np.isfinite(values[first:]).all(), name
            std = file[name + "_std"][:]
            np.testing.assert_array_equal(np.isnan(std), np.isnan(values), err_msg=name)
            assert (std[first:] > 0).all(), name
            assert file[name + "_std"].attrs["median"] > 0, name
    unlit.report()


def test_lost_pixels_have_no_weight_in_the_phase():
    """Whatever stands in them, the phase elsewhere is the same; and near to that of a whole displacement."""
    from speckleflow.config.models import Integrate
    from speckleflow.scan.geometry import ScanGeometry

    y, x = np.mgrid[:40, :64].astype(np.float64)
    bump = np.exp(-((x - 24) ** 2 + (y - 21) ** 2) / 60)
    uy, ux = (-0.3 * part.astype(np.float32)[None] for part in np.gradient(bump * 10))
    flags = np.zeros(ux.shape, np.uint8)
    whole = {"ux": ux, "uy": uy, "displacement_std": np.full_like(ux, 0.01), "flags": flags}
    geometry = ScanGeometry(1.0, 20.0, 0.5)
    lost = np.zeros(ux.shape, bool)
    lost[:, 5:30, 50:62] = True
    for weights in (True, False):
        settings = Integrate(weights=weights)
        truth = integrate_fields(dict(whole), geometry, (4, 0, 0, 0), settings)["phase"]
        damaged = {name: values.copy() for name, values in whole.items()}
        for name in ("ux", "uy", "displacement_std"):
            damaged[name][lost] = np.nan
        damaged["flags"][lost] |= LOST
        phase = integrate_fields(damaged, geometry, (4, 0, 0, 0), settings)["phase"]
        np.testing.assert_array_equal(np.isnan(phase), lost)
        away = np.abs((phase - truth)[~lost]).max() / np.ptp(truth)
        assert away < 0.01, weights


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Reference and sample (5, 48, 64) as counts; the sample is moved by 0.6 px in x and absorbs a tenth."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(6)
    pattern = ndimage.gaussian_filter(rng.normal(size=(5, 48, 64)), (0, 1.5, 1.5))
    reference = 8000 * (1 + 0.25 * pattern / pattern.std()).clip(0.1)
    sample = 0.9 * ndimage.shift(reference, (0, 0, 0.6), mode="wrap")
    return (100 + reference).astype(np.float32), (100 + sample).astype(np.float32)


def by_hand(reference: np.ndarray, sample: np.ndarray, **more: object) -> dict[str, np.ndarray]:
    for name, stack in (("r", reference), ("s", sample), ("d", np.full((5, 48, 64), 100.0))):
        np.save(f"{name}.npy", stack)
    retrieve_files(
        reference="r.npy", sample="s.npy", dark="d.npy", output=Path("out.h5"), method="umpa", flat=None,
        geometry=(None, None, None), grid="reference", window="7", weights=None, device="cpu", **more,
    )  # fmt: skip
    with h5py.File("out.h5") as file:
        return {name: file[name][()] for name in ("ux", "transmission", "flags")}


def test_by_hand_as_in_the_workflow(stacks, capsys):
    """NaN, saturated, masked and unlit pixels in one stack each."""
    reference, sample = (stack.copy() for stack in stacks)
    good = by_hand(reference, sample)
    sample[2, 20, 30] = np.nan
    sample[1, 33, 12] = 60000.0
    reference[:, :, 40:] = sample[:, :, 40:] = 100.0  # a stop, 24 columns wide
    mask = np.zeros((48, 64), np.uint8)
    mask[10:12, 20:22] = 1
    sample[:, 10:12, 20:22] = 30000.0
    np.save("mask.npy", mask)
    found = by_hand(reference, sample, mask="mask.npy", saturation_level=55000.0)
    flags = found["flags"]
    # the rays that land in them are displaced by 0.6 px, to the next pixel
    for place in ((20, 29), (33, 11), (10, 20), (11, 21)):
        assert flags[place] & FILLED, place
        assert not flags[place] & LOST, place
    assert (flags[:, 52:] & LOST > 0).all()
    np.testing.assert_array_equal(np.isnan(found["ux"]), flags & LOST > 0)
    np.testing.assert_array_equal(np.isnan(found["transmission"]), flags & LOST > 0)
    inside = (slice(6, -6), slice(6, 34))
    assert np.abs(good["ux"][inside] - 0.6).max() < 0.05
    assert np.abs(found["ux"] - 0.6)[inside].max() < 0.1
    assert np.abs(found["transmission"] - 0.9)[inside].max() < 0.05
    assert "were not measured" in capsys.readouterr().err
