"""What a finished scan tells at the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from speckleflow.errors import InputError
from speckleflow.io.sealed_json import read_sealed
from speckleflow.report.truth import TruthTable


def show(results: Path) -> None:
    """Print where the results of a scan are, its warnings, and its errors against the truth.

    Raises
    ------
    InputError
        The scan is not finished, or its summary is damaged.
    """
    path = results / "summary.json"
    hint = "delete it and run the workflow again, which makes it anew"
    summary = read_sealed(path, "the summary of a finished scan", hint)
    try:
        name, warnings, files = summary["scan"], list(summary["warnings"]), list(summary["files"])
        truth = TruthTable.from_dict(summary["truth"]) if summary["truth"] else None
        axis, aligned = summary.get("axis"), summary.get("alignment")
        resolution = list(summary.get("resolution", ()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            path, expected="a summary of this version", found=f"another one ({error})", hint=hint
        ) from error
    console = Console(highlight=False)
    if truth is not None:
        console.print(f"\n[bold]{name}[/bold] against the truth\n")
        console.print(truth.text(), markup=False, soft_wrap=True)
    if axis:
        console.print(f"\nRotation axis: {axis}", markup=False, soft_wrap=True)
    if aligned:
        console.print(f"\nTaken off the projections: {aligned}", markup=False, soft_wrap=True)
    for words in resolution:
        console.print(f"\nResolution of {words}", markup=False, soft_wrap=True)
    for warning in warnings:
        console.print("\n[yellow]Warning:[/yellow]", end=" ")
        console.print(warning, markup=False)
    console.print("\nResults:")
    for file in files:
        console.print(f"  {file}", markup=False, soft_wrap=True)
