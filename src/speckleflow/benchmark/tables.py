"""Rows as CSV and Markdown, and the page of all parts."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speckleflow.benchmark.part import Conditions, Row
from speckleflow.io.atomic import atomic_path

if TYPE_CHECKING:
    from speckleflow.benchmark.engine import Result


def columns(rows: Sequence[Row]) -> list[str]:
    """Every key, in the order in which the rows first have it."""
    return list(dict.fromkeys(key for row in rows for key in row))


def cell(value: Any) -> str:
    """A value as a table shows it: four digits of a number, nothing for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Rows as CSV; what a row lacks is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = columns(rows)
    writer.writerow(names)
    writer.writerows([cell(row.get(name)) for name in names] for row in rows)
    with atomic_path(path) as private:
        private.write_text(text.getvalue())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a table of :func:`write_csv`."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    names = columns(rows)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [cell(row.get(name)).replace("|", "\\|") for name in names]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_index(results: Sequence[Result], conditions: Conditions, out: Path) -> None:
    """``README.md``: every part with its table, its picture and how it differs from what was published."""
    kind = "Quick run: small sizes, few repetitions." if conditions.quick else "Full run."
    lines = [
        "# Benchmark\n",
        f"Made by `speckleflow benchmark{' --quick' if conditions.quick else ''}`. {kind} Every random number is "
        "seeded. Seconds are of the processor unless a column says clock. *limit*: the Cramer-Rao bound that photons "
        "set without prior knowledge (docs/methods/README.md names the methods); a method that assumes a smooth "
        "sample can fall below it.\n",
    ]
    for result in results:
        part, record = result.part, result.record
        lines.append(f"## {part.title}\n")
        lines.append(f"`{part.name}`: {part.repeats}\n")
        if not record:
            lines.append(f"Not measured: {result.reason}.\n")
            continue
        lines += [markdown(record["rows"]), f"{part.differs}\n"]
        lines += [f"{note}\n" for note in record["notes"]]
        if record["picture"]:
            lines.append(f"![{part.title}]({part.name}.png)\n")
        names = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        lines.append(
            f"{record['seconds']:.0f} s on {record['machine']}; {record['threads']} threads; {names}; "
            f"commit {record['commit']}.\n"
        )
    with atomic_path(out / "README.md") as private:
        private.write_text("\n".join(lines))
