"""Retrieval of one pair of stacks, from arrays to fields."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from speckleflow.errors import ConfigError
from speckleflow.retrieval import registry
from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.retrieval.consistency import Consistency
from speckleflow.retrieval.grids import to_detector
from speckleflow.retrieval.wave.refine import WaveRefined
from speckleflow.scan.acquisition import Acquisition

Grid = Literal["reference", "detector"]
Refinement = Literal["none", "wave"]


def make_method(
    method: str,
    settings: Any = None,
    device: torch.device | str = "cpu",
    *,
    refine: Refinement = "none",
    refine_iterations: int = 30,
    refine_blur_px: float | None = None,
) -> Retriever:
    """A method bound to its settings and a device, with its refinement; settings None: its defaults.

    Raises
    ------
    ConfigError
        An unknown method, or one without a displacement to refine.
    """
    made = registry.get(method)(registry.default_settings(method) if settings is None else settings, device)
    return made if refine == "none" else WaveRefined(made, refine_iterations, refine_blur_px)


def retrieve_stack(
    reference: np.ndarray | Tensor | None,
    sample: np.ndarray | Tensor,
    method: str = "auto",
    settings: Any = None,
    device: torch.device | str = "cpu",
    grid: Grid = "reference",
    acquisition: Acquisition | None = None,
    refine: Refinement = "none",
    largest_misfit: float = 0.5,
) -> Fields:
    """Fields (1, y, x) of a sample stack (N, y, x) against its reference stack (N, y, x).

    Parameters
    ----------
    reference : None for a method that needs none, when the sample has been divided by its flat.
    settings : the method's section of the configuration; None: its defaults.
    device : where to compute.
    grid : where the fields belong, see :mod:`speckleflow.retrieval.grids`.
    acquisition : energy, distances and pixel sizes, for a method that needs them.
    refine : wave: phase and attenuation are fitted to all frames by the wave equation.
    largest_misfit : pixels of a larger misfit are flagged, see :mod:`speckleflow.retrieval.consistency`.

    Raises
    ------
    ConfigError
        An unknown method or grid, or a reference missing where the method needs one.
    InputError
        Shapes that do not fit, too few positions, values that are not finite, no distance where one is needed.
    """
    retriever = make_method(method, settings, device, refine=refine)
    if grid not in ("reference", "detector"):
        raise ConfigError(f"grid: expected 'reference' or 'detector', found '{grid}'")
    frames = torch.as_tensor(sample)
    if reference is None:
        if retriever.spec.needs_reference:
            raise ConfigError(f"retrieval.method '{method}' needs a reference stack, found none")
        reference = torch.ones_like(frames, dtype=torch.float32)
    reference, frames = torch.as_tensor(reference), frames[None] if frames.ndim == 3 else frames
    fields = retriever(frames, retriever.prepare(reference, acquisition))
    if retriever.spec.can_be_checked:
        check = Consistency.of(reference.to(retriever.device, torch.float32))
        fields = check.check(frames, fields, largest_misfit)
    return to_detector(fields) if grid == "detector" and fields.ux is not None else fields
