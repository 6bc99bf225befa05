"""The command line: a command loads only what it needs, and says in one sentence when something is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from speckleflow import __version__, cli_benchmark, cli_networks
from speckleflow.errors import SpeckleflowError

TOUR = """From raw modulated-pattern X-ray images to quantitative phase, absorption and dark-field volumes.

A beamtime, whole:  write config/scans.tsv, look with `speckleflow inspect CONFIG`, then
`speckleflow run CONFIG` (on a cluster: `speckleflow run CONFIG --profile slurm`), a face of Snakemake:
`snakemake --cores all --configfile CONFIG` or `snakemake --profile slurm --configfile CONFIG` do the same.

One stack, by hand: `speckleflow retrieve` and `speckleflow reconstruct`.

Nothing measured yet: `speckleflow simulate CONFIG` makes a beamtime whose truth is known.
"""

app = typer.Typer(
    help=TOUR,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)

#: field of a method -> what `methods` calls it
_GIVES = {"ux": "u", "phase": "phase", "transmission": "T", "darkfield": "D", "displacement_std": "s"}
#: exit status after Ctrl-C, as shells have it
_INTERRUPTED = 130
#: longest path that a message shows whole, in characters
_SHOWN = 200

ConfigFile = Annotated[Path, typer.Argument(help="Configuration file, e.g. config/config.yaml.")]
ResultsFolder = Annotated[
    Path,
    typer.Argument(
        help="Results folder of a scan, e.g. results/demo, or a file in it.",
        callback=lambda path: path.parent if path.is_file() else path,
    ),
]
OneScan = Annotated[str | None, typer.Option(help="Only this scan of the scan table.")]


def main() -> None:
    """Entry point; a :class:`SpeckleflowError` is printed as its sentence, with exit status 1."""
    try:
        _refuse_expanded_pattern(sys.argv[1:])
        app()
    except SpeckleflowError as error:
        _refuse(str(error))
    except MemoryError:
        _refuse(
            "expected enough memory for these data, found too little; try smaller stacks or a larger machine"
        )
    except OSError as error:
        if error.filename is None:
            raise
        _refuse(f"{_shown(error.filename)}: expected a path that can be used, found {_reason(error)}")
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            print("speckleflow: interrupted; no unfinished file was left behind", file=sys.stderr)
        raise


#: commands that take options only
_OPTIONS_ONLY = ("retrieve", "reconstruct", "export-network")


def _refuse_expanded_pattern(words: list[str]) -> None:
    """One sentence where the shell has put many names in the place of a pattern."""
    if not words or words[0] not in _OPTIONS_ONLY:
        return
    for option, *names in zip(words[1:], words[2:], words[3:], strict=False):
        if option.startswith("--") and not any(name.startswith("-") for name in names):
            found = f"'{_shown(names[0])}', '{_shown(names[1])}', ..."
            _refuse(
                f"command line: {option}: expected one name or a pattern in quotes, found several ({found}); the shell "
                f"replaced the pattern: write {option} 'name_*.tif'"
            )


def _refuse(sentence: str) -> NoReturn:
    """Print a sentence on the error stream and end with status 1."""
    print(f"speckleflow: {sentence}", file=sys.stderr)
    sys.exit(1)


def _shown(path: object) -> str:
    """A path as it was given, the middle of a very long one left out."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}...{text[-_SHOWN // 2 :]}"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"speckleflow {__version__}")
        raise typer.Exit


def _scans(path: Path, only: str | None) -> dict[str, Any]:
    from speckleflow.config import load_config, load_scans
    from speckleflow.errors import ConfigError

    scans = load_scans(load_config(path))
    if only is None:
        return dict(scans)
    if only not in scans:
        raise ConfigError(f"{path}: expected one of the scan table ({', '.join(scans)}), found '{only}'")
    return {only: scans[only]}


