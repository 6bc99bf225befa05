"""Accuracy of the networks beside umpa: the tables and pictures of the model cards. Writes benchmarks/accuracy.md.

    python benchmarks/accuracy.py [--scenes 12] [--only table edges absorption star sim512 rods] [--data ../shared/data]

Everything is seeded. sim512 and rods need data sets that are not part of the project; without them they are left out.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tifffile
import torch
from published_coarse import PublishedCoarse
from scipy.optimize import least_squares
from torch import Tensor

from speckleflow.config.models import Simulate
from speckleflow.evaluate.held_out import Cell, cells, scenes
from speckleflow.evaluate.metrics import errors, similarity
from speckleflow.evaluate.star import Setting, measure_all, resolution
from speckleflow.evaluate.table import contenders, evaluate, evaluate_cell, write_csv
from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.retrieval.espinnet.retriever import Espinnet
from speckleflow.retrieval.flux import level_flux
from speckleflow.retrieval.grids import to_detector
from speckleflow.simulate.modulators import KINDS
from speckleflow.simulate.phantoms import phantom
from speckleflow.simulate.scene import Scene

HERE = Path(__file__).parent
RESULTS, PICTURES = HERE / "results", HERE.parent / "docs" / "model-cards"
WINDOWS = ("umpa", "umpa:window=5", "umpa:window=9", "umpa:window=15")
FAST = ("espinnet", "espinnet:refine=false", "spinnet", "spinnet:refine=false")


def table(count: int) -> str:
    """Held-out scenes, cell by cell: umpa's best window, the networks, calibration."""
    path = RESULTS / "accuracy.csv"
    rows: list[dict[str, Any]] = []
    coarse = PublishedCoarse()
    for cell in cells():  # cell by cell, so that a stopped run leaves what it has
        rows += evaluate((*WINDOWS, *FAST), [cell], count)
        if (found := evaluate_cell(coarse, cell, count)) is not None:
            rows.append({**rows[-1], "method": coarse.name, **found.row()})
        write_csv(rows, path)
    return _table_text(rows, count)


