"""Errors family by family, with the phase's ratio to the photon limit. Writes benchmarks/families.md and a CSV.

    python benchmarks/families.py [--methods umpa lcs 'xsvt:window=3' ...] [--families smooth ...]

Rows of these methods and families are measured; those of others stay as they are. By default every method that gives a
displacement is measured. Everything is seeded; the scenes conserve light, and the detector's blur is not told.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speckleflow.evaluate.families import FAMILIES, evaluate_families
from speckleflow.evaluate.table import contenders, write_csv
from speckleflow.retrieval.registry import specs

HERE = Path(__file__).parent
COLUMNS = {
    "u_px": ("u, curl off (px)", ".4f"),
    "phase_px2": ("phase (px^2)", ".3f"),
    "limit": ("phase / limit", ".2f"),
    "transmission": ("T", ".4f"),
    "darkfield": ("D", ".4f"),
    "slope": ("slow slope", ".3f"),
    "stated": ("error / stated", ".2f"),
}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as Markdown."""
    names = ["family", "N", "method", *(name for name, _ in COLUMNS.values())]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        values = [format(row[key], style) for key, (_, style) in COLUMNS.items()]
        lines.append(
            f"| {row['family']} | {row['positions']} | {row['method']} | " + " | ".join(values) + " |"
        )
    return "\n".join(lines) + "\n"


def kept(path: Path) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Rows of an earlier run by family, positions and method."""
    if not path.exists():
        return {}
    with path.open(newline="") as stream:
        rows = [
            {key: value if key in ("family", "method") else float(value) for key, value in row.items()}
            for row in csv.DictReader(stream)
        ]
    for row in rows:
        row["positions"] = int(row["positions"])
    return {(row["family"], row["positions"], row["method"]): row for row in rows}


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    tracked = [name for name, spec in specs().items() if spec.gives_displacement and not spec.needs]
    parser.add_argument("--methods", nargs="+", default=tracked)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    options = parser.parse_args()
    target = HERE / "results" / "families.csv"
    rows = evaluate_families(contenders(options.methods), options.families)
    new = {(row["family"], row["positions"], row["method"]): row for row in rows}
    rows = [*new.values(), *(row for key, row in kept(target).items() if key not in new)]
    order = list(FAMILIES)
    rows.sort(key=lambda row: (order.index(row["family"]), row["positions"], row["method"]))
    write_csv(rows, target)
    text = __doc__.split("\n")[0] + "\n\n" + table(rows) if __doc__ else table(rows)
    (HERE / "families.md").write_text(f"# Families\n\n{text}")


if __name__ == "__main__":
    main()
