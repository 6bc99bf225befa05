"""``tomography.align`` from blocks to volumes: before and after, against the volume of a sample that stood still."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from scipy import ndimage

from speckleflow.config import ScanConfig
from speckleflow.io.results import create, result_file
from speckleflow.scan.spec import ScanSpec
from speckleflow.stages.align import align_projections
from speckleflow.stages.assemble import prepare_tomography
from speckleflow.stages.inputs import describe
from speckleflow.stages.reconstruct import reconstruct_slab
from speckleflow.stages.straight import read_alignment, straight_rows, write_alignment
from speckleflow.tomo.sinogram import RatioNoise, line_integrals
from tests.tomo.moving import AXIS, MovingScan

ROWS = (16, 44)
NOISE = 0.001
#: phase in rad of a line integral of the transmission of 1
PHASE = -20.0


class Images:
    """Blocks of a scan in memory."""

    def __init__(self, images: dict[str, np.ndarray]) -> None:
        self.images = {name: values.astype(np.float32) for name, values in images.items()}
        self.count = len(next(iter(images.values())))
        self.layers = {
            name: SimpleNamespace(shape=values.shape[1:], dtype=values.dtype)
            for name, values in self.images.items()
        }

    def read(self, name, projections=slice(None), rows=slice(None)):
        return self.images[name][projections][:, rows]


def images_of(scan: MovingScan, phase_level: float = 0.0) -> dict[str, np.ndarray]:
    """Transmission, dark field and phase; the phase's level drifts on its own."""
    integrals = scan.integrals()
    bare = integrals - scan.level[:, None, None]
    rng = np.random.default_rng(7)
    noise = NOISE * rng.normal(size=(3, *integrals.shape))
    own = phase_level * scan.level[::-1, None, None]
    return {
        "transmission": np.exp(-integrals) + noise[0],
        "darkfield": np.exp(-0.5 * integrals) + noise[1],
        "phase": PHASE * bare + own + noise[2],
    }


def spec_of(**tomography) -> ScanSpec:
    return ScanSpec("a", ScanConfig.model_validate({"tomography": {"voxel_std": False, **tomography}}))


def reconstructed(folder: Path, scan: MovingScan, align: str) -> dict[str, np.ndarray]:
    """Volumes through the search of the axis and the stage ``reconstruct``; and the axis."""
    spec = spec_of(align=align)
    images = images_of(scan, phase_level=5.0)
    with np.errstate(all="ignore"):
        found = prepare_tomography(spec.config, [Images(images)], scan.angles_deg, folder)
    path = folder / f"{align}.h5"
    with result_file(path) as file:
        create(file, "angle_deg", scan.angles_deg, unit="deg", description="", dtype=np.float64)
        for name, values in images.items():
            create(file, name, values.astype(np.float32), unit="", description="")
        file.attrs.update({"pixel_size_um": 1.0, "energy_kev": 20.0, "rotation_axis_px": found.axis_px})
        if found.alignment is not None:
            write_alignment(file, found.alignment)
        describe(file, "assemble", spec)
    slab = folder / f"slab-{align}.h5"
    reconstruct_slab(spec, projections=path, rows=ROWS, output=slab)
    with h5py.File(slab) as file:
        return {name: file[name][:] for name in ("delta", "mu", "darkfield")} | {
            "axis": np.array(found.axis_px),
            "words": np.array(str(file.attrs.get("alignment", ""))),
        }


