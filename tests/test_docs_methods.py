"""Every method of the package has its card, with all that a user asks for, and stands in both lists of methods."""

from __future__ import annotations

from pathlib import Path

import pytest

from speckleflow.retrieval.registry import specs

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "docs" / "methods"
OURS = sorted(name for name, spec in specs().items() if spec.class_path.startswith("speckleflow."))


@pytest.mark.parametrize("name", OURS)
def test_a_method_has_a_card(name):
    text = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    for part in ("Assumption", "Equation", "Parameters", "Cost", "When it fails"):
        assert f"**{part}.**" in text, part
    settings = specs()[name].settings
    for key in () if settings is None else settings.model_fields:
        assert f"`{key}`" in text, f"parameter {key}"


@pytest.mark.parametrize("page", ["README.md", "docs/methods/README.md"])
def test_lists_of_methods_are_complete(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    missing = [name for name in OURS if f"`{name}`" not in text and f"[{name}]" not in text]
    assert not missing
