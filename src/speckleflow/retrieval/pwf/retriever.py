"""Preconditioned Wirtinger flow as a retrieval method.

Source: the preconditioned Wirtinger flow paper's Methods (eq. 2-5, 11-15). Beyond it: several diffuser positions are
fitted jointly, and a step under which the loss grows is halved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speckleflow.retrieval.base import FLAG_EDGE, Fields, Retriever
from speckleflow.retrieval.pwf.coherence import blur_of, coherence_lengths_px, coherence_of
from speckleflow.retrieval.pwf.grid import SAMPLES_PER_COHERENCE, Grid, resampled
from speckleflow.retrieval.pwf.illumination import coherent_intensity, diffuser
from speckleflow.retrieval.pwf.solver import Optics, Rules, solve
from speckleflow.retrieval.pwf.spec import SPEC
from speckleflow.retrieval.wave.optics import Planes, fresnel_transfer, gaussian_transfer
from speckleflow.scan.acquisition import Acquisition


@dataclass(frozen=True)
class State:
    """A scan's reference: shape (N, y, x), its mean, grid, optics, coherence lengths (y, x) in px, stopping rules."""

    shape: tuple[int, int, int]
    level: float
    grid: Grid
    optics: Optics
    coherence_px: tuple[float, float]
    rules: Rules


class Pwf(Retriever):
    """Phase and attenuation of N >= 1 diffuser positions; ``settings``: :class:`.settings.PwfSettings`."""

    spec = SPEC

    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> State:
        n, height, width = reference.shape
        level = float(reference.mean())
        coherence = self._coherence_px(reference, acquisition)
        grid = Grid.of((height, width), (coherence[0] / SAMPLES_PER_COHERENCE, coherence[1] / SAMPLES_PER_COHERENCE))
        per_sample = coherence[0] / grid.width_px[0], coherence[1] / grid.width_px[1]
        sample_m = _metres(grid.width_px, acquisition)
        planes = Planes.of(acquisition)

        def transfer(distance: float) -> Tensor:
            return fresnel_transfer(grid.samples, sample_m, acquisition.wavelength_m, distance).to(self.device)

        after = transfer(planes.after_m)

        def transfer_of(shape: tuple[int, int], lengths: tuple[float, float]) -> Tensor:
            return gaussian_transfer(shape, (blur_of(lengths[0]), blur_of(lengths[1]))).to(self.device)

        iotf = transfer_of(grid.samples, per_sample)
        # in pixels, where the highest frequencies hold the noise
        sharp = coherent_intensity(grid.pad(reference / level), transfer_of(grid.padded, coherence))
        optics = Optics(
            diffuser(resampled(sharp, grid.samples).clamp_min(0), after),
            transfer(planes.before_m) if planes.before_m else None,
            after,
            iotf,
            grid.mask().to(self.device),
        )
        return State((n, height, width), level, grid, optics, coherence, self._rules(grid.samples, per_sample))

    def _coherence_px(self, reference: Tensor, acquisition: Acquisition) -> tuple[float, float]:
        """Coherence lengths (y, x) in pixels: as told, of the detector's blur, or of the reference itself."""
        if (told := self.settings.coherence_length_um) is not None:
            y, x = _metres((1.0, 1.0), acquisition)
            return told[0] * 1e-6 / y, told[1] * 1e-6 / x
        blur = acquisition.detector_blur_y_px, acquisition.detector_blur_x_px
        if blur[0] is not None and blur[1] is not None:
            return coherence_of(blur[0]), coherence_of(blur[1])
        return coherence_lengths_px(reference)

    def _rules(self, samples: tuple[int, int], coherence: tuple[float, float]) -> Rules:
        """Filters on the grid of rfft2: 1 / k^2 (eq. 11), and 1 - STF (eq. 14, 15) with its weights."""
        settings = self.settings
        fy = torch.fft.fftfreq(samples[0], dtype=torch.float64)[:, None]
        fx = torch.fft.rfftfreq(samples[1], dtype=torch.float64)[None, :]
        square = fy**2 + fx**2
        inverse = torch.where(square > 0, 1 / square.clamp_min(1e-12), 0.0)
        gamma = torch.pi * settings.oversampling_ratio
        beyond = 1 - torch.exp(-gamma * ((fy * coherence[0]) ** 2 + (fx * coherence[1]) ** 2))
        preconditioner = inverse if settings.preconditioner else (square > 0).double()

        def placed(filter_: Tensor) -> Tensor:
            return filter_.to(self.device, torch.float32)

        return Rules(
            settings.tolerance,
            settings.iterations,
            placed(preconditioner),
            placed(settings.attenuation_weight * beyond),
            placed(settings.phase_weight * beyond),
        )

    def _reference_shape(self, state: State) -> tuple[int, int, int]:
        return state.shape

    @torch.inference_mode()
    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        measured = state.grid.forth(sample / state.level)
        solution = solve(state.optics, measured, state.rules)
        phase, log_amplitude = (state.grid.back(image) for image in (solution.phase, solution.log_amplitude))
        phase = _without_plane(phase, self.settings.wing_ratio)
        attenuation = -2 * log_amplitude
        flags = torch.where(state.grid.back(state.optics.mask) > 0.99, 0, FLAG_EDGE).to(torch.uint8)
        return Fields(
            transmission=torch.exp(-attenuation),
            phase=phase,
            attenuation=attenuation,
            flags=flags.expand_as(phase).contiguous(),
        )


def _metres(width_px: tuple[float, float], acquisition: Acquisition) -> tuple[float, float]:
    """Widths (y, x) in pixels as metres in the sample plane."""
    assert acquisition.pixel_y_m is not None
    assert acquisition.pixel_x_m is not None
    return width_px[0] * acquisition.pixel_y_m, width_px[1] * acquisition.pixel_x_m


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
