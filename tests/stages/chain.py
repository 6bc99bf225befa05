"""Every stage of a small scan by its function, file by file, without Snakemake.

A stage is imported where it is called: its memory can be measured in a process without the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speckleflow.config import ScanConfig
from speckleflow.scan.spec import ScanSpec
from tests.raw_scan import RawScan

NAME = "a"


@dataclass
class Chain:
    """Raw files and results of one scan; blocks and slabs are unequal on purpose."""

    raw: RawScan
    blocks: tuple[tuple[int, int], ...] = ((0, 2), (2, 5), (5, 6))
    slabs: tuple[tuple[int, int], ...] = ((0, 11), (11, 24))
    sections: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> ScanConfig:
        fixed = {
            "tomography": {"axis_px": 23.5},
            "execution": {"retrieval": {"threads": 1}, "tomography": {"threads": 1}},
        }
        return self.raw.config(**{**fixed, **self.sections})

    @property
    def results(self) -> Path:
        return self.raw.root / "results" / NAME

    def path(self, name: str) -> Path:
        return self.results / name

    def files(self, folder: str) -> list[Path]:
        return [self.path(f"{folder}/block_{b:04d}.h5") for b in range(len(self.blocks))]

    @property
    def spec(self) -> ScanSpec:
        return ScanSpec(NAME, self.config, self.raw.root)

    @property
    def manifest(self) -> Path:
        return self.path("manifest.json")

    def inspect(self) -> None:
        from speckleflow.stages.inspect import inspect

        inspect(self.spec, output=self.manifest)

    def correct(self) -> None:
        from speckleflow.stages.correct import correct

        correct(self.spec, manifest=self.manifest, output=self.path("corrected.h5"))

    def retrieve(self, block: int) -> None:
        from speckleflow.stages.retrieve import retrieve_block

        retrieve_block(
            self.spec,
            manifest=self.manifest,
            corrected=self.path("corrected.h5"),
            projections=self.blocks[block],
            output=self.files("fields")[block],
        )

    def integrate(self, block: int) -> None:
        from speckleflow.stages.integrate import integrate_block

        integrate_block(
            self.spec,
            manifest=self.manifest,
            fields=self.files("fields")[block],
            output=self.files("phase")[block],
        )

    def assemble(self) -> None:
        from speckleflow.stages.assemble import assemble_projections

        assemble_projections(
            self.spec,
            manifest=self.manifest,
            fields=self.files("fields"),
            phases=self.files("phase"),
            output=self.path("projections.h5"),
            tomographic=True,
        )

    def reconstruct(self, slab: int) -> None:
        from speckleflow.stages.reconstruct import reconstruct_slab

        reconstruct_slab(
            self.spec,
            projections=self.path("projections.h5"),
            rows=self.slabs[slab],
            output=self.path(f"slabs/slab_{slab:04d}.h5"),
        )

    def volume(self) -> None:
        from speckleflow.stages.volume import assemble_volumes

        slabs = [self.path(f"slabs/slab_{k:04d}.h5") for k in range(len(self.slabs))]
        assemble_volumes(self.spec, slabs=slabs, output=self.path("volumes.h5"))

    def export(self, format: str) -> Path:
        from speckleflow.stages.export import export_scan

        export_scan(self.spec, volumes=self.path("volumes.h5"), format=format, output=self.path(format))
        return self.path(format)

    def report(self) -> None:
        from speckleflow.stages.report import report_scan

        report_scan(
            self.spec,
            manifest=self.manifest,
            corrected=self.path("corrected.h5"),
            projections=self.path("projections.h5"),
            volumes=self.path("volumes.h5"),
            truth=None,
            timings=self.path("logs"),
            html=self.path("report.html"),
            summary=self.path("summary.json"),
            picture=self.path("contrasts.png"),
        )

    def steps(self) -> list[tuple[str, Any]]:
        """(name, call) of every stage in order."""
        blocks, slabs = range(len(self.blocks)), range(len(self.slabs))
        return [
            ("inspect", self.inspect),
            ("correct", self.correct),
            *((f"retrieve {b}", lambda b=b: self.retrieve(b)) for b in blocks),
            *((f"integrate {b}", lambda b=b: self.integrate(b)) for b in blocks),
            ("assemble", self.assemble),
            *((f"reconstruct {k}", lambda k=k: self.reconstruct(k)) for k in slabs),
            ("volume", self.volume),
        ]

    def run(self) -> Chain:
        for _, call in self.steps():
            call()
        return self