@app.command()
def inspect(
    config: ConfigFile,
    scan: OneScan = None,
    full: Annotated[
        bool, typer.Option("--full", help="Look at every frame, and list those that cannot be used.")
    ] = False,
) -> None:
    """Open every raw file, check it, and print what is there. Writes nothing."""
    from rich.console import Console

    from speckleflow.inspection.scan import backend_warning, inspect_frames, inspect_scan
    from speckleflow.scan.spec import ScanSpec
    from speckleflow.workflow.forecast import forecast
    from speckleflow.workflow.plan import plan_scan

    bad = 0
    for name, settings in _scans(config, scan).items():
        spec = ScanSpec(name, settings)
        if full:
            text, count = inspect_frames(spec)
            print(text)
            bad += count
            if count:
                continue
        manifest = inspect_scan(spec)
        Console().print(manifest.table())
        print(f"{name}: {forecast(plan_scan(spec), settings).sentence()}")
        if warning := backend_warning(settings, manifest):
            print(f"{name}: {warning}")
    if bad:
        _refuse(f"expected frames that can be used, found {bad} that cannot; they are listed above")


@app.command()
def scans(
    folder: Annotated[Path, typer.Argument(help="Folder with raw data.")],
    output: Annotated[
        Path | None, typer.Option(help="Scan table to write (.tsv); without it the table is printed.")
    ] = None,
) -> None:
    """Propose a scan table of what lies in a folder, and say what was not understood. Reads headers only."""
    from speckleflow.errors import OutputError
    from speckleflow.io.atomic import atomic_path
    from speckleflow.io.discover import propose_scans

    proposal = propose_scans(folder)
    if output is None:
        print(proposal.text(), end="")
        return
    if output.exists():
        raise OutputError(
            f"{output}: expected a name that is free, found a file; remove it or choose another"
        )
    with atomic_path(output) as private:
        private.write_text(proposal.text(), encoding="utf-8")
    for sentence in proposal.unclear:
        print(sentence, file=sys.stderr)
    count = len(proposal.scans)
    print(
        f"{output}: {count} scan{'s' * (count != 1)}. Look it through, then: speckleflow inspect CONFIG "
        f"(scans: {output})"
    )


@app.command()
def simulate(config: ConfigFile, scan: OneScan = None) -> None:
    """Make the raw files of the simulated scans of a configuration, and the truth beside them."""
    from speckleflow.errors import ConfigError
    from speckleflow.scan.spec import ScanSpec
    from speckleflow.stages.simulate import simulate as make

    scans = {name: s for name, s in _scans(config, scan).items() if s.simulate.enabled}
    if not scans:
        raise ConfigError(f"{config}: expected a scan with simulate.enabled: true, found none")
    for name, settings in scans.items():
        make(ScanSpec(name, settings), truth=Path("raw") / name / "truth.h5", threads=_cpus())


