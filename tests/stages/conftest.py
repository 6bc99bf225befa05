"""A small scan whose stages have all been run, once a session."""

from __future__ import annotations

import shutil

import pytest

from tests.raw_scan import RawScan
from tests.stages.chain import Chain


@pytest.fixture(scope="session")
def finished_chain(tmp_path_factory) -> Chain:
    """Raw files and results of 6 projections x 3 positions x 24 x 48 px; read only."""
    raw = RawScan(tmp_path_factory.mktemp("chain"), projections=6, size=(24, 48)).write()
    return Chain(raw).run()


@pytest.fixture
def chain(finished_chain, tmp_path) -> Chain:
    """A copy of the finished scan that a test may damage; times of change are kept."""
    shutil.copytree(finished_chain.raw.root, tmp_path / "p")
    raw = RawScan(tmp_path / "p", projections=6, size=(24, 48))
    return Chain(raw)
