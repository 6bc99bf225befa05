"""A diffuser that moves during the scan: each projection has the reference of its time."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from tests.raw_scan import DARK, RawScan
from tests.stages.chain import Chain

from speckleflow.config import parse_config
from speckleflow.correction.moved import pattern_motion, shifted
from speckleflow.correction.references import ReferenceSets
from speckleflow.errors import ConfigError, InputError
from speckleflow.inspection.scan import inspect_scan
from speckleflow.io.base import InputProblems
from speckleflow.scan.manifest import Manifest

COUNT, SIZE, POSITIONS = 8, (36, 72), 3
#: movement in pixels (y, x) after which times; of a jump in the middle, and of an even drift
WAY = (0.3, -0.4)
AIR = [12, 12, 0, 0]


def speckle(seed: int) -> NDArray[np.float64]:
    """Transform of a pattern of speckles of 4 px that repeats at the edges."""
    white = np.random.default_rng(seed).standard_normal(SIZE)
    fy, fx = np.fft.fftfreq(SIZE[0])[:, None], np.fft.fftfreq(SIZE[1])
    return np.fft.fft2(white) * np.exp(-2 * (np.pi * 1.5) ** 2 * (fy**2 + fx**2))


def pattern(position: int, moved: float) -> NDArray[np.float64]:
    """The pattern of a position after a part of the way."""
    fy, fx = np.fft.fftfreq(SIZE[0])[:, None], np.fft.fftfreq(SIZE[1])
    phase = np.exp(-2j * np.pi * moved * (WAY[0] * fy + WAY[1] * fx))
    made = np.fft.ifft2(speckle(position) * phase).real
    return 1 + 0.2 * made / np.fft.ifft2(speckle(position)).real.std()


class Moving(RawScan):
    """A scan whose diffuser has gone a part of its way at each projection, and at each set of references."""

    def __init__(
        self, root: Path, way: NDArray, sets: list[float], repeats: int = 2, **kinds: object
    ) -> None:
        self.way, self.sets, self.repeats = way, sets, repeats
        super().__init__(root, projections=COUNT, positions=POSITIONS, size=SIZE, **kinds)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(3)
        y, x = np.indices(SIZE)
        self.angles_deg = 180 * np.arange(COUNT) / COUNT
        self.transmission = np.where(((y - 18) / 9) ** 2 + ((x - 36) / 12) ** 2 < 1, 0.8, 1.0)
        beam = 20000 * np.exp(-(((y - 18) / 60) ** 2))

        def counts(light: NDArray) -> NDArray:
            return np.rint(DARK + rng.poisson(light)).astype(np.uint16)

        for n in range(POSITIONS):
            sample, reference = f"sample_{n + 1:02d}", f"reference_{n + 1:02d}"
            light = [beam * self.transmission * pattern(n, way) for way in self.way]
            self.frames[sample] = counts(np.stack(light))
            light = [beam * pattern(n, way) for way in self.sets for _ in range(self.repeats)]
            self.frames[reference] = counts(np.stack(light))
            for name in (sample, reference):
                self.flats[name] = counts(np.repeat(beam[None], 6, 0))
                self.darks[name] = counts(np.zeros((6, *SIZE)))
                self.angles[name] = self.angles_deg if name == sample else None

    def settings(self, references: str, places: object = None, **correct: object) -> dict:
        asked = {"references": references, "air_px": AIR, "drift": False, **correct}
        if places is not None:
            asked["reference_places"] = places
        return {
            "files": {"positions": "auto"},
            "correct": asked,
            "retrieval": {"method": "umpa", "umpa": {"window": 9}},
            "tomography": {"enabled": "no"},
        }


JUMP = np.where(np.arange(COUNT) < COUNT // 2, 0.0, 1.0)
DRIFT = (np.arange(COUNT) + 0.5) / COUNT


def displacement(chain: Chain) -> NDArray[np.float64]:
    """Mean displacement (projection, 2) as (y, x) and dark field in the air."""
    chain.inspect()
    chain.correct()
    air = []
    for number, path in enumerate(chain.files("fields")):
        chain.retrieve(number)
        with h5py.File(path) as file:
            parts = [file[name][:, 8:-8, 8:14].mean((1, 2)) for name in ("uy", "ux", "darkfield")]
            air.append(np.stack(parts, 1))
    return np.concatenate(air)


BLOCKS = ((0, 3), (3, 6), (6, 8))


@pytest.mark.parametrize(
    ("way", "references", "sets", "places"),
    [
        (JUMP, "nearest", [0, 1], [0, COUNT]),
        (JUMP, "interpolate", [0, 0, 1, 1], [0, 3, 5, COUNT]),
        (DRIFT, "interpolate", [0, 1], [0, COUNT]),
        (1.6 * DRIFT, "interpolate", [0, 0.8, 1.6], [0, COUNT // 2, COUNT]),
    ],
)
def test_the_air_stands_still(tmp_path, way, references, sets, places):
    """Against the reference of its time the displacement in the air is 0; the dark field 1, though two are mixed."""
    moving = Moving(tmp_path, way, sets)
    moving.write()
    chain = Chain(moving, BLOCKS, sections=moving.settings(references, places))
    found = displacement(chain)
    still = np.ones(COUNT, bool)
    if references == "interpolate" and way is JUMP:  # nothing says when between the sets it moved
        still[3:5] = False
    np.testing.assert_allclose(found[still, :2], 0, atol=0.02)
    np.testing.assert_allclose(found[still, 2], 1, atol=0.02)
    words = Manifest.load(chain.manifest).references
    assert f"{len(sets)} sets, after {', '.join(map(str, places))} projections" in words


def test_the_mean_of_the_sets_is_wrong_and_told(tmp_path):
    moving = Moving(tmp_path, JUMP, [0, 1])
    moving.write()
    chain = Chain(moving, BLOCKS, sections=moving.settings("mean", [0, COUNT]))
    found = displacement(chain)
    half = np.array(WAY) / 2
    np.testing.assert_allclose(found[:, :2], np.where(JUMP[:, None] > 0, half, -half), atol=0.03)
    manifest = Manifest.load(chain.manifest)
    told = [warning for warning in manifest.warnings if "moved by" in warning]
    assert len(told) == POSITIONS
    assert "nearest" in told[0]
    moved = float(told[0].split("moved by ")[1].split(" px")[0])
    assert moved == pytest.approx(0.5, abs=0.03)
    # sets that do not differ are no matter
    same = Moving(tmp_path / "same", 0 * JUMP, [0, 0])
    manifest = inspect_scan(same.write().spec(**same.settings("mean", [0, COUNT])))
    assert not [warning for warning in manifest.warnings if "patterns after" in warning]
    assert manifest.references == f"mean of 2 sets, after 0, {COUNT} projections"


def test_the_file_says_when_the_references_were_recorded(tmp_path):
    """NXtomo that records the diffuser as its flats, before, between and after the projections."""
    moving = Moving(tmp_path, JUMP, [0, 1])
    (tmp_path / "raw/a").mkdir(parents=True)
    for n in range(POSITIONS):
        sample, reference = (moving.frames[f"{kind}_{n + 1:02d}"] for kind in ("sample", "reference"))
        darks = moving.darks[f"sample_{n + 1:02d}"]
        with h5py.File(tmp_path / f"raw/a/sample_{n + 1:02d}.h5", "w") as file:
            file["entry/definition"] = "NXtomo"
            file["entry/instrument/detector/data"] = np.concatenate(
                [darks, reference[:2], sample[:5], reference[2:], sample[5:]]
            )
            keys = np.repeat([2, 1, 0, 1, 0], [6, 2, 5, 2, COUNT - 5])
            file["entry/instrument/detector/image_key"] = keys
            angles = np.zeros(len(keys))
            angles[keys == 0] = moving.angles_deg
            file["entry/sample/rotation_angle"] = angles
            file["entry/sample/rotation_angle"].attrs["units"] = "deg"
    sections = moving.settings("nearest")
    sections["files"] = {"reference": "raw/a/sample_{position:02d}.h5", "reference_dataset": "flats"}
    sections["geometry"] = moving.metadata
    chain = Chain(moving, BLOCKS, sections=sections)
    found = displacement(chain)
    near = np.where(
        np.arange(COUNT) < 3, 0.0, 1.0
    )  # the second set, after five, is nearer from the fourth on
    truth = (JUMP - near)[:, None] * WAY
    np.testing.assert_allclose(found[:, :2], truth, atol=0.03)


def test_image_names_say_when(tmp_path):
    moving = Moving(tmp_path, JUMP, [0, 1], repeats=1)
    moving.write()
    for n in range(POSITIONS):
        folder = tmp_path / f"raw/a/ref{n + 1}"
        folder.mkdir()
        frames = moving.frames[f"reference_{n + 1:02d}"]
        for place, frame in zip((0, COUNT), frames, strict=True):
            tifffile.imwrite(folder / f"refHST{place:04d}.tif", frame)
    sections = moving.settings("nearest", "names")
    sections["files"] = {"reference": "raw/a/ref{position}"}
    spec = moving.spec(**sections)
    assert f"nearest of 2 sets, after 0, {COUNT} projections" in inspect_scan(spec).references
    sections["correct"]["reference_places"] = "file"
    with pytest.raises(InputProblems, match=r"the times of the reference sets in the file.*reference_places"):
        inspect_scan(moving.spec(**sections))


@pytest.mark.parametrize(
    ("places", "sentence"),
    [
        ([0, 4, COUNT], r"as many reference frames in each of 3 sets.*found 4 reference frames"),
        ([0, 99], r"reference sets after 0 to 8 projections, found after 0, 99"),
        ("names", r"whose name ends in the number of projections before it.*found 1 file\(s\) of 4 frames"),
    ],
)
def test_wrong_places_are_one_sentence(tmp_path, places, sentence):
    moving = Moving(tmp_path, JUMP, [0, 1])
    moving.write()
    with pytest.raises(InputError, match=sentence):
        inspect_scan(moving.spec(**moving.settings("nearest", places)))


@pytest.mark.parametrize("places", [[0, 8, 4], [3, 3], [5], "0,x"])
def test_places_out_of_order_are_refused(places):
    with pytest.raises(ConfigError, match="ascending numbers of projections"):
        parse_config({"correct": {"reference_places": places}}, "test")
    assert parse_config({"correct": {"reference_places": "0, 8"}}, "t").correct.reference_places == (0, 8)


def test_two_patterns_are_not_mixed(tmp_path):
    moving = Moving(tmp_path, 0 * JUMP, [0, 0])
    for n in range(POSITIONS):
        name = f"reference_{n + 1:02d}"
        moving.frames[name] = np.concatenate([moving.frames[name][:2], moving.frames[name][:2, ::-1]])
    moving.write()
    with pytest.raises(InputError, match="one pattern in all reference sets"):
        inspect_scan(moving.spec(**moving.settings("interpolate", [0, COUNT])))
    assert (
        "nearest of 2 sets" in inspect_scan(moving.spec(**moving.settings("nearest", [0, COUNT]))).references
    )


@pytest.mark.parametrize("way", [(0.0, 0.0), (0.2, -0.35), (2.6, 3.3)])
def test_the_movement_of_a_pattern(way):
    y, x = np.indices((90, 110))
    waves = [(0.5, 0.3, 1.0), (-0.4, 0.6, 2.0), (0.2, -0.7, 0.3), (0.65, 0.1, 0.9)]

    def frame(dy: float, dx: float) -> NDArray:
        return sum(1 + 0.1 * np.sin(a * (y - dy) + b * (x - dx) + c) for a, b, c in waves).astype(np.float32)

    rng = np.random.default_rng(1)
    noise = [0.01 * rng.standard_normal(y.shape).astype(np.float32) for _ in range(2)]
    motion = pattern_motion(frame(0, 0) + noise[0], frame(*way) + noise[1])
    assert np.hypot(motion.y_px - way[0], motion.x_px - way[1]) < min(4 * motion.error_px, 0.01)
    moved = shifted(frame(0, 0), *way)[12:-12, 12:-12]
    np.testing.assert_allclose(moved, frame(*way)[12:-12, 12:-12], atol=2e-3)


def test_few_sets_are_held():
    """Each set is read once on the way through a scan, and two are held at a time."""
    read: list[int] = []

    def stack(number: int) -> NDArray:
        read.append(number)
        return np.full((1, 4, 4), float(number), np.float32)

    sets = ReferenceSets(np.arange(0, 50, 10), "interpolate", np.zeros((4, 1, 2)), stack)
    found = [sets.stack(number)[0, 0, 0] for number in range(45)]
    np.testing.assert_allclose(found, np.minimum((np.arange(45) + 0.5) / 10, 4), rtol=1e-6)
    assert read == [0, 1, 2, 3, 4]
    assert len(sets._held) <= 2