def _cpus() -> int:
    """CPUs that this process may use, at most four: each holds a projection in memory."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cpus)


@app.command()
def methods() -> None:
    """The retrieval methods that can be named in retrieval.method."""
    from rich.console import Console
    from rich.table import Table

    from speckleflow.retrieval import registry

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column, least in (("method", 15), ("N", 4), ("gives", 10), ("in a sentence", None)):
        table.add_column(column, min_width=least)
    for name, spec in sorted(registry.specs().items()):
        gives = [shown for field, shown in _GIVES.items() if field in spec.output_fields]
        positions = spec.positions.replace("at least ", ">= ")
        table.add_row(name, positions, ", ".join(gives), spec.summary)
    table.caption = (
        "N: diffuser positions. u: displacement, T: transmission, D: dark field, s: expected error of u."
    )
    table.caption_justify = "left"
    Console().print(table)


@app.command()
def retrieve(
    reference: Annotated[
        str,
        typer.Option(
            help="Reference stack (N, y, x): TIFF stack, folder or glob of images, .npy, or file.h5:/dataset."
        ),
    ],
    sample: Annotated[
        str, typer.Option(help="Sample stack, paired with the reference position by position.")
    ],
    output: Annotated[
        Path, typer.Option(help="HDF5 file to write (.h5); an earlier result of that name is replaced.")
    ],
    method: Annotated[str, typer.Option(help="Retrieval method (`speckleflow methods`).")] = "auto",
    flat: Annotated[
        str | None, typer.Option(help="Flat frames (beam without diffuser), stored like the stacks.")
    ] = None,
    dark: Annotated[
        str | None,
        typer.Option(
            help="Dark frames, stored like the stacks; without them the frames count as dark-corrected."
        ),
    ] = None,
    energy_kev: Annotated[
        float | None, typer.Option(help="Photon energy in keV; with the two below: also the phase.")
    ] = None,
    pixel_size_um: Annotated[
        float | None, typer.Option(help="Effective pixel size (in the sample plane) in micrometres.")
    ] = None,
    distance_m: Annotated[
        float | None,
        typer.Option(
            help="Distance from sample to detector in m (over the magnification, if the beam diverges)."
        ),
    ] = None,
    grid: Annotated[
        Literal["reference", "detector"],
        typer.Option(help="Where a field stands: at the ray's place in the sample, or where the ray lands."),
    ] = "reference",
    diffuser_distance_m: Annotated[
        float | None,
        typer.Option(
            help="Distance from sample to diffuser in m, positive upstream; for methods that need it."
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(help="Side of the window in pixels (umpa: or auto) of a method that has one."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="espinnet, spinnet: path of other weights than the package's (.safetensors, or the authors' .pt)."
        ),
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda", "auto"], typer.Option(help="Where to compute; auto: on a GPU if there is one.")
    ] = "cpu",
    detector_blur_px: Annotated[
        float | None, typer.Option(help="Standard deviation of the detector's point spread in pixels.")
    ] = None,
    air: Annotated[
        str | None,
        typer.Option(
            help="Margins without sample in pixels, where the phase is 0: left,right,top,bottom, or auto."
        ),
    ] = None,
    drift: Annotated[
        bool, typer.Option("--drift", help="Take the mean displacement of the margins (--air) off.")
    ] = False,
    refine: Annotated[
        Literal["none", "wave"],
        typer.Option(
            help="wave: then fit phase and attenuation to all frames by the wave equation (docs/methods/pwf.md)."
        ),
    ] = "none",
    mask: Annotated[
        str | None, typer.Option(help="Image of known bad pixels (non-zero: bad), TIFF or .npy.")
    ] = None,
    saturation_level: Annotated[
        float | None,
        typer.Option(help="Counts from which a pixel is saturated; default: the largest of their type."),
    ] = None,
) -> None:
    """Displacement, transmission and dark field (and phase) of one stack of frames."""
    from speckleflow.stages.by_hand import retrieve_files

    summary = retrieve_files(
        reference=reference,
        sample=sample,
        output=output,
        method=method,
        flat=flat,
        dark=dark,
        geometry=(energy_kev, pixel_size_um, distance_m),
        diffuser_distance_m=diffuser_distance_m,
        grid=grid,
        window=window,
        weights=weights,
        device=device,
        detector_blur_px=detector_blur_px,
        air=air,
        drift=drift,
        refine=refine,
        mask=mask,
        saturation_level=saturation_level,
    )
    print(summary)


@app.command()
def reconstruct(
    sinogram: Annotated[
        str,
        typer.Option(
            help="Line integrals (angle, x): .npy, TIFF or file.h5:/dataset; or projections.h5 of a scan, with its "
            "angles, axis and units."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Slice (y, x) to write, .npy or .tif.")],
    angles_deg: Annotated[
        str | None,
        typer.Option(help="Angles in degrees, counter-clockwise: .npy, .txt or file.h5:/dataset."),
    ] = None,
    axis: Annotated[
        float | None,
        typer.Option(
            help="Rotation axis in pixels, pixel centres at integers; without it the scan's, or found."
        ),
    ] = None,
    row: Annotated[int | None, typer.Option(help="Row of projections.h5; without it the middle one.")] = None,
    quantity: Annotated[
        str | None,
        typer.Option(help="Of projections.h5: delta, mu or darkfield; without it the first there."),
    ] = None,
    transmission: Annotated[
        bool, typer.Option("--transmission", help="The values are transmissions: take -ln of them.")
    ] = False,
    as_is: Annotated[
        bool,
        typer.Option(
            "--as-is", help="Reconstruct a sinogram that looks transposed or not like line integrals."
        ),
    ] = False,
    backend: Annotated[
        str, typer.Option(help="fourier, astra or tomopy; all give the same orientation and scale.")
    ] = "fourier",
    filter: Annotated[
        str, typer.Option(help="From sharp to smooth: ramlak, shepp, hann or parzen.")
    ] = "shepp",
) -> None:
    """One slice by filtered back-projection: per pixel of a sinogram, in physical units of projections.h5."""
    from speckleflow.stages.slice_by_hand import reconstruct_file

    line = reconstruct_file(
        sinogram=sinogram,
        angles_deg=angles_deg,
        axis_px=axis,
        output=output,
        row=row,
        quantity=quantity,
        transmission=transmission,
        as_is=as_is,
        backend=backend,
        filter=filter,
    )
    print(line)


@app.command()
def run(
    config: ConfigFile,
    profile: Annotated[
        str | None, typer.Option(help="Snakemake profile, e.g. slurm; without it, on this machine.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last stage to make, e.g. assemble.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only one projection of every scan.")] = False,
    cores: Annotated[str, typer.Option(help="CPU cores on this machine, or all.")] = "all",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made.")] = False,
) -> None:
    """Run the workflow: Snakemake with a line of progress, and a table of all scans at the end.

    The same as `snakemake --cores all --configfile CONFIG`, which says more.
    """
    from speckleflow.workflow.run import run_workflow

    raise typer.Exit(
        run_workflow(config, profile=profile, until=until, preview=preview, cores=cores, dry_run=dry_run)
    )


@app.command()
def preview(
    scan: Annotated[str, typer.Argument(help="Scan of the scan table.")],
    config: Annotated[Path, typer.Option(help="Configuration file.")] = Path("config/config.yaml"),
    output: Annotated[
        Path | None, typer.Option(help="Page to write (.html); without it RESULTS/SCAN/tuning.html.")
    ] = None,
    projection: Annotated[
        int | None, typer.Option(help="Number of the projection; without it the middle one.")
    ] = None,
    rows: Annotated[str | None, typer.Option(help="Rows first:stop, e.g. 400:600.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns first:stop.")] = None,
    compare: Annotated[str | None, typer.Option(help="Methods with commas, e.g. umpa,espinnet.")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="Setting of the methods and its values, e.g. window=9,15; may be repeated."),
    ] = None,
    slice: Annotated[
        str | None, typer.Option(help="Also a slice: middle, or the number of its row (of projections.h5).")
    ] = None,
    axis: Annotated[
        str | None,
        typer.Option(help="Rotation axes of the slice: start:stop:step, e.g. 290:300:0.5, or a,b,c."),
    ] = None,
    rings: Annotated[
        str | None,
        typer.Option(help="Ring filters of the slice with commas, e.g. none,auto,sorting."),
    ] = None,
) -> None:
    """One page to choose settings on: methods, settings, axes and ring filters tried side by side."""
    from speckleflow.config import load_config
    from speckleflow.errors import ConfigError
    from speckleflow.scan.spec import ScanSpec
    from speckleflow.stages.tune import Trial, parse_axes, parse_region, parse_vary, tune
    from speckleflow.tomo.rings import RING_FILTERS

    settings = _scans(config, scan)[scan]
    results = Path(load_config(config).results) / scan
    page = results / "tuning.html" if output is None else output
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"command line: --output {page}: expected a name that ends in .html")
    if slice not in (None, "middle") and not str(slice).isdigit():
        raise ConfigError(f"command line: --slice: expected middle or the number of a row, found '{slice}'")
    filters = [] if rings is None else rings.split(",")
    if not set(filters) <= set(RING_FILTERS):
        raise ConfigError(
            f"command line: --rings: expected names of {', '.join(RING_FILTERS)}, found '{rings}'"
        )
    trial = Trial(
        projection=projection,
        rows=parse_region(rows, "--rows"),
        columns=parse_region(columns, "--columns"),
        methods=tuple(compare.split(",")) if compare else (),
        vary=parse_vary(vary or []),
        with_slice=any(option is not None for option in (slice, axis, rings)),
        slice_row=None if slice in (None, "middle") else int(str(slice)),
        axes_px=parse_axes(axis),
        rings=tuple(filters) or (None,),
    )
    tune(ScanSpec(scan, settings), trial, projections=results / "projections.h5", output=page)
    print(page)


@app.command("axis")
def trial_axes(
    scan: Annotated[str, typer.Argument(help="Scan of the scan table.")],
    config: Annotated[Path, typer.Option(help="Configuration file.")] = Path("config/config.yaml"),
    output: Annotated[
        Path | None, typer.Option(help="Page to write (.html); without it RESULTS/SCAN/axis.html.")
    ] = None,
    row: Annotated[int | None, typer.Option(help="Row of the slice; without it the middle one.")] = None,
    axis: Annotated[
        str | None,
        typer.Option(
            help="Axes to try: start:stop:step, e.g. 290:300:0.5, or a,b,c; without it about the axis used."
        ),
    ] = None,
    step: Annotated[float, typer.Option(min=0.01, help="Step about the axis used, in pixels.")] = 0.5,
    steps: Annotated[int, typer.Option(min=0, max=20, help="Steps to either side.")] = 4,
) -> None:
    """One page of trial slices about several rotation axes, each labelled with the value that it was made with.

    Beside them the axes that each method found. After `speckleflow run CONFIG --until assemble`.
    """
    from speckleflow.config import load_config
    from speckleflow.errors import ConfigError
    from speckleflow.scan.spec import ScanSpec
    from speckleflow.stages.tune import axis_page, parse_axes

    settings = _scans(config, scan)[scan]
    results = Path(load_config(config).results) / scan
    page = results / "axis.html" if output is None else output
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"command line: --output {page}: expected a name that ends in .html")
    axes = () if axis is None else tuple(float(a) for a in parse_axes(axis) if a is not None)
    print(
        axis_page(
            ScanSpec(scan, settings),
            projections=results / "projections.h5",
            output=page,
            row=row,
            axes_px=axes,
            step_px=step,
            steps=steps,
        )
    )


@app.command()
def clean(
    config: ConfigFile,
    yes: Annotated[
        bool, typer.Option("--yes", help="Delete what nothing needs; without it, only say it.")
    ] = False,
) -> None:
    """What of the results may be deleted, what each file is for, and with --yes free what nothing needs."""
    from speckleflow.workflow.clean import clean as tidy

    print(tidy(config, delete=yes).text(freed=yes))


@app.command()
def status(
    config: Annotated[Path, typer.Argument(help="Configuration file of the batch.")] = Path(
        "config/config.yaml"
    ),
) -> None:
    """How far a batch is: done, running and failed jobs of every scan, and the last failure's log."""
    from rich.console import Console

    from speckleflow.workflow.status import status as batch

    Console().print(batch(config))


