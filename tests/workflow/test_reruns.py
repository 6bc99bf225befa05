"""What makes a finished result out of date, and what does not."""

from __future__ import annotations

import shutil

import pytest
from safetensors.torch import load_file, save_file

from speckleflow.weights import find
from tests.workflow.conftest import Project, tiny_config

pytestmark = pytest.mark.workflow


def plan_of(project: Project, *targets: str) -> str:
    """What Snakemake would do."""
    done = project.run(*targets, "--dry-run", "--quiet", "rules")
    return done.stdout + done.stderr


def plan_after(finished: Project, tmp_path, **sections) -> str:
    """What Snakemake would do if the finished scan's configuration were changed."""
    shutil.copytree(finished.folder, tmp_path / "p", symlinks=True)
    changed = Project(tmp_path / "p", tiny_config(**sections))
    return plan_of(changed)


@pytest.mark.parametrize(
    "sections",
    [
        {"execution": {"retrieval": {"projections_per_block": 4, "device": "auto", "threads": 2}}},
        {"execution": {"tomography": {"rows_per_slab": 16, "threads": 2}}},
    ],
    ids=["retrieval", "tomography"],
)
def test_where_and_how_fast_it_is_computed_changes_nothing(finished, tmp_path, sections):
    assert "Nothing to be done" in plan_after(finished, tmp_path, **sections)


def test_a_changed_filter_is_reconstructed_and_not_retrieved_again(finished, tmp_path):
    planned = plan_after(finished, tmp_path, tomography={"filter": "hann"})
    assert "reconstruct" in planned
    assert "retrieve " not in planned


def test_other_weights_are_retrieved_again_and_the_same_elsewhere_are_not(project):
    mine = project(retrieval={"method": "espinnet", "espinnet": {"weights": "mine.safetensors"}})
    weights, fields = mine.folder / "mine.safetensors", "results/tiny/fields/block_0000.h5"
    without = mine.run(fields, check=False)
    assert "weights: expected a file, found no mine.safetensors" in without.stdout + without.stderr
    shutil.copy(find("espinnet", "shipped"), weights)
    mine.run(fields)
    weights.touch()
    assert "Nothing to be done" in plan_of(mine, fields)
    tensors, about = load_file(weights), {"network": "espinnet-fast"}
    save_file({name: 0.99 * tensor for name, tensor in tensors.items()}, weights, about)
    assert "retrieve" in plan_of(mine, fields)
