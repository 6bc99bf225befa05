"""Wave-optical refinement of a tracking method: its displacement begins, all frames and the wave equation decide.

The phase that the displacement integrates to, and the transmission, are where the iterations of preconditioned
Wirtinger flow begin (:mod:`.solver`); a few of them bring in what tracking leaves out, the fringes of propagation.
Phases that are slower than ``FLOOR`` are left nearly as tracking has them: it sees them better than few iterations do.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from speckleflow.phase import integrate_displacement
from speckleflow.physics import phase_gradient_per_px
from speckleflow.retrieval.base import FLAG_BOUND, FLAG_FOLD, Fields, Retriever
from speckleflow.retrieval.blur import PIXEL_VARIANCE
from speckleflow.retrieval.grids import to_detector
from speckleflow.retrieval.wave.coherence import coherence_of
from speckleflow.retrieval.wave.declared import refined
from speckleflow.retrieval.wave.scan import ScanOptics
from speckleflow.retrieval.wave.solver import Rules, solve
from speckleflow.scan.acquisition import Acquisition
from speckleflow.scan.geometry import plane_distances

log = logging.getLogger(__name__)

#: cycles a pixel below which the phase hardly moves; weights of the damping beyond the sample's band: those with
#: the least error of phase and attenuation on wave-optical scenes and on beads (benchmarks/wave.md)
FLOOR = 0.02
ATTENUATION_WEIGHT, PHASE_WEIGHT = 0.1, 0.01
#: point spread in px of a detector of which nothing is known
TYPICAL_BLUR_PX = 0.7
#: p^2 / (lambda d) above which propagation shows nothing that tracking has not seen
LARGEST_FRESNEL_NUMBER = 1.0
#: least transmission that the iterations begin with
FAINTEST = 1e-3


@dataclass(frozen=True)
class State:
    """What the method prepared, the optics and the acquisition of the scan, and the rules of the iterations."""

    tracking: Any
    scan: ScanOptics
    acquisition: Acquisition
    rules: Rules


class WaveRefined(Retriever):
    """A tracking method whose phase and attenuation are refined by wave optics.

    Parameters
    ----------
    method : the tracking method.
    iterations : number of them.
    blur_px : standard deviation of the detector's point spread in px; None: the acquisition's, or a typical one.
    """

    def __init__(self, method: Retriever, iterations: int = 30, blur_px: float | None = None) -> None:
        super().__init__(method.settings, method.device)
        self.spec = refined(method.spec, iterations)
        self._method, self._iterations, self._blur_px = method, iterations, blur_px

    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> State:
        tracking = self._method.prepare(reference, acquisition)
        self.weights_sha256 = self._method.weights_sha256
        pixel = acquisition.pixel_x_m
        assert pixel is not None
        fresnel = pixel**2 / (acquisition.wavelength_m * acquisition.effective_distance_m)
        if fresnel > LARGEST_FRESNEL_NUMBER:
            log.warning(
                "retrieval.refine: wave has little to add at p^2 / (lambda d) = %.2g (it helps below about 0.5), "
                "and may add noise",
                fresnel,
            )
        known = (
            acquisition.detector_blur_y_px or TYPICAL_BLUR_PX,
            acquisition.detector_blur_x_px or TYPICAL_BLUR_PX,
        )
        blur = known if self._blur_px is None else (self._blur_px, self._blur_px)
        # what the pixel itself averages over is a blur too
        lengths = [coherence_of(math.sqrt(sigma**2 + PIXEL_VARIANCE)) for sigma in blur]
        scan = ScanOptics.of(reference, acquisition, (lengths[0], lengths[1]))
        beyond = scan.beyond_band(1.0)
        rules = Rules(
            0.0,
            self._iterations,
            scan.inverse_square(FLOOR),
            ATTENUATION_WEIGHT * beyond,
            PHASE_WEIGHT * beyond,
        )
        return State(tracking, scan, acquisition, rules)

    def _reference_shape(self, state: State) -> tuple[int, int, int]:
        return state.scan.shape

    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        fields = self._method(sample, state.tracking)
        assert fields.ux is not None
        assert fields.uy is not None
        # a shift of the whole image is a plane of phase, which no periodic grid holds: the frames are moved instead
        shift = [u.flatten(1).median(1).values for u in (fields.uy, fields.ux)]
        gradient = self._gradients(state.acquisition)
        start = self._phase(fields, shift, state.acquisition)
        grid = state.scan.grid
        frames = _moved(grid.pad(sample / state.scan.level), shift)
        attenuation = -torch.log(fields.transmission.clamp_min(FAINTEST))
        with torch.inference_mode():
            solution = solve(
                state.scan.optics,
                grid.resample(frames),
                state.rules,
                (grid.forth(-attenuation / 2), grid.forth(start)),
                self._darkfield(fields, shift, state.scan),
            )
        phase, log_amplitude = grid.back(solution.phase), grid.back(solution.log_amplitude)
        rows, columns = (
            torch.arange(n, device=phase.device, dtype=torch.float64) - (n - 1) / 2 for n in phase.shape[-2:]
        )
        plane = gradient[0] * shift[0][:, None, None] * rows[:, None]
        plane = plane + gradient[1] * shift[1][:, None, None] * columns
        return replace(
            fields,
            transmission=torch.exp(2 * log_amplitude),
            attenuation=-2 * log_amplitude,
            phase=(phase + plane).to(torch.float32),
            transmission_measured=fields.transmission
            if fields.transmission_measured is None
            else fields.transmission_measured,
        )

    @staticmethod
    def _gradients(acquisition: Acquisition) -> tuple[float, float]:
        """Phase (y, x) in rad per pixel of a displacement of 1 px."""
        assert acquisition.energy_kev is not None
        assert acquisition.distance_m is not None
        _, lever = plane_distances(
            acquisition.distance_m, acquisition.diffuser_distance_m, acquisition.magnification or 1.0
        )
        y, x = (
            phase_gradient_per_px(acquisition.energy_kev, pixel, lever)
            for pixel in (acquisition.pixel_y_m, acquisition.pixel_x_m)
            if pixel is not None
        )
        return y, x

    def _phase(self, fields: Fields, shift: list[Tensor], acquisition: Acquisition) -> Tensor:
        """Phase (B, y, x) of the displacement without its shift."""
        along_y, along_x = self._gradients(acquisition)
        assert fields.ux is not None
        assert fields.uy is not None
        assert acquisition.energy_kev is not None
        assert acquisition.pixel_x_m is not None
        _, lever = plane_distances(
            acquisition.distance_m or 0.0, acquisition.diffuser_distance_m, acquisition.magnification or 1.0
        )
        ux, uy = (
            fields.ux - shift[1][:, None, None],
            (fields.uy - shift[0][:, None, None]) * (along_y / along_x),
        )
        std, flags = fields.displacement_std, fields.flags
        reject = None
        if std is not None and flags is not None:
            reject = (flags & (FLAG_BOUND | FLAG_FOLD) > 0).cpu().numpy()
        phase = integrate_displacement(
            ux.cpu().numpy(),
            uy.cpu().numpy(),
            energy_kev=acquisition.energy_kev,
            pixel_size_m=acquisition.pixel_x_m,
            distance_m=lever,
            sigma=None if std is None else std.cpu().numpy(),
            reject=reject,
        )
        return torch.from_numpy(phase).to(self.device)

    @staticmethod
    def _darkfield(fields: Fields, shift: list[Tensor], scan: ScanOptics) -> Tensor | None:
        """Visibility ratio (B, y, x) where the light lands, on the solver's grid; None where nothing scatters."""
        if fields.darkfield is None:
            return None
        assert fields.ux is not None
        assert fields.uy is not None
        moved = replace(
            fields, ux=fields.ux - shift[1][:, None, None], uy=fields.uy - shift[0][:, None, None]
        )
        landed = to_detector(moved).darkfield
        assert landed is not None
        return scan.grid.forth(landed.clamp(0.0, 1.0))


def _moved(frames: Tensor, shift: list[Tensor]) -> Tensor:
    """Frames (B, N, y, x) at x + shift, with ``shift`` (y, x) in px of each projection (B,)."""
    height, width = frames.shape[-2:]
    fy = torch.fft.fftfreq(height, device=frames.device)
    fx = torch.fft.rfftfreq(width, device=frames.device)
    turn = shift[0][:, None, None] * fy[:, None] + shift[1][:, None, None] * fx
    ahead = torch.polar(torch.ones_like(turn), 2 * math.pi * turn)[:, None]
    return torch.fft.irfft2(torch.fft.rfft2(frames) * ahead, s=(height, width))
