"""A sample that changes while it goes on turning: a volume of every turn, each voxel at its place and time."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from speckleflow.config import parse_config
from speckleflow.config.models import coupled_problems
from speckleflow.errors import InputError
from speckleflow.inspection.scan import inspect_scan
from speckleflow.io.base import InputProblems
from speckleflow.scan.manifest import Manifest
from speckleflow.stages.fsc import correlate_files
from speckleflow.tomo.turns import turn_ranges
from speckleflow.workflow.plan import plan_scan
from tests.raw_scan import DARK, RawScan, write_data_exchange
from tests.stages.chain import Chain
from tests.tomo.ellipses import Ellipse, image, sinogram

TURNS, EACH, REST, ROWS, COLUMNS, AXIS, PIXEL_UM, FRAME_S = 3, 60, 7, 6, 48, 22.4, 2.0, 0.05
COUNT = TURNS * EACH + REST


def ellipses(turn: int) -> list[Ellipse]:
    """A disc that moves and an ellipse that turns from one turn to the next."""
    return [
        Ellipse(0.02, x=-8.0 + 7 * turn, y=5.0 - 5 * turn, a=6.0, b=6.0),
        Ellipse(0.015, x=2.0, y=-9.0, a=7.0, b=3.0, turn_deg=50.0 * turn),
    ]


class Turning(RawScan):
    """An absorption scan over three turns and a little more; row k is (1 + k / 10) times as dense as the first."""

    def __post_init__(self) -> None:
        self.angles_deg = 30.0 + 360 * np.arange(COUNT) / EACH
        lines = [
            sinogram(ellipses(turn), self.angles_deg[turn * EACH : (turn + 1) * EACH], COLUMNS, AXIS, 4)
            for turn in range(TURNS + 1)
        ]
        dense = 1 + 0.1 * np.arange(ROWS)
        light = 30000 * np.exp(-np.concatenate(lines)[:, None] * dense[:, None])
        rng = np.random.default_rng(2)
        self.recorded = (DARK + rng.poisson(light)).astype(np.uint16)
        self.flat = (DARK + rng.poisson(30000, (20, ROWS, COLUMNS))).astype(np.uint16)
        self.recorded_deg = self.angles_deg

    def write(self) -> Turning:
        write_data_exchange(
            self.root / "raw/a/scan.h5",
            self.recorded,
            flats=self.flat,
            darks=np.full((6, ROWS, COLUMNS), DARK, np.uint16),
            angles_deg=self.recorded_deg,
            pixel_size_um=PIXEL_UM,
        )
        return self


def sections(**geometry: object) -> dict:
    return {
        "files": {"sample": "raw/{scan}/scan.h5", "reference": None},
        "geometry": {"axis": "both", "frame_s": FRAME_S, **geometry},
        "correct": {"flux": "none"},
        "retrieval": {"method": "absorption"},
        "tomography": {"axis_px": "auto"},
    }


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Chain:
    """Blocks and slabs that are cut elsewhere than the turns."""
    raw = Turning(tmp_path_factory.mktemp("turns")).write()
    # recorded within one turn, as many stages do
    made = Chain(raw, ((0, 50), (50, 130), (130, COUNT)), ((0, 2), (2, ROWS)), sections())
    for name, call in made.steps():
        if not name.startswith("integrate"):
            call() if name != "assemble" else assemble(made)
    return made


def assemble(chain: Chain) -> None:
    from speckleflow.stages.assemble import assemble_projections

    assemble_projections(
        chain.spec,
        manifest=chain.manifest,
        fields=chain.files("fields"),
        phases=[],
        output=chain.path("projections.h5"),
        tomographic=True,
    )


def truth(turn: int) -> NDArray[np.float64]:
    """mu (z, y, x) of a turn in 1/m."""
    dense = 1 + 0.1 * np.arange(ROWS)
    return image(ellipses(turn), COLUMNS, 4) * dense[:, None, None] / (PIXEL_UM * 1e-6)


def test_each_voxel_of_each_turn_is_where_it_belongs(chain):
    with h5py.File(chain.path("volumes.h5")) as file:
        assert file["mu"].shape == (TURNS, ROWS, COLUMNS, COLUMNS)
        found, std = file["mu"][:], file["mu_std"][:]
        assert file.attrs["axes"].startswith("time (of each turn), z")
        assert file.attrs["rotation_axis_px"] == pytest.approx(AXIS, abs=0.1)
        middle = (np.arange(TURNS) * EACH + (EACH - 1) / 2) * FRAME_S
        np.testing.assert_allclose(file["turn_time_s"][:], middle)
        assert list(file["entry/mu"].attrs["axes"]) == ["time", "z", "y", "x"]
        np.testing.assert_allclose(file["entry/mu/time"][:], middle)
        assert file["mu"].attrs["sinogram_values"] == TURNS * EACH * ROWS * COLUMNS
    errors = np.array(
        [
            [np.sqrt(np.mean((found[a] - truth(b)) ** 2)) / truth(b).std() for b in range(TURNS)]
            for a in range(TURNS)
        ]
    )
    assert errors.diagonal().max() < 0.35  # edges of a few pixels; measured 0.27
    assert (errors + 9 * np.eye(TURNS)).min() > 0.7  # every other turn
    for turn in range(TURNS):
        disc = ellipses(turn)[0]
        core = image([Ellipse(1.0, disc.x, disc.y, 4, 4)], COLUMNS) == 1
        rows = found[turn][:, core].mean(1) / truth(turn)[:, core].mean(1)
        np.testing.assert_allclose(rows, 1, atol=0.05)
    assert np.isfinite(std).all()


def test_the_axis_is_that_of_one_turn(chain):
    with h5py.File(chain.path("projections.h5")) as file:
        assert file["turns"][:].tolist() == [[0, 60], [60, 120], [120, 180]]
        assert list(file["entry/transmission"].attrs["axes"]) == ["rotation_angle", "y", "x"]


def test_what_is_left_over_is_told(chain):
    manifest = Manifest.load(chain.manifest)
    assert [w for w in manifest.warnings if "after the last whole turn of 3" in w] == [
        "7 projections after the last whole turn of 3 are in no volume"
    ]
    assert not [w for w in manifest.warnings if "half turns one after the other" in w]


def test_the_report_shows_every_time(chain):
    chain.report()
    page = chain.path("report.html").read_text()
    told = page.split('id="volume-data"', 1)[1].split(">", 1)[1].split("</script>", 1)[0]
    shown = json.loads(told)
    assert shown["labels"] == ["1.475 s", "4.475 s", "7.475 s"]
    assert len(shown["volumes"][0]["times"]) == TURNS


def test_every_turn_is_exported(chain):
    folder = chain.export("tiff")
    for turn in range(TURNS):
        with h5py.File(chain.path("volumes.h5")) as file:
            values = file["mu"][turn]
        np.testing.assert_array_equal(tifffile.imread(folder / f"turn_{turn:04d}/mu.tif"), values)
    record = json.loads((folder / "export.json").read_text())
    assert record["time_s"] == pytest.approx([1.475, 4.475, 7.475])
    assert record["shape_zyx"] == [ROWS, COLUMNS, COLUMNS]


def test_what_takes_one_volume_says_so(chain, tmp_path):
    volumes = chain.path("volumes.h5")
    with pytest.raises(InputError, match=r"one of each of 3 turns; tiff, tiff16 and ome-zarr write a folder"):
        chain.export("xdmf")
    with pytest.raises(InputError, match=r"one of each of 3 turns; compare scans of one turn"):
        correlate_files(volumes, volumes, "mu", tmp_path / "fsc.png")


def test_angles_recorded_within_one_turn(tmp_path):
    raw = Turning(tmp_path)
    raw.recorded_deg = raw.angles_deg % 360
    manifest = inspect_scan(raw.write().spec(**sections()))
    np.testing.assert_allclose(np.asarray(manifest.angles_deg), raw.angles_deg)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("back", r"angles that go on one way .*found 78 degrees at projection 9 after 84"),
        ("short", r"a whole turn of 360 degrees in several projections .*found 187 projections over 186 deg"),
    ],
)
def test_angles_that_are_no_rotation(tmp_path, change, sentence):
    raw = Turning(tmp_path)
    angles = raw.angles_deg.copy()
    if change == "back":
        angles[[8, 9]] = angles[[9, 8]]
    else:
        angles = 30 + np.arange(COUNT, dtype=float)
    raw.recorded_deg = angles
    with pytest.raises(InputProblems, match=sentence):
        inspect_scan(raw.write().spec(**sections()))


def test_settings_that_contradict_each_other():
    def problems(**given: dict) -> str:
        return " ".join(coupled_problems(parse_config({"geometry": {"axis": "both"}, **given}, "test")))

    assert "geometry.frame_s, found null" in problems()
    assert "found tomography.enabled: no" in problems(tomography={"enabled": "no"})
    assert "output: xdmf names one volume" in problems(output=["xdmf"])


@pytest.mark.parametrize(
    ("count", "step", "turn", "ranges"),
    [
        (24, 30.0, 360, [(0, 12), (12, 24)]),
        (25, 30.0, 360, [(0, 12), (12, 24)]),  # the first angle again
        (23, 30.0, 360, [(0, 12), (12, 23)]),  # the last projection is not there
        (22, 30.0, 360, [(0, 12)]),
        (24, -30.0, 180, [(0, 6), (6, 12), (12, 18), (18, 24)]),
        (29, 50.0, 360, [(0, 8), (8, 15), (15, 22), (22, 29)]),
        (5, 30.0, 360, []),
    ],
)
def test_turns(count, step, turn, ranges):
    assert turn_ranges(11 + step * np.arange(count), turn) == ranges


def test_the_plan_asks_for_the_turns(tmp_path):
    raw = Turning(tmp_path).write()
    ranged = {"angles": "range", "angle_stop_deg": 1080.0}
    many, one = (
        plan_scan(raw.spec(**sections(**ranged, **axis))) for axis in ({}, {"axis": "angle", "frame_s": None})
    )
    assert (many.turns, one.turns) == (3, 1)
    for stage in ("reconstruct", "volume", "export"):  # one turn at a time
        assert many.memory_mb(stage) == one.memory_mb(stage)
