"""What stands in the beam of a simulated scan, and the images before the detector's noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from speckleflow.config.models import Simulate
from speckleflow.simulate.forward import (
    ProjectedFields,
    by_rays,
    equation_1_sample,
    modulated_sample,
    project,
    propagated_sample,
)
from speckleflow.simulate.modulators import Modulator, modulated_wave, pattern_of, thickness_for_visibility
from speckleflow.simulate.optics import Beam, LineBlur, shift_wave
from speckleflow.simulate.phantoms import Phantom
from speckleflow.simulate.trajectories import trajectory

#: Samples per detector pixel and side. Rays: a mask's edges and a sphere's edge are then right to a few
#: 0.01 px. Wave: twice as many, for the phase of an edge must not turn by more than pi between samples.
OVERSAMPLING: dict[str, int] = {"rays": 4, "rays-eq1": 4, "wave": 8}
_RAYS = {"rays": modulated_sample, "rays-eq1": equation_1_sample}
#: Pixels simulated around the detector: light refracted in, and the reach of blur and interpolation.
MARGIN = 8
#: The thickness of the modulator is found from the wanted visibility; this is only where the search starts.
_ANY_THICKNESS = 1e-6


class Scene:
    """The optics of one scan, from its settings; all random numbers from ``generator``.

    Attributes
    ----------
    beam : energy, pixel, distance, source.
    modulator : with the thickness that gives the wanted visibility.
    visibility : standard deviation / mean of the reference as the detector sees it.
    axis_px : rotation axis in px (pixel centres at integers).
    positions_yx_px : (N, 2) places (y, x) of the modulator in pixels.
    """

    def __init__(self, settings: Simulate, generator: torch.Generator) -> None:
        self.settings = settings
        self.beam = Beam(
            settings.energy_kev,
            settings.pixel_size_um * 1e-6,
            settings.distance_m,
            settings.source_blur_um * 1e-6,
        )
        self.oversampling = OVERSAMPLING[settings.model]
        self.modulator = thickness_for_visibility(
            Modulator.usual(settings.modulator, settings.pitch_um * 1e-6, _ANY_THICKNESS),
            self.beam,
            settings.visibility,
            generator,
            settings.detector.blur_px,
            OVERSAMPLING["rays"],
        )
        self.axis_px = (settings.columns - 1) / 2 + settings.axis_offset_px
        field = (settings.rows + 2 * MARGIN, settings.columns + 2 * MARGIN)
        self._wave = modulated_wave(self.modulator, self.beam, field, generator, self.oversampling)
        self.pattern = pattern_of(self._wave, self.beam, self.oversampling)
        self.visibility = self.pattern.visibility(settings.detector.blur_px)
        self.pitch_px = settings.pitch_um / settings.pixel_size_um
        self.positions_yx_px = trajectory(
            settings.trajectory, settings.positions, self._step_px(), generator, jitter=0.1
        )
        like = self.pattern.intensity
        blur = settings.detector.blur_px * self.oversampling
        self._rows, self._columns = (
            LineBlur(n, self.oversampling, MARGIN, blur, like) for n in (settings.rows, settings.columns)
        )

    def _step_px(self) -> float:
        """Step of the modulator: one and a half pitches (a new pattern), or a part of a grating's period."""
        if self.settings.modulator != "grating":
            return 1.5 * self.pitch_px
        if self.settings.trajectory == "diagonal":
            return self.pitch_px * math.sqrt(5) / 2 / self.settings.positions
        return self.pitch_px / math.ceil(math.sqrt(self.settings.positions))

    def _detect(self, image: Tensor) -> Tensor:
        """Blur, bin and crop: oversampled images with margins to detector pixels."""
        return self._columns.along_x(self._rows.along_y(image))

    def reference(self, position: int) -> Tensor:
        """Reference image (y, x) of one diffuser position, mean 1."""
        y, x = self.positions_yx_px[position].tolist()
        image = self.pattern.crop(self.settings.rows, self.settings.columns, (y, x), MARGIN)
        return self._detect(image)

    def sample(
        self, phantom: Phantom, angle_deg: float, drift_px: tuple[float, float] = (0.0, 0.0)
    ) -> tuple[Tensor, ProjectedFields]:
        """Images (N, y, x) behind the sample, and the true fields, means over pixels (no drift)."""
        settings = self.settings
        places = [(float(y) + drift_px[1], float(x) + drift_px[0]) for y, x in self.positions_yx_px]
        field = (settings.rows + 2 * MARGIN, settings.columns + 2 * MARGIN)
        size = (field[0] * self.oversampling, field[1] * self.oversampling)
        centre = ((settings.rows - 1) / 2, self.axis_px)
        if settings.model in _RAYS:
            stack = torch.stack(
                [self.pattern.crop(settings.rows, settings.columns, place, MARGIN) for place in places]
            )
            fields = project(phantom, self.beam, angle_deg, centre, size, self.oversampling, MARGIN)
            image = by_rays(_RAYS[settings.model], stack, fields, self.beam, self.oversampling)
        else:
            # The canvas may be a little larger than the field: the phantom is projected on all of it.
            canvas = (self._wave.shape[0], self._wave.shape[1])
            fields = project(phantom, self.beam, angle_deg, centre, canvas, self.oversampling, MARGIN)
            waves = shift_wave(self._wave, [(y + MARGIN, x + MARGIN) for y, x in places], self.oversampling)
            waves = waves / self._wave.abs().square().mean().sqrt()
            image = propagated_sample(waves, fields, self.beam, self.oversampling)
            image = image[:, : size[0], : size[1]]
            fields = ProjectedFields(*(f[: size[0], : size[1]] for f in fields))
        return self._detect(image), fields.binned(self.oversampling, MARGIN)
