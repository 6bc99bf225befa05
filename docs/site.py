"""The documentation as a web site: python docs/site.py (make docs); links are checked, a broken one is an error.

The pages keep their places: what links from one Markdown file of the repository to another works on the site as it does
in the repository. The pages on Python and on the command line are made of the docstrings.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import typer

import speckleflow
from speckleflow import api
from speckleflow.cli import app

ROOT = Path(__file__).resolve().parents[1]
#: what becomes part of the site, below the repository; files beside the pages are linked to
PARTS = (
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "CITATION.cff", "docs/**/*", "config/README.md",
    "config/**/*.yaml", "envs/README.md", "envs/Dockerfile", "benchmarks/**/*.md", "benchmarks/**/*.png",
)  # fmt: skip
#: name in the menu -> page, in the order of the menu
MENU: dict[str, dict[str, str] | str] = {
    "Start": "README.md",
    "How to": {
        "Your raw data": "docs/raw-data.md",
        "Outputs and viewers": "docs/outputs.md",
        "On a cluster": "docs/cluster.md",
        "From a laptop to 50 nodes": "docs/scale.md",
    },
    "Methods": "docs/methods/README.md",
    "Reference": {
        "Configuration": "config/README.md",
        "Command line": "docs/command-line.md",
        "Python": "docs/python.md",
    },
    "Background": {
        "Physics and conventions": "docs/physics.md",
        "Comparison with other programs": "docs/comparison.md",
        "Architecture": "docs/architecture.md",
    },
    "Contributing": "CONTRIBUTING.md",
    "Changes": "CHANGELOG.md",
}


def assemble(root: Path, source: Path) -> None:
    """Copy the pages, and what they link to, into a new folder, and write those made of docstrings."""
    shutil.rmtree(source, ignore_errors=True)
    for pattern in PARTS:
        for path in root.glob(pattern):
            if path.is_file() and "__pycache__" not in path.parts:
                target = source / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    (source / "docs/python.md").write_text(python_page(), encoding="utf-8")
    (source / "docs/command-line.md").write_text(command_page(), encoding="utf-8")


def python_page() -> str:
    """Every public name with its signature and docstring."""
    parts = ["# Python\n", f"{inspect.getdoc(api)}\n"]
    for name in speckleflow.__all__:
        item = getattr(speckleflow, name)
        if callable(item):
            parts += [f"## speckleflow.{name}\n", *_entry(item, f"speckleflow.{name}")]
            if inspect.isclass(item):
                for key, member in vars(item).items():
                    if not key.startswith("_") and (
                        inspect.isfunction(member) or isinstance(member, property)
                    ):
                        parts += [f"### {name}.{key}\n", *_entry(member, key)]
    return "\n".join(parts)


def _entry(item: object, name: str) -> list[str]:
    words = inspect.getdoc(item) or ""
    if isinstance(item, property):
        return [f"{words}\n"]
    signature = re.sub(r"\s+", " ", str(inspect.signature(item)))  # type: ignore[arg-type]
    return [f"```python\n{name}{signature}\n```\n", f"```text\n{words}\n```\n"]


def command_page() -> str:
    """Every command with its arguments and options."""
    group = typer.main.get_command(app)
    parts = ["# Command line\n"]
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        parts += [f"## speckleflow {name}\n", f"{inspect.cleandoc(command.help or '')}\n"]
        parts += ["| | meaning | default |", "|---|---|---|"]
        for parameter in command.params:
            words = "" if parameter.name == "help" else (getattr(parameter, "help", "") or "")
            shown = ", ".join(parameter.opts) if parameter.opts[0].startswith("-") else parameter.name.upper()
            default = (
                "" if parameter.default in (None, False, ()) or parameter.required else parameter.default
            )
            if parameter.name != "help":
                parts.append(f"| `{shown}` | {words.replace('|', chr(92) + '|')} | {default} |")
        parts.append("")
    return "\n".join(parts)


def menu() -> str:
    """The menu for mkdocs.yml."""
    lines = []
    for name, page in MENU.items():
        if isinstance(page, str):
            lines.append(f"  - {name}: {page}")
        else:
            lines += [f"  - {name}:", *(f"      - {title}: {path}" for title, path in page.items())]
    return "\n".join(lines)


def build(target: Path, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Assemble and build the site below a folder: ``docs`` the pages, ``site`` what they become.

    A broken link is an error of the process that is returned.
    """
    assemble(root, target / "docs")
    settings = (root / "docs/mkdocs.yml").read_text(encoding="utf-8")
    (target / "mkdocs.yml").write_text(settings + "nav:\n" + menu() + "\n", encoding="utf-8")
    return mkdocs(target)


def mkdocs(target: Path) -> subprocess.CompletedProcess[str]:
    """Build the assembled pages."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", "mkdocs.yml"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=target, env=environment, capture_output=True, text=True)


if __name__ == "__main__":
    done = build(ROOT / "build")
    print(done.stdout + done.stderr, end="")
    sys.exit(done.returncode)
