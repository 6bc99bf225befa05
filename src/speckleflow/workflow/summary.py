"""What a finished scan tells at the terminal."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from speckleflow.errors import InputError
from speckleflow.report.truth import TruthTable


def show(results: Path) -> None:
    """Print where the results of a scan are, its warnings, and its errors against the truth.

    Raises
    ------
    InputError
        The scan is not finished.
    """
    summary = results / "summary.json"
    try:
        found = json.loads(summary.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(summary, expected="the summary of a finished scan", found="no such file") from error
    except ValueError as error:
        raise InputError(summary, expected="JSON", found=str(error)) from error
    console = Console(highlight=False)
    if found["truth"]:
        console.print(f"\n[bold]{found['scan']}[/bold] against the truth\n")
        console.print(TruthTable.from_dict(found["truth"]).text(), markup=False, soft_wrap=True)
    for warning in found["warnings"]:
        console.print(f"\n[yellow]Note:[/yellow] {warning}")
    console.print("\nResults:")
    for path in found["files"]:
        console.print(f"  {path}", markup=False, soft_wrap=True)
