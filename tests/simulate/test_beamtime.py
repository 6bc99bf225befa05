"""Whole beamtime files: what readers find in them, that they repeat bit for bit, that the truth fits."""

import hashlib

import h5py
import numpy as np
import pytest
import torch

from speckleflow.config.models import ScanConfig, Simulate
from speckleflow.errors import ConfigError
from speckleflow.io.data_exchange import DARKS, FLATS, FRAMES, DataExchange
from speckleflow.simulate.beamtime import simulate_scan
from speckleflow.simulate.foaming import foaming
from speckleflow.simulate.modulators import KINDS
from speckleflow.simulate.phantoms import unit_of
from speckleflow.simulate.warp import jacobian

SMALL = {"enabled": True, "rows": 32, "columns": 40, "projections": 3, "positions": 2}
CAMERA = {"flats": 4, "darks": 4, "references": 3, "hot_pixels": 2, "dead_pixels": 2}


def config(**changes):
    detector = CAMERA | changes.pop("detector", {})
    return ScanConfig(simulate=Simulate(**(SMALL | {"detector": detector} | changes)))


@pytest.fixture(scope="module")
def beamtime(tmp_path_factory):
    root = tmp_path_factory.mktemp("beamtime")
    steps = []
    files = simulate_scan(
        config(), "tiny", root=root, progress=lambda done, total: steps.append((done, total))
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]
    return root / "raw" / "tiny", files


def test_the_reader_finds_everything(beamtime):
    folder, files = beamtime
    assert [p.name for p in files] == [
        "sample_01.h5", "sample_02.h5", "reference_01.h5", "reference_02.h5", "truth.h5",
    ]  # fmt: skip
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        p.name for p in files
    )  # nothing unfinished is left
    for path, frames in ((folder / "sample_02.h5", 3), (folder / "reference_01.h5", 3)):
        source = DataExchange.open(path, path.name)
        assert source.shape == (frames, 32, 40)
        assert source.dtype == np.uint16
        assert (source.n_flats, source.n_darks) == (4, 4)
        found = source.metadata
        assert (found.energy_kev, found.pixel_size_um, found.distance_m) == pytest.approx((20.0, 6.5, 0.5))
    angles = DataExchange.open(folder / "sample_01.h5", "sample").angles()
    assert angles.unit == "deg"
    assert angles.values.tolist() == [0.0, 60.0, 120.0]
    assert DataExchange.open(folder / "reference_01.h5", "reference").angles() is None


def digest(files):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def test_the_same_settings_give_the_same_bytes(beamtime, tmp_path):
    assert digest(simulate_scan(config(), "tiny", root=tmp_path, threads=2)) == digest(beamtime[1])
    assert digest(simulate_scan(config(seed=2), "tiny", root=tmp_path))[0] != digest(beamtime[1])[0]


