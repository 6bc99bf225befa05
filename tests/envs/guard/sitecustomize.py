"""Loaded by Python itself at start: speckleflow's code may import only what its stage's file names.

The stage is named by GUARD_STAGE, or by the name that Snakemake gives a script: ``tmpabc.retrieve.py``.
What the packages themselves import is their own affair: conda installs it with them.
"""

import builtins
import os
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

CONDA_TO_PYPI = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def named(file: Path) -> set[str]:
    """The packages in an environment file, by their names on PyPI."""
    found = re.findall(r"^  - ([a-z0-9-]+)=", file.read_text(), flags=re.MULTILINE)
    return {CONDA_TO_PYPI.get(name, name) for name in found}


def stage() -> str | None:
    script = re.search(r"\.([a-z]+)\.py$", sys.orig_argv[-1])
    return os.environ.get("GUARD_STAGE") or (script[1] if script else None)


def guard(file: Path) -> None:
    allowed = named(file)
    owners = packages_distributions()
    real = builtins.__import__

    def checked(name, globals=None, locals=None, fromlist=(), level=0):
        importer = (globals or {}).get("__name__", "")
        package = name.partition(".")[0]
        if importer.partition(".")[0] == "speckleflow" and level == 0 and package != "speckleflow":
            of = {owner.lower().replace("_", "-") for owner in owners.get(package, ())}
            if of and not of & allowed:
                raise ModuleNotFoundError(f"{importer} imports {package}, which {file.name} does not name")
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = checked


if (name := stage()) and (file := Path(os.environ["GUARD_ENVS"], f"{name}.yaml")).exists():
    guard(file)
