"""Scenes of the benchmark whose truth is known, by Fresnel propagation of diffuser and sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speckleflow.evaluate.limit import displacement_information, phase_limit
from speckleflow.retrieval.blur import PIXEL_VARIANCE
from speckleflow.scan.acquisition import Acquisition
from speckleflow.scan.geometry import plane_distances
from speckleflow.simulate.modulators import Modulator, modulated_wave
from speckleflow.simulate.optics import Beam, LineBlur, bin_mean, shift_wave
from speckleflow.simulate.wave import intensity, propagate, transmission_function

Array = NDArray[np.float64]
#: phase in rad and attenuation -ln T at places (y, 1), (1, x) in pixels from the middle of the image
Sample = Callable[[Array, Array], tuple[Array, Array]]

#: pixels simulated beyond each border
MARGIN_PX = 16


@dataclass(frozen=True)
class WaveScene:
    """Stacks of a sample by wave optics, and the truth.

    Attributes
    ----------
    reference, sample : (N, y, x) float32, the beam about 1.
    clean : (N, y, x) reference without noise.
    phase, attenuation : means over each pixel (y, x), in rad and as -ln T.
    ux, uy : displacement in px that the gradient of the phase makes, on the reference grid.
    acquisition : what a method is told.
    photons : per pixel and frame in the empty beam.
    """

    reference: Tensor
    sample: Tensor
    clean: Tensor
    phase: Array
    attenuation: Array
    ux: Array
    uy: Array
    acquisition: Acquisition
    photons: float

    @property
    def lever_m(self) -> float:
        """Distance over which an angle becomes a displacement of the pattern."""
        known = self.acquisition
        assert known.distance_m is not None
        return float(plane_distances(known.distance_m, known.diffuser_distance_m, 1.0)[1])

    @property
    def phase_per_px(self) -> float:
        """Phase difference in rad of neighbouring pixels for a displacement of 1 px."""
        known = self.acquisition
        assert known.pixel_x_m is not None
        return 2 * math.pi * known.pixel_x_m**2 / (known.wavelength_m * self.lever_m)

    def first(self, positions: int) -> WaveScene:
        """The scene of the first diffuser positions."""
        return replace(
            self,
            reference=self.reference[:positions],
            sample=self.sample[:positions],
            clean=self.clean[:positions],
        )

    def limits(self, inside: NDArray[np.bool_]) -> tuple[float, float]:
        """Cramer-Rao bounds over a mask: of a component of the displacement in px, and of the phase in rad."""
        transmission = np.exp(-self.attenuation)
        information = displacement_information(
            self.clean.double().numpy(), transmission, np.ones_like(transmission), self.photons
        )
        variance = np.trace(np.linalg.inv(information + 1e-9 * np.eye(2)), axis1=2, axis2=3) / 2
        phase = phase_limit(information, inside, inside, draws=2)
        return float(np.sqrt(variance[inside].mean())), phase * self.phase_per_px


def wave_scene(
    sample: Sample,
    modulator: Modulator,
    beam: Beam,
    shape: tuple[int, int],
    places_px: Sequence[tuple[float, float]],
    *,
    photons: float,
    blur_px: float,
    seed: int,
    behind_m: float = 0.0,
    oversampling: int = 2,
) -> WaveScene:
    """A sample in the beam with a modulator at several places.

    Parameters
    ----------
    sample : phase and attenuation of a place.
    modulator, beam : the beam's distance is that from sample to detector.
    shape : (y, x) pixels of the image.
    places_px : of the modulator, (y, x) in pixels.
    photons : per pixel and frame in the empty beam.
    blur_px : standard deviation of the detector's point spread.
    seed : of modulator and noise.
    behind_m : how far the modulator stands behind the sample; 0: in its plane.
    oversampling : samples a pixel.
    """
    generator = torch.Generator().manual_seed(seed)
    field = (shape[0] + 2 * MARGIN_PX, shape[1] + 2 * MARGIN_PX)
    paper = modulated_wave(modulator, beam, field, generator, oversampling)
    paper = paper / intensity(paper).mean().sqrt()
    y, x = (
        (np.arange(n) + 0.5) / oversampling - 0.5 - MARGIN_PX - (side - 1) / 2
        for n, side in zip(paper.shape, shape, strict=True)
    )
    phase, attenuation = (np.broadcast_to(a, paper.shape) for a in sample(y[:, None], x[None, :]))
    object_ = transmission_function(torch.tensor(phase), torch.tensor(attenuation)).to(torch.complex64)
    # s^2 / lambda of one sample: over a distance, its Fresnel number
    number = (beam.pixel_size_m / oversampling) ** 2 * beam.wavenumber_m / (2 * math.pi)
    blurs = [LineBlur(n, oversampling, MARGIN_PX, blur_px * oversampling, torch.zeros(1)) for n in shape]
    crop = tuple(slice(0, n * oversampling) for n in field)

    def seen(wave: Tensor) -> Tensor:
        image = intensity(propagate(wave, number / (beam.distance_m - behind_m)))[crop]
        return blurs[1].along_x(blurs[0].along_y(image)).clamp_min(0)

    at_diffuser = propagate(object_, number / behind_m) if behind_m else object_
    clean, sampled = [], []
    for place in places_px:
        (moved,) = shift_wave(paper, [place], oversampling)
        clean.append(seen(moved))
        sampled.append(seen(at_diffuser * moved))
    level = float(torch.stack(clean).mean())
    images = [torch.stack(stack) / level for stack in (clean, sampled)]
    reference, measured = (torch.poisson(i * photons, generator=generator) / photons for i in images)

    inner = tuple(slice(MARGIN_PX, MARGIN_PX + n) for n in shape)
    means = [
        bin_mean(torch.tensor(np.ascontiguousarray(a))[crop], oversampling)[inner].numpy()
        for a in (phase, attenuation)
    ]
    acquisition = Acquisition(
        energy_kev=beam.energy_kev,
        pixel_x_m=beam.pixel_size_m,
        pixel_y_m=beam.pixel_size_m,
        distance_m=beam.distance_m,
        diffuser_distance_m=-behind_m,
        magnification=1.0,
        detector_blur_x_px=math.sqrt(blur_px**2 + PIXEL_VARIANCE),
        detector_blur_y_px=math.sqrt(blur_px**2 + PIXEL_VARIANCE),
    )
    scene = WaveScene(
        reference, measured, images[0], means[0], means[1], means[0], means[0], acquisition, photons
    )
    gy, gx = np.gradient(phase, 1 / oversampling)
    uy, ux = (
        bin_mean(torch.tensor(g)[crop], oversampling)[inner].numpy() / scene.phase_per_px for g in (gy, gx)
    )
    return replace(scene, ux=ux, uy=uy)


def grid_places(count: int, step_px: float) -> list[tuple[float, float]]:
    """Places (y, x) of an XY scan, row by row, as near to a square as possible."""
    columns = math.ceil(math.sqrt(count))
    return [(step_px * (k // columns), step_px * (k % columns)) for k in range(count)]


def ellipsoids(
    seed: int, count: int, side_px: float, sizes_px: tuple[float, float], power: float = 0.5
) -> Callable[[Array, Array], Array]:
    """Thickness in pixels of ellipsoids of random place, size and turn, away from the borders.

    Parameters
    ----------
    seed : of the places.
    count : how many.
    side_px : of the square in which their middles lie.
    sizes_px : shortest and longest half axis.
    power : of 1 - r^2: 0.5 is an ellipsoid, larger is softer at its edge.
    """
    rng = np.random.default_rng(seed)
    drawn = [
        (*rng.uniform(-side_px / 2, side_px / 2, 2), *rng.uniform(*sizes_px, 3), rng.uniform(0, math.pi))
        for _ in range(count)
    ]

    def thickness(y: Array, x: Array) -> Array:
        total = np.zeros(np.broadcast_shapes(y.shape, x.shape))
        for cy, cx, a, b, c, turn in drawn:
            along = (x - cx) * math.cos(turn) + (y - cy) * math.sin(turn)
            across = (y - cy) * math.cos(turn) - (x - cx) * math.sin(turn)
            total += 2 * c * np.clip(1 - (along / a) ** 2 - (across / b) ** 2, 0, None) ** power
        return total

    return thickness