def test_the_number_of_threads_changes_nothing(beamtime, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert digest(simulate_scan(config(), "tiny", root=tmp_path)) == digest(beamtime[1])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def corrected(path):
    source = DataExchange.open(path, path.name)
    dark = source.darks().mean(0)
    return (source.read() - dark) / np.maximum(source.flats().mean(0) - dark, 1)


def test_the_truth_fits_the_frames(beamtime, tmp_path):
    """In a bright, quiet, undrifted scan: mean transmission, air untouched, visibility as asked."""
    quiet = {"photons": 1e5, "gain": 4.0, "hot_pixels": 0, "dead_pixels": 0, "flux_drift": 0.0, "flats": 40}
    settings = config(rows=64, columns=80, positions=5, drift_px=0.0, detector=quiet)
    files = simulate_scan(settings, "quiet", root=tmp_path)
    with h5py.File(files[-1]) as truth:
        transmission, darkfield = (truth[f"projected/{name}"][:] for name in ("transmission", "darkfield"))
        phase, ux, uy = (truth[f"projected/{name}"][:] for name in ("phase", "ux", "uy"))
        visibility = truth.attrs["visibility"]
    sample = np.stack([corrected(p) for p in files[:5]], 1)
    reference = np.stack([corrected(p).mean(0) for p in files[5:10]])
    assert (reference.std((1, 2)) / reference.mean((1, 2))).mean() == pytest.approx(visibility, rel=0.1)
    assert visibility == pytest.approx(0.25, rel=0.1)
    air = (np.abs(ux) < 1e-6) & (transmission == 1)
    # the local mean of five positions follows the pattern only roughly: compare over wide windows
    ratio = sample.mean(1) / reference.mean(0)
    assert np.median(np.abs((ratio - 1)[air][ratio[air] > 0])) < 0.005  # edges throw fringes into the air
    # light is conserved: what the fringes have is missing elsewhere
    assert ratio.mean() / transmission.mean() == pytest.approx(1, abs=0.003)
    inside = transmission < 0.9
    thinned = jacobian(torch.as_tensor(ux), torch.as_tensor(uy)).numpy()
    assert np.median((ratio * thinned / transmission)[inside]) == pytest.approx(1, abs=0.01)
    # the pattern survives in the clear part and half of it in the scattering one
    contrast = (sample / reference.mean(0)).std(1) / (reference / reference.mean(0)).std(0)
    clear, hazy = inside & (darkfield > 0.999), darkfield < 0.6
    seen = np.median((contrast / transmission)[hazy]) / np.median((contrast / transmission)[clear])
    assert seen == pytest.approx(np.median(darkfield[hazy]), abs=0.06)
    assert phase[inside].max() < 0


def test_geometry_and_drift_in_the_truth(beamtime):
    folder, _ = beamtime
    with h5py.File(folder / "truth.h5") as truth:
        assert truth.attrs["axis_px"] == pytest.approx(39 / 2 + 2.3)
        drift, flux = truth["drift_px"][:], truth["flux"][:]
        centre = [np.average(np.arange(40), weights=-p.sum(0)) for p in truth["projected/phase"][:]]
        delta = truth["volumes/delta"][:]
        assert delta.shape == (32, 40, 40)
        assert set(truth["masks"]) == {"PVC", "bone mineral", "aluminium", "scattering PVC"}
        assert truth["masks/aluminium"].attrs["mu_per_m"] == pytest.approx(929.3, rel=1e-3)
        assert truth.attrs["jacobian_min"] > 0.2
    assert np.hypot(*drift[-1]) == pytest.approx(0.15)
    assert flux.shape == (3, 2)
    assert 0 < np.abs(flux - 1).max() < 0.03
    # the centre of mass goes round the axis as tomo.geometry says
    weight = delta.sum(0)
    y, x = (np.average(np.arange(40) - 19.5, weights=weight.sum(axis)) for axis in (1, 0))
    for angle, found in zip(np.deg2rad([0, 60, 120]), centre, strict=True):
        assert found == pytest.approx(39 / 2 + 2.3 + x * np.cos(angle) + y * np.sin(angle), abs=0.02)


def test_a_sample_that_changes_and_is_not_turned(tmp_path):
    """Each frame is the phantom at its time: the truth follows from it, and there are no volumes."""
    settings = config(phantom="foaming", projections=3, positions=1, rotation_deg=0.0, frame_s=0.4, seed=3)
    files = simulate_scan(settings, "film", root=tmp_path)
    simulate = settings.simulate
    unit = unit_of(simulate.pixel_size_um * 1e-6, simulate.rows, simulate.columns)
    samples = foaming(unit, [0.0, 0.4, 0.8], 3)
    with h5py.File(files[-1]) as truth:
        assert truth["theta"][:].tolist() == [0, 0, 0]
        assert "volumes" not in truth
        phase = truth["projected/phase"][:]
    # the drop's volume over the beam's direction, from the projected phase; measured 0.2 %
    matter = -phase.sum((1, 2))
    volumes = np.array([volume_of(sample) for sample in samples])
    assert matter / matter[0] == pytest.approx(volumes / volumes[0], rel=5e-3)
    assert np.abs(phase[2] - phase[0]).max() > 0.2 * np.abs(phase[0]).max()


def volume_of(sample):
    """Matter of a drop with bubbles, over 4/3 pi."""
    drop, *bubbles = (1 / np.sqrt(solid.quadrics[0][0, 0]) for solid in sample.solids)
    return drop**3 - sum(np.array(bubbles) ** 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["rays", "wave"])
def test_every_modulator_and_model(kind, model, tmp_path):
    settings = config(
        modulator=kind, model=model, pitch_um=39, projections=1, visibility=0.15, trajectory="grid"
    )
    files = simulate_scan(settings, "one", root=tmp_path)
    stack = np.stack([corrected(p)[0] for p in files[:2]])
    assert np.isfinite(stack).all()
    assert 0.5 < np.median(stack) < 1
    assert not np.allclose(stack[0], stack[1], atol=0.1)


def test_a_pattern_without_position_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"files.sample: expected a pattern with \{position\}.*found 'all.h5'"
    ):
        simulate_scan(
            config().model_copy(update={"files": config().files.model_copy(update={"sample": "all.h5"})}),
            "x",
            root=tmp_path,
        )
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing(tmp_path):
    def stop(done, total):
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        simulate_scan(config(), "x", root=tmp_path, progress=stop)
    left = sorted(p.name for p in (tmp_path / "raw" / "x").iterdir())
    assert left == ["reference_01.h5", "reference_02.h5"]  # complete by then; no sample, no truth


