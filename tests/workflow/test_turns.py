"""A foam that forms while it goes on turning, through the real Snakemake: a volume of every turn, at its time."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from speckleflow.simulate.foaming import foaming
from speckleflow.simulate.phantoms import unit_of
from tests.once import once

pytestmark = pytest.mark.workflow

TURNS, EACH, STEP_S, SIZE = 2, 24, 0.25, (32, 64)


@pytest.fixture(scope="session")
def turning(tmp_path_factory):
    from tests.workflow.conftest import Project, tiny_config

    config = tiny_config(
        simulate={
            "projections": TURNS * EACH,
            "positions": 4,
            "phantom": "foaming",
            "rotation_deg": 360 * TURNS,
            "frame_s": STEP_S,
            "seed": 3,
        },
        geometry={"axis": "both", "frame_s": STEP_S},
        execution={
            "retrieval": {"projections_per_block": 20, "threads": 1},
            "tomography": {"rows_per_slab": 16, "threads": 1},
        },
    )
    return Project(once(tmp_path_factory, "turning", lambda folder: Project(folder, config).run()))


def test_every_turn_has_the_foam_of_its_time(turning):
    with h5py.File(turning.results() / "volumes.h5") as file:
        found, times = file["delta"][:], file["turn_time_s"][:]
        voxel = float(file.attrs["voxel_size_m"])
    np.testing.assert_allclose(times, STEP_S * (EACH * np.arange(TURNS) + (EACH - 1) / 2))
    frames = (STEP_S * np.arange(TURNS * EACH)).tolist()
    samples = foaming(unit_of(voxel, *SIZE), frames, 3)[::4]
    rows, columns = SIZE
    volumes = [sample.voxels(20.0, voxel, rows, columns, 0, rows)[0][0].numpy() for sample in samples]
    true = np.stack(volumes).reshape(TURNS, -1, rows, columns, columns).mean(1)
    assert found.shape == true.shape
    # what differs between the turns does so in the volume of the same turn
    inside = slice(2, -2)
    change = [(volume[1] - volume[0])[inside, 6:-6, 6:-6].ravel() for volume in (found, true)]
    assert np.corrcoef(*change)[0, 1] > 0.35  # measured 0.49; of exchanged turns -0.49
    assert np.corrcoef(found[0].ravel(), true[0].ravel())[0, 1] > 0.85  # measured 0.92


def test_the_report_and_a_second_run(turning):
    page = (turning.results() / "report.html").read_text()
    assert '"2.875 s", "8.875 s"' in page
    done = turning.run("--dry-run")
    assert "Nothing to be done" in done.stderr + done.stdout