def error_of(volumes: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> dict[str, float]:
    """Root mean square difference from the truth over the truth's, of each volume brought to the truth's place.

    What moments cannot know is where the whole sample lies.
    """
    inner = (slice(4, -4), slice(12, -12), slice(12, -12))
    place, slopes = np.zeros(3), np.stack([g[inner].ravel() for g in np.gradient(truth["delta"])], 1)

    def moved(name: str) -> np.ndarray:
        return ndimage.shift(volumes[name], place, order=3, mode="nearest")[inner]

    for _ in range(4):  # least squares of the difference
        place = (
            place + np.linalg.lstsq(slopes, (moved("delta") - truth["delta"][inner]).ravel(), rcond=None)[0]
        )
    errors = {}
    for name in ("delta", "mu", "darkfield"):
        wanted = truth[name][inner]
        errors[name] = float(np.sqrt(np.mean((moved(name) - wanted) ** 2) / np.mean(wanted**2)))
    return errors


@pytest.mark.slow
def test_volumes_of_a_jittering_sample(tmp_path):
    scan = MovingScan.of()
    truth = reconstructed(tmp_path, scan.still, "none")
    before = reconstructed(tmp_path, scan, "none")
    after = reconstructed(tmp_path, scan, "both")
    worse, better = (error_of(volumes, truth) for volumes in (before, after))
    print(worse, better)
    for name in worse:
        assert better[name] < 0.4 * worse[name], name
    assert abs(float(after["axis"]) - AXIS) < 0.25
    assert "x 0.8" in str(after["words"])


def aligned(scan: MovingScan, cut_off: bool = False, images=None, **tomography):
    settings = spec_of(**{"align": "both", **tomography}).config.tomography
    images = images_of(scan) if images is None else images
    noises = {name: RatioNoise(NOISE**2) for name in ("transmission", "darkfield")}
    turns = [(0, len(scan.angles_deg))]
    return align_projections(settings, [Images(images)], scan.angles_deg, turns, noises, cut_off)


def test_each_contrast_has_its_level_and_all_one_displacement(tmp_path):
    scan = MovingScan.of()
    found = aligned(scan, images=images_of(scan, phase_level=5.0))
    assert found.contrast == "phase"  # a hundred times less noise beside the sample
    assert np.std(found.shift_px[:, 0] - scan.off_curve(scan.shift_px[:, 0])) < 0.02
    assert np.std(found.levels["transmission"] - scan.level) < 3e-4
    assert np.std(found.levels["darkfield"] - 0.5 * scan.level) < 3e-4
    # a line integral is minus the phase
    assert np.std(found.levels["phase"] + 5 * scan.level[::-1]) < 3e-3
    with result_file(tmp_path / "a.h5") as file:
        write_alignment(file, found)
        again = read_alignment(file)
    np.testing.assert_array_equal(again.shift_px, found.shift_px)
    np.testing.assert_array_equal(again.levels["phase"], found.levels["phase"])
    assert (again.contrast, again.words) == (found.contrast, found.words)


@pytest.mark.parametrize(("contrast", "drift"), [("transmission", 1.0), ("darkfield", 0.5), ("phase", 5.0)])
def test_a_level_is_taken_off_and_not_put_on(contrast, drift):
    """Means of the air over a few rows of each projection, before and after."""
    scan = MovingScan.of(jitter_px=0.0)
    images = images_of(scan, phase_level=5.0)
    found = aligned(scan, images=images, align="level")

    def scatter(alignment) -> float:
        rows = straight_rows(
            Images(images), contrast, (10, 20), axis_px=AXIS, tilt_deg=0.0, alignment=alignment
        )
        return float(line_integrals(contrast, rows[..., :12], (1e-8, 0.0)).values.mean((1, 2)).std())

    assert scatter(None) == pytest.approx(drift * scan.level.std(), rel=0.02)
    assert scatter(found) < 0.02 * scatter(None)


def test_level_or_shift_alone():
    scan = MovingScan.of()
    level, shift = aligned(scan, align="level"), aligned(scan, align="shift")
    assert not level.moves
    assert set(level.levels) == {"transmission", "darkfield", "phase"}
    assert shift.moves
    assert not shift.levels


def test_a_sample_at_rest_is_not_moved():
    found = aligned(MovingScan.of().still)
    assert not found.moves
    assert "left" in found.words


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cut_off": True}, "the sample leaves the view"),
        ({"offset_axis": True}, "halves are joined"),
        ({"scan": MovingScan.of(count=8)}, "need 12 projections"),
    ],
)
def test_nothing_is_taken_off_where_moments_do_not_tell(caplog, given, words):
    scan = given.pop("scan", MovingScan.of())
    with caplog.at_level(logging.WARNING):
        found = aligned(scan, **given)
    assert not found.moves
    assert not found.levels
    assert words in found.words
    assert words in caplog.text


def test_an_unseen_cut_is_seen_by_the_mass(caplog):
    scan = MovingScan.of(drift=0.0)
    images = {name: values[..., 50:90] for name, values in images_of(scan).items()}
    with caplog.at_level(logging.WARNING):
        found = aligned(scan, images=images)
    assert not found.moves
    assert "mass of the rows varies" in caplog.text


def test_less_than_a_half_turn_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        found = aligned(MovingScan.of(span_deg=120.0))
    assert found.moves
    assert "covers 120 degrees" in caplog.text


def test_a_dark_field_of_fibres_keeps_its_level(caplog):
    scan = MovingScan.of()
    images = images_of(scan)
    twice = np.cos(2 * np.deg2rad(scan.angles_deg))[:, None, None]
    images["darkfield"] = np.exp(-0.5 * scan.integrals() * (1 + 0.3 * twice))
    with caplog.at_level(logging.WARNING):
        found = aligned(scan, images=images)
    assert set(found.levels) == {"transmission", "phase"}
    assert "as that of fibres that scatter is" in caplog.text