@app.command()
def show(
    results: ResultsFolder,
) -> None:
    """Where the results of a scan are, and how far they are from the truth where it is known."""
    from speckleflow.workflow.summary import show as print_summary

    print_summary(results)


@app.command()
def pack(
    results: ResultsFolder,
    output: Annotated[Path, typer.Argument(help="HDF5 file to write (.h5).")],
) -> None:
    """Projections of a scan in one file that needs no other, to copy, send or archive."""
    from speckleflow.io.projections import pack_projections

    pack_projections(results / "projections.h5", output)


@app.command()
def fsc(
    first: Annotated[Path, typer.Argument(help="volumes.h5 of one half of the data, or of all of it.")],
    second: Annotated[
        Path | None,
        typer.Argument(
            help="volumes.h5 of the other half; without it, the halves that tomography.split compared."
        ),
    ] = None,
    contrast: Annotated[str, typer.Option(help="Volume of both: delta, mu or darkfield.")] = "delta",
    output: Annotated[
        Path, typer.Option(help="Picture to write (.png); the table lies beside it (.csv).")
    ] = Path("fsc.png"),
    size: Annotated[
        int,
        typer.Option(min=8, help="Longest side in voxels; of larger volumes the middle part is compared."),
    ] = 512,
) -> None:
    """Resolution by the Fourier shell correlation of two halves of the data.

    With `tomography.split: angles` the workflow makes the halves and writes the correlation into volumes.h5, from where
    it is drawn; else name two volumes, each made of half the data.
    """
    from speckleflow.stages.fsc import correlate_files, show_halves

    if second is None:
        print(show_halves(first, contrast, output))
    else:
        print(correlate_files(first, second, contrast, output, size))


@app.command()
def export(
    results: ResultsFolder,
    to: Annotated[
        list[str], typer.Option(help="ome-zarr, tiff, tiff16 or xdmf; may be given several times.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="Folder to make; without it, one of the format's name beside volumes.h5."),
    ] = None,
) -> None:
    """Volumes of a finished scan in the format of another program: napari, Fiji, ParaView.

    The workflow does the same for the formats in the configuration's `output`.
    """
    from speckleflow.errors import ConfigError
    from speckleflow.stages.export import export_volumes

    if output is not None and len(to) > 1:
        raise ConfigError(f"command line: --output {output}: expected one --to beside it, found {len(to)}")
    for name in to:
        print(f"{name}: {export_volumes(results, name, output)}")


app.command()(cli_networks.train)
app.command()(cli_networks.evaluate)
app.command("export-network")(cli_networks.export_network)
app.command()(cli_benchmark.benchmark)
