"""The commands around the networks: train, evaluate, export-network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Option(help="Training configuration, e.g. config/train/cpu.yaml.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last checkpoint, if any.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so many minutes, with a checkpoint.")
    ] = None,
) -> None:
    """Train a network on simulated scenes; kill it when you like, --resume goes on where it was."""
    from speckleflow.train import read_train_config
    from speckleflow.train import train as run

    settings = read_train_config(config)
    if minutes is not None:
        settings = settings.model_copy(update={"minutes": minutes})
    print(f"weights: {run(settings, resume=resume)}")


def evaluate(
    methods: Annotated[
        list[str],
        typer.Argument(help="Methods, with settings if wanted: umpa espinnet 'umpa:window=7'."),
    ],
    output: Annotated[Path | None, typer.Option(help="CSV file for all numbers.")] = None,
    scenes: Annotated[int, typer.Option(help="Held-out scenes of each cell.")] = 2,
    positions: Annotated[str, typer.Option(help="Numbers N of diffuser positions.")] = "20,5,3,2,1",
    photons: Annotated[str, typer.Option(help="Photons per pixel and frame.")] = "500,5000,50000",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    star: Annotated[
        bool,
        typer.Option("--star", help="Spatial resolution at 10 % bias and bias curves in place of scenes."),
    ] = False,
) -> None:
    """Errors of retrieval methods on held-out simulated scenes, beside each other."""
    from speckleflow.errors import ConfigError
    from speckleflow.evaluate.held_out import cells
    from speckleflow.evaluate.table import evaluate as run
    from speckleflow.evaluate.table import markdown, write_csv

    try:
        counts = [int(n) for n in positions.split(",")]
        numbers = [float(n) for n in photons.split(",")]
    except ValueError as error:
        raise ConfigError(
            f"--positions and --photons: expected numbers with commas, found '{positions}' and '{photons}'"
        ) from error
    if star:
        _star(methods, counts, numbers, output, device)
        return
    rows = run(methods, cells(positions=counts, photons=numbers), scenes, device)
    print(f"RMSE of the displacement in px\n\n{markdown(rows)}")
    print(f"RMSE of the transmission\n\n{markdown(rows, 'rmse_transmission')}")
    if output is not None:
        write_csv(rows, output)


def export_network(
    reference: Annotated[
        str,
        typer.Option(
            help="Reference stack (N, y, x), dark-corrected, stored as for `retrieve`: it gives the number of "
            "positions, the size of the images, and how fine the pattern is."
        ),
    ],
    output: Annotated[Path, typer.Option(help="ONNX file to write (.onnx); a new one.")],
    method: Annotated[str, typer.Option(help="espinnet, spinnet or cade.")] = "espinnet",
    weights: Annotated[
        str | None,
        typer.Option(help="Path of other weights than the package's (.safetensors, or the authors' .pt)."),
    ] = None,
) -> None:
    """A network as an ONNX file, for programs without torch (needs `pip install 'speckleflow[onnx]'`).

    Inputs of the graph: reference (N, y, x) and sample (1, N, y, x), corrected, float32, of the size that it was
    exported with. Outputs (1, y, x): ux, uy and displacement_std in px, transmission, darkfield, as `retrieve` gives
    them. In the file is the whole method (levelling of the flux, pyramid, refinement, fusion), its low-pass chosen
    for this reference's pattern; not in it are corrections of raw frames, flags, and tiles. With weights of a published
    structure the fields are on the detector grid.
    """
    from speckleflow.stages.export_network import export_network as write

    write(method=method, reference=reference, output=output, weights=weights)
    print(f"network: {output}")


def _star(
    methods: list[str], counts: list[int], photons: list[float], output: Path | None, device: str
) -> None:
    """Resolution and bias curves for all N and photons, coded mask; curves as CSV beside each other."""
    from speckleflow.evaluate.star import Setting, measure_all, resolution
    from speckleflow.evaluate.table import contenders, write_csv

    retrievers = contenders(methods, device)
    curves = []
    print("| N | photons | method | resolution at 10 % bias (px) | largest bias (px) | largest RMSE (px) |")
    print("|---|---|---|---|---|---|")
    for n in counts:
        for number in photons:
            stars, biases = measure_all(retrievers, Setting(positions=n, photons=number))
            for name in dict.fromkeys(row["method"] for row in stars):
                mine = [row for row in biases if row["method"] == name]
                bias, rmse = (max(abs(row[key]) for row in mine) for key in ("bias", "rmse"))
                found = resolution([row for row in stars if row["method"] == name])
                print(f"| {n} | {number:g} | {name} | {found:.1f} | {bias:.4f} | {rmse:.4f} |")
            head = {"positions": n, "photons": number}
            curves += [{**head, "curve": "star", "rmse": "", "displacement_px": "", **row} for row in stars]
            curves += [{**head, "curve": "shift", "wavelength_px": "", **row} for row in biases]
    if output is not None:
        write_csv(curves, output)
