"""Errors family by family, with the phase's ratio to the photon limit. Writes benchmarks/families.md and a CSV.

    python benchmarks/families.py [--methods umpa espinnet spinnet] [--families smooth ...]

Everything is seeded; the scenes conserve light, and the detector's blur is not told.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speckleflow.evaluate.families import FAMILIES, evaluate_families
from speckleflow.evaluate.table import contenders, write_csv

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


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=["umpa", "espinnet", "spinnet"])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    options = parser.parse_args()
    rows = evaluate_families(contenders(options.methods), options.families)
    write_csv(rows, HERE / "results" / "families.csv")
    text = __doc__.split("\n")[0] + "\n\n" + table(rows) if __doc__ else table(rows)
    (HERE / "families.md").write_text(f"# Families\n\n{text}")


if __name__ == "__main__":
    main()