def stacks(files):
    """Every frame of every file, by file and dataset."""
    for path in files[:-1]:
        with h5py.File(path) as file:
            for key in (FRAMES, FLATS, DARKS):
                for frame in file[key][:].astype(float):
                    yield f"{path.name} {key}", frame


def test_every_frame_has_its_own_noise(tmp_path):
    """Read noise of 200 counts hides all else: projections, references, flats and darks of all positions."""
    noisy = {
        "read_noise_counts": 200.0,
        "dark_counts": 2000.0,
        "photons": 1.0,
        "hot_pixels": 0,
        "dead_pixels": 0,
    }
    files = simulate_scan(config(detector=noisy), "noise", root=tmp_path)
    names, frames = zip(*stacks(files), strict=True)
    assert len(frames) == 2 * (3 + 4 + 4) + 2 * (3 + 4 + 4)
    both = np.corrcoef(np.stack([frame.ravel() for frame in frames]))
    np.fill_diagonal(both, 0)
    worst = np.unravel_index(np.abs(both).argmax(), both.shape)
    # 1280 pixels: 0.028 each; fixed pattern (40 counts): 0.04; largest of 946 measured 0.14, the same noise: 1
    assert np.abs(both).max() < 0.3, [names[i] for i in worst]


def test_positions_and_drift_are_given_as_x_and_y(tmp_path):
    """The reference of a position is the first one, moved against the modulator; the drift moves a projection alike."""
    quiet = {"photons": 1e5, "gain": 4.0, "hot_pixels": 0, "dead_pixels": 0, "flux_drift": 0.0, "flats": 40}
    settings = config(
        rows=64,
        columns=80,
        projections=2,
        positions=3,
        pitch_um=39,
        drift_px=4.0,
        phantom="sphere",
        trajectory="diagonal",
        detector=quiet,
    )
    files = simulate_scan(settings, "moved", root=tmp_path)
    with h5py.File(files[-1]) as truth:
        positions, drift = truth["positions_px"][:], truth["drift_px"][:]
    first, *others = (corrected(path).mean(0) for path in files[3:6])
    for n, other in enumerate(others, 1):
        assert shift(first, other) == pytest.approx(
            positions[n] - positions[0], abs=0.7
        )  # whole pixels are found
    step = positions[1] - positions[0]  # a line 1 : 2: twice as far along x as along y
    assert step[0] == pytest.approx(2 * step[1], abs=1)
    air = np.s_[:12]  # rows above the sphere
    for k in range(2):
        assert shift(first[air], corrected(files[0])[k][air]) == pytest.approx(drift[k], abs=0.7)
    assert np.linalg.norm(drift[1]) == pytest.approx(4)
    assert drift[0] == pytest.approx(drift[1] / 2)


def shift(a, b):
    """(x, y) in whole pixels by which the pattern b stands further right and down than a."""
    product = np.fft.fft2(b - b.mean()) * np.fft.fft2(a - a.mean()).conj()
    y, x = np.unravel_index(np.fft.ifft2(product).real.argmax(), a.shape)
    return np.array(
        [
            (x + a.shape[1] // 2) % a.shape[1] - a.shape[1] // 2,
            (y + a.shape[0] // 2) % a.shape[0] - a.shape[0] // 2,
        ]
    )
