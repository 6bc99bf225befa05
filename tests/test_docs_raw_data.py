"""The configurations that docs/raw-data.md shows are configurations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from speckleflow.config import parse_config
from speckleflow.config.models import coupled_problems
from speckleflow.io.patterns import Pattern, parse_positions

PAGE = (Path(__file__).parents[1] / "docs/raw-data.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_yaml_of_the_page(block: str):
    config = parse_config(yaml.safe_load(block), "docs/raw-data.md")
    assert coupled_problems(config) == []
    for key in ("sample", "reference", "flat", "dark"):
        if (text := getattr(config.files, key)) is not None:
            Pattern(text, key)
    if config.files.positions != "auto":
        parse_positions(config.files.positions)


def test_the_page_has_them():
    assert len(BLOCKS) == 11
