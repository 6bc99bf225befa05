"""The generated page and schema are those on disk; the shipped configurations are valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from speckleflow.config import docs, load_config, load_scans
from speckleflow.config.load import keys

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("path", "text"), [(docs.README, docs.readme()), (docs.SCHEMA, docs.schema())])
def test_generated_files_have_not_drifted(path, text):
    assert (ROOT / path).read_text(encoding="utf-8") == text, "run `make config-docs`"


def test_every_key_is_documented():
    page = docs.readme()
    for key in keys():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{key}` |"))
        assert len(row.split(" | ")[-1].strip(" |")) > 10, f"{key} has no description"


@pytest.mark.parametrize(
    "config", ["config.yaml", "examples/four-rods.yaml", "examples/tooth.yaml", "examples/foam-waves.yaml"]
)
def test_shipped_configurations_are_valid(config):
    assert load_scans(load_config(ROOT / "config" / config), ROOT)
