"""Formats of the configuration's ``output`` in the real Snakemake."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tifffile

from speckleflow.io.results import open_result
from tests.workflow.conftest import Project, tiny_config

pytestmark = pytest.mark.workflow

FORMATS = ["ome-zarr", "tiff", "tiff16", "xdmf"]


def rules(planned: str) -> set[str]:
    """Names of the rules that would run."""
    return {line.split()[1].rstrip(":") for line in planned.splitlines() if line.startswith("rule ")}


def test_formats_are_made_from_finished_volumes_and_each_alone(finished, tmp_path):
    """A format asked for later repeats nothing; one that was removed is the only one made again."""
    shutil.copytree(finished.folder, tmp_path / "p", symlinks=True)
    project = Project(tmp_path / "p", tiny_config() | {"output": FORMATS})
    assert rules(project.run("--dry-run").stdout) - {"all"} == {"export"}
    project.run()
    folders = {name: project.results() / name for name in FORMATS}
    with open_result(project.results() / "volumes.h5") as file:
        assert np.array_equal(tifffile.imread(folders["tiff"] / "mu.tif"), file["mu"][()])
    for folder in folders.values():
        assert (folder / "export.json").is_file()
    assert "Nothing to be done" in project.run("--dry-run").stdout
    shutil.rmtree(folders["tiff"])
    planned = project.run("--dry-run").stdout
    assert planned.count("rule export:") == 1
    assert "format=tiff\n" in planned
    Project(tmp_path / "p", tiny_config(tomography={"filter": "hann"}) | {"output": FORMATS})
    assert rules(project.run("--dry-run").stdout) >= {"reconstruct", "volume", "export"}
