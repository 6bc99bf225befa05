"""Whether the files of a scan fit together, by their headers: one sentence for each that does not."""

from __future__ import annotations

import os

from speckleflow.config import ScanConfig
from speckleflow.errors import InputError
from speckleflow.io.base import FrameSource
from speckleflow.io.layout import Layout
from speckleflow.io.roles import AS_FLATS
from speckleflow.scan.spec import ScanSpec


def several_positions(sources: list[FrameSource]) -> list[InputError]:
    """Files of one position each that hold several."""
    return [
        InputError(
            source.name,
            expected="frames (theta, y, x) of one diffuser position, as there is a file for each",
            found=_shape(source),
        )
        for source in sources
        if len(sources) > 1 and len(source.shape) == 4
    ]


def same_files(layout: Layout, spec: ScanSpec) -> list[InputError]:
    """A file that is to be sample and reference at once, where its datasets do not tell them apart."""
    if spec.config.files.reference_dataset is not None:
        return []
    samples = {os.path.realpath(spec.root / name) for name in layout.sample}
    return [
        InputError(name, expected="another file as reference than as sample", found="the same")
        for name in layout.reference
        if os.path.realpath(spec.root / name) in samples
    ]


def swapped_files(problem: InputError, first: FrameSource, references: list[FrameSource]) -> InputError:
    """Where the reference files have the angles that the sample's lack, say what that means."""
    if first.angles() is not None or not any(source.angles() is not None for source in references):
        return problem
    return InputError(
        problem.where,
        expected=problem.expected,
        found=f"{problem.found}, but the reference files have angles",
        hint="are files.sample and files.reference swapped?",
    )


def unequal_samples(sources: list[FrameSource], first: FrameSource) -> list[InputError]:
    """Sample files whose frames differ from the first one's in number, size or type."""
    return [
        InputError(
            source.name,
            expected=f"{_shape(first)} as in {first.name}",
            found=_shape(source),
        )
        for source in sources[1:]
        if (source.shape, source.dtype) != (first.shape, first.dtype)
    ]


def unpaired_references(
    references: list[FrameSource], first: FrameSource, positions: int, layout: Layout, config: ScanConfig
) -> list[InputError]:
    """References whose frames are of another size or number than the sample's."""
    problems = []
    as_flats = config.files.reference_dataset == AS_FLATS
    for source in references:
        if source.shape[-2:] != first.shape[-2:]:
            problems.append(
                InputError(
                    source.name,
                    expected=f"frames of {_size(first)} as in {first.name}",
                    found=f"frames of {_size(source)}",
                )
            )
        if as_flats and not source.n_flats:
            problems.append(
                InputError(
                    source.name,
                    expected="reference frames as flats (files.reference_dataset)",
                    found="no flats",
                )
            )
    if len(references) == 1 and len(layout.reference) == 1 and positions > 1:
        source = references[0]
        held = source.shape[1] if len(source.shape) == 4 else source.shape[0]
        if held != positions:
            problems.append(
                InputError(
                    first.name,
                    expected=f"{held} sample frames, one for each reference frame in {source.name}",
                    found=f"{positions}",
                )
            )
    return problems


def _size(source: FrameSource) -> str:
    return f"{source.shape[-2]} x {source.shape[-1]} pixels"


def _shape(source: FrameSource) -> str:
    positions = f" of {source.shape[1]} positions" if len(source.shape) == 4 else ""
    return f"{source.shape[0]} frames{positions} of {_size(source)} ({source.dtype})"
