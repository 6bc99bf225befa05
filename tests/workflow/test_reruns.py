"""What makes a finished result out of date, and what does not."""

from __future__ import annotations

import shutil

import pytest

from tests.workflow.conftest import Project, tiny_config

pytestmark = pytest.mark.workflow


def plan_after(finished: Project, tmp_path, **sections) -> str:
    """What Snakemake would do if the finished scan's configuration were changed."""
    shutil.copytree(finished.folder, tmp_path / "p", symlinks=True)
    changed = Project(tmp_path / "p", tiny_config(**sections))
    done = changed.run("--dry-run", "--quiet", "rules")
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "sections",
    [
        {"retrieval": {"device": "auto", "threads": 2}},
        {"tomography": {"device": "cuda", "threads": 2}},
    ],
    ids=["retrieval", "tomography"],
)
def test_where_and_how_fast_it_is_computed_changes_nothing(finished, tmp_path, sections):
    assert "Nothing to be done" in plan_after(finished, tmp_path, **sections)


def test_a_changed_filter_is_reconstructed_and_not_retrieved_again(finished, tmp_path):
    planned = plan_after(finished, tmp_path, tomography={"filter": "hann"})
    assert "reconstruct" in planned
    assert "retrieve " not in planned
