"""The documentation's web site builds without a warning, and a broken link is an error."""

from __future__ import annotations

import importlib.util
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

import speckleflow
from speckleflow.cli import app
from tests.workflow.conftest import ROOT

pytest.importorskip("material", reason="the site is built by mkdocs-material (extra docs)")


@pytest.fixture(scope="module")
def site():
    """The script that builds the site."""
    spec = importlib.util.spec_from_file_location("site_of_the_docs", ROOT / "docs/site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(site, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = site.build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [value for key, value in attrs if key in ("href", "src") and value]


@pytest.mark.slow
def test_every_page_of_the_menu_is_there_and_no_link_is_broken(site, built):
    pages = sorted((built / "site").rglob("*.html"))
    names = {str(path.relative_to(built / "site")) for path in pages}
    flat = [p for item in site.MENU.values() for p in ([item] if isinstance(item, str) else item.values())]
    for page in flat:
        assert re.sub(r"(README)?\.md$", lambda m: "index.html" if m[1] else ".html", page) in names, page
    for path in pages:
        if path.name == "404.html":
            continue
        for link in Links(path.read_text(encoding="utf-8")).found:
            target = link.partition("#")[0]
            if target and not re.match(r"[a-z]+:", target):
                assert (path.parent / target).resolve().exists(), (path.name, link)


@pytest.mark.slow
def test_a_broken_link_is_an_error(site, built):
    page = built / "docs/docs/outputs.md"
    text = page.read_text()
    page.write_text(text + "\n[gone](nowhere.md)\n")
    done = site.mkdocs(built)
    page.write_text(text)
    assert done.returncode != 0
    assert "nowhere.md" in done.stdout + done.stderr


@pytest.mark.slow
def test_reference_pages_name_all_there_is(built):
    python = (built / "docs/docs/python.md").read_text()
    for name in set(speckleflow.__all__) - {"__version__"}:
        assert f"## speckleflow.{name}\n" in python
    commands = (built / "docs/docs/command-line.md").read_text()
    for info in app.registered_commands:
        assert info.callback is not None
        name = info.name or info.callback.__name__
        assert f"## speckleflow {name}\n" in commands
    assert "`--axis`" in commands


def test_citation_and_hooks_are_readable():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == speckleflow.__version__
    assert all(reference["title"] and reference["year"] for reference in citation["references"])
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    pinned = dict(
        line.split("==") for line in (ROOT / "requirements.lock").read_text().split() if "==" in line
    )
    for repo in hooks["repos"]:
        for tool in ("ruff", "snakefmt"):
            if f"/{tool}" in repo["repo"]:
                assert repo["rev"] == f"v{pinned[tool]}"
