"""The command ``benchmark``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer


def benchmark(
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes and few repetitions: under three minutes.")
    ] = False,
    peers: Annotated[
        bool, typer.Option("--peers", help="Also run other programs where they can be imported.")
    ] = False,
    peer_python: Annotated[
        Path, typer.Option(help="Python in which the other programs are installed.", show_default=False)
    ] = Path(sys.executable),
    only: Annotated[list[str] | None, typer.Option(help="A part by its name; may be repeated.")] = None,
    names: Annotated[bool, typer.Option("--list", help="Name the parts and what each repeats.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder of the measured data sets.")] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "--out", help="Folder of the tables and pictures; finished parts are kept."),
    ] = Path("runs/benchmark"),
    threads: Annotated[int, typer.Option(min=1, help="Threads of every program that is timed.")] = 2,
    this_machine: Annotated[
        bool,
        typer.Option("--this-machine", help="Measure the rates by which a run is planned, and nothing else."),
    ] = False,
) -> None:
    """Tables and figures of the papers made again, each beside the number that was published.

    What is finished is kept: start again after an interruption with the same command.
    """
    from speckleflow.benchmark.engine import check_paths, choose, run_parts
    from speckleflow.benchmark.part import Conditions
    from speckleflow.benchmark.registry import parts

    if this_machine:
        from speckleflow.workflow.rates import measure_rates

        print(measure_rates(report=lambda line: print(line, file=sys.stderr)))
        return
    check_paths(data, peer_python, output)
    chosen = choose(parts(), only or ())
    if names:
        for part in chosen:
            print(f"{part.name:18} {part.seconds / 60:5.1f} min  {part.title}\n{'':29}{part.repeats}")
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    conditions = Conditions(
        quick=quick, data=data, threads=threads, peer_python=str(peer_python), peers=peers
    )
    if quick and not only:
        chosen = [part for part in chosen if part.quick_seconds is not None]
    run_parts(chosen, conditions, output)
    print(output / "README.md")
