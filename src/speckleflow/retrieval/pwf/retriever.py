"""Preconditioned Wirtinger flow as a retrieval method.

Source: the preconditioned Wirtinger flow paper's Methods (eq. 2-5, 11-15). Beyond it: several diffuser positions are
fitted jointly; the step is at most 1 / (largest curvature), and one under which the loss grows is halved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speckleflow.retrieval.base import FLAG_EDGE, Fields, Retriever
from speckleflow.retrieval.pwf.spec import SPEC
from speckleflow.retrieval.wave.coherence import coherence_lengths_px, coherence_of
from speckleflow.retrieval.wave.scan import ScanOptics, metres
from speckleflow.retrieval.wave.solver import Rules, solve
from speckleflow.scan.acquisition import Acquisition


@dataclass(frozen=True)
class State:
    """Optics of the scan, and the rules of the iterations."""

    scan: ScanOptics
    rules: Rules


class Pwf(Retriever):
    """Phase and attenuation of N >= 1 diffuser positions; ``settings``: :class:`.settings.PwfSettings`."""

    spec = SPEC

    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> State:
        scan = ScanOptics.of(reference, acquisition, self._coherence_px(reference, acquisition))
        settings, beyond = self.settings, scan.beyond_band(self.settings.oversampling_ratio)
        inverse = scan.inverse_square(0.0)
        rules = Rules(
            settings.tolerance,
            settings.iterations,
            inverse if settings.preconditioner else (inverse > 0).to(inverse.dtype),
            settings.attenuation_weight * beyond,
            settings.phase_weight * beyond,
        )
        return State(scan, rules)

    def _coherence_px(self, reference: Tensor, acquisition: Acquisition) -> tuple[float, float]:
        """Coherence lengths (y, x) in pixels: as told, of the detector's blur, or of the reference itself."""
        if (told := self.settings.coherence_length_um) is not None:
            y, x = metres((1.0, 1.0), acquisition)
            return told[0] * 1e-6 / y, told[1] * 1e-6 / x
        blur = acquisition.detector_blur_y_px, acquisition.detector_blur_x_px
        if blur[0] and blur[1]:
            return coherence_of(blur[0]), coherence_of(blur[1])
        return coherence_lengths_px(reference)

    def _reference_shape(self, state: State) -> tuple[int, int, int]:
        return state.scan.shape

    @torch.inference_mode()
    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        scan = state.scan
        # the light that is absorbed everywhere is known at once
        level = sample.mean((-3, -2, -1), keepdim=True)
        solution = solve(scan.optics, scan.grid.forth(sample / level), state.rules)
        phase, log_amplitude = (scan.grid.back(image) for image in (solution.phase, solution.log_amplitude))
        phase = _without_plane(phase, self.settings.wing_ratio)
        attenuation = -2 * log_amplitude - torch.log(level[:, 0] / scan.level)
        flags = torch.where(scan.grid.back(scan.optics.mask) > 0.99, 0, FLAG_EDGE).to(torch.uint8)
        return Fields(
            transmission=torch.exp(-attenuation),
            phase=phase,
            attenuation=attenuation,
            flags=flags.expand_as(phase).contiguous(),
        )


def _without_plane(phase: Tensor, wing_ratio: float) -> Tensor:
    """Phase (B, y, x) less the plane that fits the columns of both wings."""
    height, width = phase.shape[-2:]
    wing = int(wing_ratio * width)
    if wing < 1:
        return phase
    columns = torch.cat([torch.arange(wing), torch.arange(width - wing, width)])
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height, dtype=torch.float64), torch.linspace(-1, 1, width, dtype=torch.float64),
        indexing="ij",
    )  # fmt: skip
    basis = torch.stack([torch.ones_like(x), x, y], -1).to(phase.device)
    values = phase[..., columns.to(phase.device)].double().flatten(1)
    fitted = torch.linalg.lstsq(basis[:, columns].reshape(-1, 3), values.T).solution
    return (phase - (basis @ fitted).permute(2, 0, 1)).to(phase.dtype)