def _table_text(rows: list[dict[str, Any]], count: int) -> str:
    def value(row: dict[str, Any] | None) -> str:
        return (
            ""
            if row is None
            else f"{row['rmse']:.3f} / {1000 * row['bias']:+.0f} / {row['percentile99']:.3f}"
        )

    lines = [
        "RMSE (px) / bias (px / 1000) / 99th percentile (px) of the displacement, "
        f"{count} scenes of 160 x 160 px a cell; `umpa`: the best of its windows (auto, 5, 9, 15) in that cell. The "
        "last two columns: RMSE over that of `umpa`'s best, and the share of errors within one predicted standard "
        "deviation. The network is espinnet, for N = 1 spinnet. Published: ESPINNet's own structure, as much of it "
        "as was trained on a CPU in minutes (docs/model-cards/espinnet.md).\n",
        "| modulator | N | photons | umpa, best | its window | network | no refinement | published "
        "| ratio | within sigma |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    ratios: dict[int, list[float]] = {}
    shares: dict[int, list[float]] = {}
    for cell in cells():
        here = {
            r["method"]: r
            for r in rows
            if (r["modulator"], r["positions"], r["photons"])
            == (cell.modulator, cell.positions, cell.photons)
        }
        if not here:
            continue
        best = min(WINDOWS, key=lambda name: here[name]["rmse"])
        name = "espinnet" if cell.positions > 1 else "spinnet"
        fast = here[name]
        ratio = fast["rmse"] / here[best]["rmse"]
        ratios.setdefault(cell.positions, []).append(ratio)
        shares.setdefault(cell.positions, []).append(fast["within_sigma"])
        window = best.partition("=")[2] or "auto"
        lines.append(
            f"| {cell.modulator} | {cell.positions} | {cell.photons:g} | {value(here[best])} | {window} "
            f"| {value(fast)} | {value(here[name + ':refine=false'])} | {value(here.get(PublishedCoarse.name))} "
            f"| {ratio:.2f} | {fast['within_sigma']:.2f} |"
        )
    lines += [
        "",
        "| N | ratio, geometric mean of nine cells | worst | within sigma, least and most |",
        "|---|---|---|---|",
    ]
    for n, several in ratios.items():
        mean = math.exp(sum(map(math.log, several)) / len(several))
        lines.append(
            f"| {n} | {mean:.2f} | {max(several):.2f} | {min(shares[n]):.2f} to {max(shares[n]):.2f} |"
        )
    return "\n".join(lines) + "\n"


def edges(_: int) -> str:
    """A projection of sharp-edged spheres (the demo's phantom, by rays): umpa and espinnet."""
    lines = [
        "| N | method | RMSE (px) | 99th percentile (px) | RMSE of T | of D | within sigma |",
        "|---|---|---|---|---|---|---|",
    ]
    names = (*WINDOWS, "espinnet", "espinnet:refine=false")
    pictures = {}
    for n in (5, 3):
        reference, sample, truth = sphere_stacks(n)
        for name, method in contenders(names).items():
            found = method(sample[None], method.prepare(reference))
            e = errors(found, *(t[None] for t in truth))
            pictures[n, name] = found
            lines.append(
                f"| {n} | {name} | {e.rmse:.4f} | {e.percentile99:.3f} | {e.rmse_transmission:.4f} | "
                f"{e.rmse_darkfield:.4f} | {e.within_sigma:.2f} |"
            )
    figure, axes = plt.subplots(2, 3, figsize=(13, 7))
    for row, n in zip(axes, (5, 3), strict=True):
        truth = sphere_stacks(n)[2]
        row[0].imshow(truth[0], vmin=-2, vmax=2, cmap="RdBu")
        row[0].set_title(f"true u_x (px), N = {n}")
        for axis, name in zip(row[1:], ("umpa", "espinnet"), strict=True):
            ux = pictures[n, name].ux
            assert ux is not None
            shown = axis.imshow(ux[0] - truth[0], vmin=-0.3, vmax=0.3, cmap="RdBu")
            axis.set_title(f"{name}: error of u_x (px)")
            figure.colorbar(shown, ax=axis)
    figure.tight_layout()
    figure.savefig(PICTURES / "espinnet-fast-edges.png", dpi=60)
    plt.close(figure)
    return "\n".join(lines) + "\n"


def sphere_stacks(n: int, photons: float = 20_000.0) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Reference and sample (N, y, x) of the demo's phantom at 40 degrees, and ux, uy, T, D (y, x)."""
    settings = Simulate(columns=160, rows=128, positions=n)
    scene = Scene(settings, torch.Generator().manual_seed(7))
    spheres = phantom("demo", settings.pixel_size_um * 1e-6, settings.rows, settings.columns)
    image, truth = scene.sample(spheres, 40.0)
    reference = torch.stack([scene.reference(i) for i in range(n)])
    key = torch.Generator().manual_seed(3)
    noisy = [
        (s + torch.randn(s.shape, generator=key) * (s.clamp_min(1e-3) / photons).sqrt()).float()
        for s in (reference, image)
    ]
    fields = [t.float() for t in (truth.ux, truth.uy, truth.transmission, truth.darkfield)]
    return noisy[0], noisy[1], fields


def absorption(count: int) -> str:
    """RMSE behind a slab that absorbs 80 % over that behind one of 20 %, with the same photons detected."""
    lines = [
        "| modulator | N | espinnet, 20 % | 80 % | ratio | umpa, 20 % | 80 % |",
        "|---|---|---|---|---|---|---|",
    ]
    methods = contenders(("espinnet", "umpa"))
    for modulator in KINDS:
        for n in (5, 3):
            clean = scenes(Cell(modulator, n, 1e9, transmission_min=1.0), count)
            found = []
            for method in methods.values():
                for transmission in (0.8, 0.2):
                    key = torch.Generator().manual_seed(5)
                    photons = 5000 / transmission
                    fields = []
                    for r, s in zip(clean.reference, clean.sample, strict=True):
                        noisy = [
                            f + (f / photons).sqrt() * torch.randn(f.shape, generator=key)
                            for f in (r, transmission * s)
                        ]
                        fields.append(method(noisy[1][None], method.prepare(noisy[0])))
                    t = transmission * clean.transmission
                    found.append(errors(_together(fields), clean.ux, clean.uy, t, clean.darkfield).rmse)
            fast20, fast80, umpa20, umpa80 = found
            lines.append(
                f"| {modulator} | {n} | {fast20:.4f} | {fast80:.4f} | {fast80 / fast20:.2f} "
                f"| {umpa20:.4f} | {umpa80:.4f} |"
            )
    return "\n".join(lines) + "\n"


def _together(fields: list[Fields]) -> Fields:
    return Fields(
        **{name: torch.cat([dict(f.items())[name] for f in fields]) for name, _ in fields[0].items()}
    )


def star(count: int) -> str:
    """Resolution at 10 % bias and bias curves (CADE, Figs. 3 and 4), with a picture."""
    lines = [
        "| modulator | N | photons | method | resolution at 10 % bias (px) | largest bias, shifts 0-1 px (px) "
        "| largest RMSE (px) |",
        "|---|---|---|---|---|---|---|",
    ]
    figure, axes = plt.subplots(2, 2, figsize=(12, 8))
    for column, (modulator, n) in enumerate((("mask", 5), ("sandpaper", 1))):
        setting = Setting(modulator, n, 5000.0, count)  # type: ignore[arg-type]
        names = ("espinnet", "spinnet", "umpa", "umpa:window=9")
        stars, biases = measure_all(contenders(names), setting)
        for name in dict.fromkeys(row["method"] for row in stars):
            curve = [row for row in stars if row["method"] == name]
            shifts = [row for row in biases if row["method"] == name]
            largest, rmse = (max(abs(row[key]) for row in shifts) for key in ("bias", "rmse"))
            lines.append(
                f"| {modulator} | {n} | 5000 | {name} | {resolution(curve):.1f} | {largest:.4f} | {rmse:.4f} |"
            )
            axes[0, column].plot(
                [r["wavelength_px"] for r in curve], [100 * r["bias"] for r in curve], label=name
            )
            axes[1, column].errorbar(
                [r["displacement_px"] for r in shifts],
                [1000 * r["bias"] for r in shifts],
                [1000 * r["rmse"] for r in shifts],
                label=name,
                capsize=3,
            )
        axes[0, column].axhline(10, color="black", linestyle=":")
        axes[0, column].set(
            title=f"star, {modulator}, N = {n}", xscale="log", xlabel="wavelength (px)", ylabel="bias (%)"
        )
        axes[1, column].set(
            title="constant shifts: bias, bars: RMSE", xlabel="displacement (px)", ylabel="bias (px / 1000)"
        )
        axes[0, column].legend()
    figure.tight_layout()
    figure.savefig(PICTURES / "espinnet-fast-star.png", dpi=60)
    plt.close(figure)
    return "\n".join(lines) + "\n"


def sim512(data: Path) -> str:
    """An independent simulation, 5000 photons, detector grid, 16 px of border left out."""
    stack = np.load(data / "sim512" / "stack.npz")
    truth = [torch.from_numpy(stack[k].astype("f4")) for k in ("ux", "uy", "transmission", "darkfield")]
    lines = [
        "| N | method | RMSE (px) | 99th percentile (px) | RMSE of T | of D | u_x, similarity with N = 20 |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    inner = (..., slice(16, -16), slice(16, -16))
    for name, method in contenders(("umpa", "umpa:window=9", "espinnet", "espinnet:refine=false")).items():
        full: Tensor | None = None
        for n in (20, 5, 3, 2):
            reference, sample = (torch.from_numpy(stack[k][:n].astype("f4")) for k in ("reference", "sample"))
            found = to_detector(method(sample[None], method.prepare(reference)))
            fields = [dict(found.items())[k][0] for k in ("ux", "uy", "transmission", "darkfield")]
            e = torch.stack([a - b for a, b in zip(fields, truth, strict=True)])[inner]
            rmse = [float(part.square().mean().sqrt()) for part in (e[:2], e[2], e[3])]
            high = float(e[:2].abs().flatten().double().sort().values[int(0.99 * e[:2].numel())])
            full = fields[0][inner] if full is None else full
            alike = similarity(fields[0][inner], full)
            lines.append(
                f"| {n} | {name} | {rmse[0]:.4f} | {high:.3f} | {rmse[1]:.4f} | {rmse[2]:.4f} | {alike:.4f} |"
            )
    return "\n".join(lines) + "\n"


def rods(data: Path) -> str:
    """Four rods (real data, N = 13): delta of the PMMA rod over theory, visibility ratio in it."""
    folder = data / "four-rods"
    flat = tifffile.imread(folder / "flat.tif")

    def stack(kind: str) -> Tensor:
        frames = [tifffile.imread(folder / f"{kind}_{i:02d}.tif") / flat for i in range(1, 14)]
        return torch.nan_to_num(torch.from_numpy(np.stack(frames)[..., :1600].astype("f4")), 1.0, 1.0, 1.0)

    reference, sample = stack("reference"), stack("sample")
    lines = [
        "| method | delta over theory | bands of 40 rows | visibility ratio in the rod | std of u_x in air (px) |",
        "|---|---|---|---|---|",
    ]
    figure, axes = plt.subplots(2, 2, figsize=(14, 5))
    for column, (name, method) in enumerate(contenders(("umpa", "espinnet")).items()):
        found = method(sample[None], method.prepare(reference))
        assert found.ux is not None
        assert found.darkfield is not None
        ux, darkfield = found.ux[0].numpy(), found.darkfield[0].numpy()
        whole = rod_delta(ux[20:195]) / 4.228e-7
        bands = [rod_delta(ux[top : top + 40]) / 4.228e-7 for top in (20, 60, 100, 140)]
        lines.append(
            f"| {name} | {whole:.3f} | {min(bands):.3f} to {max(bands):.3f} "
            f"| {darkfield[20:195, 700:900].mean():.4f} | {ux[20:195, 502:523].std():.4f} |"
        )
        axes[0, column].imshow(ux, vmin=-0.15, vmax=0.15, cmap="gray")
        axes[0, column].set_title(f"{name}: u_x (px)")
        axes[1, column].imshow(darkfield, vmin=0.4, vmax=1.1, cmap="gray")
        axes[1, column].set_title("visibility ratio")
    figure.tight_layout()
    figure.savefig(PICTURES / "espinnet-fast-rods.png", dpi=60)
    plt.close(figure)
    return "\n".join(lines) + "\n"


def rod_delta(ux: np.ndarray[Any, Any]) -> float:
    """delta from u_x (y, x) = a 2t / sqrt(1 - t^2) + offset, t = (x - c) / r, r = 252 px fixed, within 0.86 r."""
    rows, columns = ux.shape
    y, x = np.arange(rows)[:, None] - rows / 2, np.arange(columns)[None]

    def residual(q: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        t = (x - q[1] - 0.065 * y) / 252  # the axis is tilted by 0.065 px a row
        inside = np.abs(t) < 0.86
        t = np.where(inside, t, 0)
        return np.asarray(((q[0] * 2 * t / np.sqrt(1 - t**2) + q[2] - ux) * inside).ravel())

    fits = [
        least_squares(residual, [sign * 0.02, 802.0, 0.0], loss="soft_l1", f_scale=0.05) for sign in (1, -1)
    ]
    best = min(fits, key=lambda fit: fit.cost)
    return float(abs(best.x[0]) * 6.5e-6 / 0.7)


def ablation(count: int) -> str:
    """What each part buys: RMSE over that of the whole, geometric mean over modulators, 5000 photons."""
    whole = contenders(("espinnet",))["espinnet"]
    umpa = contenders(("umpa",))["umpa"]
    lines = [
        "| N | umpa | umpa, flux levelled | whole, flux not levelled | pyramid alone |",
        "|---|---|---|---|---|",
    ]
    pyramid = contenders(("espinnet:refine=false",))["espinnet:refine=false"]
    for n in (20, 5, 3, 2):
        logs = []
        for modulator in KINDS:
            scene = scenes(Cell(modulator, n, 5000.0), count)
            level = level_flux(scene.reference, scene.sample)

            def rmse(method: Retriever, samples: Tensor, scene: Any = scene) -> float:
                fields = [
                    method(s[None], method.prepare(r)) for r, s in zip(scene.reference, samples, strict=True)
                ]
                truth = (scene.ux, scene.uy, scene.transmission, scene.darkfield)
                return errors(_together(fields), *truth).rmse

            base = rmse(whole, scene.sample)
            plain = _without_levelling(whole)
            each = [
                rmse(umpa, scene.sample),
                rmse(umpa, level),
                rmse(plain, scene.sample),
                rmse(pyramid, scene.sample),
            ]
            logs.append([math.log(v / base) for v in each])
        mean = np.exp(np.mean(logs, 0))
        lines.append(f"| {n} | " + " | ".join(f"{v:.2f}" for v in mean) + " |")
    return "\n".join(lines) + "\n"


def _without_levelling(method: Retriever) -> Retriever:
    """The same method as if frames had no flux of their own."""
    assert isinstance(method, Espinnet)
    plain = Espinnet(method.settings)
    plain.structure.levelled = lambda reference, sample: sample  # type: ignore[method-assign]
    return plain


PARTS = {
    "table": ("Held-out scenes", table),
    "sim512": (
        "sim512: an independent simulation (detector grid, 16 px of border left out, 5000 photons)",
        sim512,
    ),
    "rods": ("Four rods: real data, N = 13", rods),
    "edges": ("Sharp edges: the demo's spheres by rays, 20,000 photons", edges),
    "absorption": ("A slab of 80 % absorption against one of 20 %, the same photons detected", absorption),
    "star": ("Star pattern and bias curves", star),
    "ablation": (
        "RMSE over that of espinnet (geometric mean over the modulators, 5000 photons)",
        ablation,
    ),
}


def _kept(path: Path) -> dict[str, str]:
    return json.loads(path.read_text()) if path.exists() else {}


def main() -> None:
    """The chosen parts; the report is put together from all that were ever made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / "accuracy.json"
    for name in options.only:
        _, make = PARTS[name]
        if name in ("sim512", "rods"):
            if not (options.data / ("four-rods" if name == "rods" else name)).exists():
                logging.info("%s: no data in %s, left out", name, options.data)
                continue
            text = make(options.data)  # type: ignore[operator]
        else:
            text = make(options.scenes)  # type: ignore[operator]
        # read again: parts may be made by processes beside each other
        texts = {**_kept(kept), name: text}
        kept.write_text(json.dumps(texts, indent=1))
        logging.info("%s\n%s", name, text)
    texts = _kept(kept)
    report = ["# Accuracy of the networks beside umpa\n\nMade by `python benchmarks/accuracy.py`.\n"]
    report += [f"## {title}\n\n{texts[name]}" for name, (title, _) in PARTS.items() if name in texts]
    (HERE / "accuracy.md").write_text("\n".join(report))


if __name__ == "__main__":
    main()
