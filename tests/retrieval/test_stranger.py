"""A method of another distribution: one file and its entry point, from the configuration to the volumes.

It runs in a process whose path holds the other distribution as pip would have installed it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from speckleflow.physics import HC_EV_M

#: of one material: phase and attenuation are both proportional to its thickness
METHOD = '''
from pydantic import Field

from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.retrieval.spec import MethodSpec, linear
from speckleflow.settings import Positive, Section


class Material(Section):
    """One known material."""

    delta: Positive = Field(1e-6, description="Decrement of the refractive index.")
    mu_per_m: Positive = Field(100.0, description="Linear attenuation coefficient in 1/m.")


class Homogeneous(Retriever):
    def _prepare(self, reference, acquisition):
        return reference, 2 * 3.141592653589793 / acquisition.wavelength_m

    def _retrieve(self, sample, state):
        attenuation = -(sample.mean(1) / state[0].mean(0)).log()
        thickness = attenuation / self.settings.mu_per_m
        # the level of the phase is free: 1.7 rad in the air
        return Fields(attenuation=attenuation, phase=1.7 - state[1] * self.settings.delta * thickness)

    def _reference_shape(self, state):
        return tuple(state[0].shape)


SPEC = Homogeneous.spec = MethodSpec(
    name="homogeneous",
    summary="Phase and attenuation of one material.",
    class_path="stranger:Homogeneous",
    output_fields=frozenset({"phase", "attenuation", "transmission"}),
    settings=Material,
    needs=("energy_kev",),
    seconds_per_pixel=linear(1e-5, 1e-6),
    bytes_per_pixel=linear(1000, 10),
)
'''
RUN = """
import json, sys
from pathlib import Path
import h5py
from tests.raw_scan import RawScan
from tests.stages.chain import Chain
from speckleflow.errors import SpeckleflowError
from speckleflow.io.results import open_result
from speckleflow.stages.registry import result_settings
from speckleflow.workflow.plan import plan_scan

root = Path(sys.argv[1])
retrieval = {"method": "homogeneous", "homogeneous": {"delta": 2e-6}}
chain = Chain(RawScan(root, projections=6).write(), sections={"retrieval": retrieval})
for name, step in chain.steps():
    step()
chain.report()
plan = plan_scan(chain.spec)
with open_result(chain.path("projections.h5")) as file, open_result(chain.path("volumes.h5")) as volumes:
    found = {
        "phase": file["phase"][:].tolist(),
        "transmission": file["transmission"][:].tolist(),
        "datasets": sorted(file),
        "boundary": "boundary" in file.attrs,
        "volumes": sorted(volumes),
    }
found["seconds"], found["bytes"], found["has_phase"] = (
    plan.seconds_per_projection, plan.bytes_per_pixel, plan.has_phase
)
found["decides"] = {stage: result_settings(stage, chain.config) for stage in ("retrieve", "integrate")}
blind = RawScan(root / "blind", metadata={"pixel_size_um": 1.3, "distance_m": 0.2}).write()
try:
    Chain(blind, sections={"retrieval": retrieval}).inspect()
except SpeckleflowError as error:
    found["refused"] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    site = tmp_path_factory.mktemp("site")
    (site / "stranger.py").write_text(METHOD)
    about = site / "stranger-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[speckleflow.methods]\nhomogeneous = stranger:SPEC\n")
    root = Path(__file__).resolve().parents[2]
    path = [str(site), str(root / "src"), str(root), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def run(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_runs_from_the_configuration_to_the_volumes(environment, tmp_path):
    found = json.loads(run(environment, "-c", RUN, str(tmp_path)).splitlines()[-1])
    transmission, phase = np.array(found["transmission"]), np.array(found["phase"])
    inside = np.s_[:, 9:15, 15:25]
    steps = 0.7 - 0.02 * np.arange(6)
    # 60,000 counts, rounded: measured 3.9e-6, 1.4e-5 and 5.4e-6
    np.testing.assert_allclose(transmission[inside].mean((1, 2)), steps, atol=1.2e-5)
    # phase = 2 pi / lambda delta / mu ln T; the free level of 1.7 rad is gone
    expected = 2 * np.pi / (HC_EV_M / 20e3) * 2e-6 / 100.0 * np.log(steps)
    np.testing.assert_allclose(phase[inside].mean((1, 2)), expected, rtol=4e-5)
    assert abs(phase[:, :, :3].mean()) < 1.6e-5 * abs(expected.min())
    assert {"phase", "phase_retrieved", "transmission"} <= set(found["datasets"])
    assert not {"attenuation", "curl_px", "ux", "darkfield"} & set(found["datasets"])
    assert not found["boundary"]
    assert {"delta", "mu"} <= set(found["volumes"])
    assert found["has_phase"]
    assert found["seconds"] == pytest.approx((1e-5 + 3e-6) * 24 * 40)
    assert found["bytes"] == 1030
    retrieve, integrate = found["decides"]["retrieve"], found["decides"]["integrate"]
    assert retrieve["homogeneous.delta"] == 2e-6
    assert "geometry.energy_kev" in retrieve
    assert "geometry.distance_m" not in retrieve
    assert {key for key in integrate if key.startswith("integrate.")} == {
        "integrate.ramp",
        "integrate.quadratic",
    }
    assert "geometry.energy_kev in the configuration, found neither" in found["refused"]


def test_it_is_listed_and_its_keys_are_checked(environment):
    table = run(
        environment, "-c", "import sys; sys.argv = ['x', 'methods']; from speckleflow.cli import main; main()"
    )
    assert "homogeneous" in table
    code = (
        "from speckleflow.config import parse_config\n"
        "try:\n    parse_config({'retrieval': {'homogeneous': {'detla': 1}}}, 'mine')\n"
        "except Exception as error:\n    print(error)"
    )
    assert "unknown key 'retrieval.homogeneous.detla'; did you mean 'delta'?" in run(environment, "-c", code)
