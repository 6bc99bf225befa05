"""The reference page and the schema that follow from the models (a test fails on drift)."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from speckleflow.config.models import Config

README = Path("config/README.md")
SCHEMA = Path("workflow/schemas/config.schema.json")

_HEAD = """# Configuration

`config.yaml` holds what is common to all scans, `scans.tsv` has one scan a row. Any key below may be a
column of the scan table, by its full name (`geometry.energy_kev`) or, where no other section of the
measurement has it, by its last part (`energy_kev`); a cell overrides the file for that scan, an empty cell
overrides nothing. Unknown keys are refused. Try a configuration without computing anything:
`speckleflow inspect config/config.yaml`.

This page and `workflow/schemas/config.schema.json` are generated from `src/speckleflow/config/models.py` by
`make config-docs`.
"""


def schema() -> str:
    """JSON schema of the configuration file, for editors that complete and check YAML."""
    return json.dumps(Config.model_json_schema(), indent=2, sort_keys=True) + "\n"


def readme() -> str:
    """The reference page: a table of keys a section."""
    parts = [_HEAD, "\n## Top level\n", _table(Config, "")]
    parts += list(_sections(Config, ""))
    return "\n".join(parts).rstrip() + "\n"


def write(root: Path) -> None:
    """Write the page and the schema below the project's root."""
    for path, text in ((README, readme()), (SCHEMA, schema())):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def _sections(model: type[BaseModel], prefix: str) -> list[str]:
    found: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            title = " ".join((kind.__doc__ or "").split())
            found += [f"\n## {prefix}{name}\n", f"{title}\n", _table(kind, f"{prefix}{name}.")]
            found += _sections(kind, f"{prefix}{name}.")
    return found


def _table(model: type[BaseModel], prefix: str) -> str:
    lines = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            meaning = (field.description or "").replace("|", "\\|")
            if field.examples:
                meaning += " Examples: " + ", ".join(f"`{_text(e)}`" for e in field.examples) + "."
            lines.append(f"| `{prefix}{name}` | {_values(field)} | `{_text(field.default)}` | {meaning} |")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return "null" if value is None else json.dumps(value).strip('"')


def _values(field: FieldInfo) -> str:
    kind = _kind(field.annotation)
    limits = [_limit(m) for m in field.metadata]
    return ", ".join([kind, *(text for text in limits if text)])


def _limit(constraint: Any) -> str:
    signs = {"gt": ">", "ge": "at least", "lt": "<", "le": "at most"}
    return " ".join(
        f"{word} {getattr(constraint, key)}" for key, word in signs.items() if hasattr(constraint, key)
    )


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        base, *metadata = get_args(annotation)
        limits = [_limit(c) for m in metadata for c in getattr(m, "metadata", [m])]
        return " ".join([_kind(base), *(text for text in limits if text)])
    if origin is Literal:
        return " or ".join(str(a) for a in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(a) for a in get_args(annotation))
    if origin is tuple:
        parts = get_args(annotation)
        if parts[-1] is Ellipsis:
            return f"list of {_kind(parts[0])}"
        return f"list of {len(parts)} numbers"
    return {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}.get(
        annotation, str(annotation)
    )


if __name__ == "__main__":
    write(Path.cwd())
