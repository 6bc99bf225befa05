"""Tables of errors: methods beside each other on the same stacks."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError

from speckleflow.errors import ConfigError
from speckleflow.evaluate.held_out import Cell, cells, scenes
from speckleflow.evaluate.metrics import Errors, errors
from speckleflow.io.atomic import atomic_path
from speckleflow.retrieval import registry
from speckleflow.retrieval.base import Fields, Retriever

log = logging.getLogger(__name__)


def contenders(names: Sequence[str], device: str = "cpu") -> dict[str, Retriever]:
    """Methods by the names of the table: a method's, or with settings as in 'umpa:window=7'.

    Raises
    ------
    ConfigError
        An unknown method or setting.
    """
    retrievers = {}
    for name in names:
        method, _, changes = name.partition(":")
        kind = registry.get(method)
        settings: Any = registry.default_settings(method)
        pairs = (part.partition("=") for part in changes.split(",") if part)
        values = {key: yaml.safe_load(value) for key, _, value in pairs}
        if values:
            try:
                settings = type(settings).model_validate({**settings.model_dump(), **values})
            except ValidationError as error:
                first = error.errors()[0]
                raise ConfigError(f"{name}: {first['loc'][0]}: {first['msg']}") from error
        retrievers[name] = kind(settings, device)
    return retrievers


def evaluate_cell(method: Retriever, cell: Cell, count: int = 3) -> Errors | None:
    """Errors of a method in one cell; None where it does not take so few or so many positions."""
    n = cell.positions
    if not method.spec.takes(n):
        return None
    scene = scenes(cell, count)
    fields = [method(s[None], method.prepare(r)) for r, s in zip(scene.reference, scene.sample, strict=True)]
    together = Fields(
        **{name: torch.cat([dict(f.items())[name] for f in fields]) for name, _ in fields[0].items()}
    )
    truth = (scene.ux, scene.uy, scene.transmission, scene.darkfield)
    return errors(together.map(lambda t: t.cpu()), *truth)


def evaluate(
    methods: Sequence[str], table: Sequence[Cell] | None = None, count: int = 3, device: str = "cpu"
) -> list[dict[str, Any]]:
    """Rows (modulator, positions, photons, method, errors...) of all cells and methods."""
    rows: list[dict[str, Any]] = []
    retrievers = contenders(methods, device)
    for cell in cells() if table is None else table:
        for name, method in retrievers.items():
            cell_errors = evaluate_cell(method, cell, count)
            if cell_errors is not None:
                head = {"modulator": cell.modulator, "positions": cell.positions, "photons": cell.photons}
                rows.append(
                    {**head, "transmission_min": cell.transmission_min, "method": name, **cell_errors.row()}
                )
        log.info("%s N = %d, %g photons", cell.modulator, cell.positions, cell.photons)
    return rows


def write_csv(rows: Sequence[dict[str, Any]], path: str | Path) -> None:
    """All rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    with atomic_path(path) as private:
        private.write_text(text.getvalue())


def markdown(rows: Sequence[dict[str, Any]], value: str = "rmse", digits: int = 3) -> str:
    """One value as a table: a line for each modulator and photon number, a column for each N and method."""
    counts = sorted({row["positions"] for row in rows}, reverse=True)
    names = list(dict.fromkeys(row["method"] for row in rows))
    columns = [(n, name) for n in counts for name in names if any(_is(r, n, name) for r in rows)]
    lines = ["| modulator | photons | " + " | ".join(f"N={n} {name}" for n, name in columns) + " |"]
    lines.append("|" + "---|" * (len(columns) + 2))
    for modulator, photons in dict.fromkeys((row["modulator"], row["photons"]) for row in rows):
        here = [r for r in rows if r["modulator"] == modulator and r["photons"] == photons]
        values = []
        for n, name in columns:
            match = [r[value] for r in here if _is(r, n, name)]
            values.append(f"{match[0]:.{digits}f}" if match else "")
        lines.append(f"| {modulator} | {photons:g} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def _is(row: dict[str, Any], positions: int, method: str) -> bool:
    return bool(row["positions"] == positions and row["method"] == method)
