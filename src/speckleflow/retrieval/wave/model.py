"""Wave-optical prediction of N sample frames from phase and attenuation, with its derivative and adjoint.

    prediction_n = pixel( blur( | P_2( W_n P_1 exp(i phi - A / 2) ) |^2 ) ),   W_n = P_-2( sqrt( reference_n, sharpened ) )

on a grid of ``OVERSAMPLING`` samples a pixel. P_1 and P_2 are the propagations from the sample to the diffuser and on to
the detector (a diffuser upstream: P_1 = 1 and W_n is the wave that meets the sample). The reference's phase is not
measured and taken for zero at the detector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from speckleflow.retrieval.wave.optics import (
    Planes,
    filtered,
    fresnel_transfer,
    gaussian_transfer,
    good_size,
    intensity,
    propagated,
)
from speckleflow.scan.acquisition import Acquisition

#: samples a pixel and side: |wave|^2 has twice the bandwidth of the wave
OVERSAMPLING = 2
#: pixels of border that are added at least on each side, and the outer pixels whose frames are not compared
PADDING_PX, UNSEEN_PX = 16, 2
#: Richardson-Lucy steps that sharpen the reference; more of them sharpen its noise
SHARPENING = 15
#: least light of a pixel, of the reference's mean: a frame over it stays finite
FAINTEST = 0.02


@dataclass(frozen=True)
class Geometry:
    """Grids of one scan: pixels (y, x), pixels with their padding, the padding (left, right, top, bottom)."""

    shape: tuple[int, int]
    padded: tuple[int, int]
    margins: tuple[int, int, int, int]

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Geometry:
        """Padded to a size that a Fourier transform likes."""
        padded = [good_size(n + 2 * PADDING_PX) for n in shape]
        top, left = ((p - n) // 2 for p, n in zip(padded, shape, strict=True))
        margins = (left, padded[1] - shape[1] - left, top, padded[0] - shape[0] - top)
        return cls(shape, (padded[0], padded[1]), margins)

    @property
    def samples(self) -> tuple[int, int]:
        """Samples (y, x) of the wave."""
        return OVERSAMPLING * self.padded[0], OVERSAMPLING * self.padded[1]

    def pad(self, images: Tensor) -> Tensor:
        """Images (N, y, x) with their border repeated around them."""
        return pad(images[None], self.margins, mode="replicate")[0]

    def finer(self, images: Tensor) -> Tensor:
        """Images (N, y, x), padded, on the samples of the wave."""
        return interpolate(self.pad(images)[:, None], scale_factor=OVERSAMPLING, mode="bicubic")[:, 0]

    def pixels(self, images: Tensor) -> Tensor:
        """Means over pixels (N, y, x) of images on the samples of the wave, without the padding."""
        left, _, top, _ = self.margins
        binned = avg_pool2d(images[:, None], OVERSAMPLING)[:, 0]
        return binned[:, top : top + self.shape[0], left : left + self.shape[1]]

    def seen(self) -> Tensor:
        """1 where a padded pixel was measured, 0 in the padding and the outermost pixels."""
        inner = torch.zeros(self.padded)
        left, _, top, _ = self.margins
        rows = slice(top + UNSEEN_PX, top + self.shape[0] - UNSEEN_PX)
        inner[rows, left + UNSEEN_PX : left + self.shape[1] - UNSEEN_PX] = 1
        return inner


class WaveModel:
    """The optics of a scan, prepared from its reference frames.

    Parameters
    ----------
    reference : (N, y, x) corrected reference frames.
    acquisition : energy, pixels and distances.
    blur_px : standard deviation (y, x) of the detector's point spread in pixels.
    """

    def __init__(self, reference: Tensor, acquisition: Acquisition, blur_px: tuple[float, float]) -> None:
        self.level = float(reference.mean())
        self.geometry = Geometry.of((reference.shape[-2], reference.shape[-1]))
        samples, device = self.geometry.samples, reference.device
        assert acquisition.pixel_y_m is not None
        assert acquisition.pixel_x_m is not None
        width = acquisition.pixel_y_m / OVERSAMPLING, acquisition.pixel_x_m / OVERSAMPLING
        planes = Planes.of(acquisition)

        def transfer(distance: float) -> Tensor:
            return fresnel_transfer(samples, width, acquisition.wavelength_m, distance).to(device)

        self._after = transfer(planes.after_m)
        self._before = transfer(planes.before_m) if planes.before_m else None
        self._blur = gaussian_transfer(samples, (blur_px[0] * OVERSAMPLING, blur_px[1] * OVERSAMPLING)).to(device)
        self.reference = self.geometry.pad(reference / self.level).clamp_min(FAINTEST)
        self.seen = self.geometry.seen().to(device)
        self.incident = propagated(self._sharpened().sqrt().to(torch.complex64), self._after.conj())

    def _sharpened(self) -> Tensor:
        """Reference intensity before blur and pixels, never negative: Richardson-Lucy."""
        light = interpolate(self.reference[:, None], scale_factor=OVERSAMPLING, mode="bicubic")[:, 0]
        light = light.clamp_min(FAINTEST)
        for _ in range(SHARPENING):
            ratio = self.reference / self.detect(light).clamp_min(FAINTEST)
            light = light * self.undetect(ratio) * OVERSAMPLING**2
        return light

    def detect(self, light: Tensor) -> Tensor:
        """What pixels see of an intensity (N, samples): (N, padded pixels)."""
        return avg_pool2d(filtered(light, self._blur)[:, None], OVERSAMPLING)[:, 0]

    def undetect(self, image: Tensor) -> Tensor:
        """Adjoint of :meth:`detect`."""
        spread = image.repeat_interleave(OVERSAMPLING, -1).repeat_interleave(OVERSAMPLING, -2)
        return filtered(spread / OVERSAMPLING**2, self._blur)

    def arrive(self, wave: Tensor) -> Tensor:
        """Wave (samples) just behind the sample, at the detector: (N, samples)."""
        met = wave if self._before is None else propagated(wave, self._before)
        return propagated(self.incident * met, self._after)

    def depart(self, waves: Tensor) -> Tensor:
        """Adjoint of :meth:`arrive`: (N, samples) to (samples)."""
        met = (propagated(waves, self._after.conj()) * self.incident.conj()).sum(0)
        return met if self._before is None else propagated(met, self._before.conj())

    def behind(self, phase: Tensor, attenuation: Tensor) -> Tensor:
        """Wave just behind the sample, from its phase and attenuation (samples)."""
        return torch.polar(torch.exp(-attenuation / 2), phase)

    def linear(self, phase: Tensor, attenuation: Tensor) -> Linear:
        """Prediction, derivative and adjoint at one phase and attenuation."""
        behind = self.behind(phase, attenuation)
        return Linear(self, behind, self.arrive(behind))

    def predict(self, phase: Tensor, attenuation: Tensor) -> Tensor:
        """Predicted frames (N, padded pixels) over the reference's mean."""
        return self.detect(intensity(self.arrive(self.behind(phase, attenuation))))


@dataclass(frozen=True)
class Linear:
    """The model around one state: wave behind the sample (samples), waves at the detector (N, samples)."""

    model: WaveModel
    behind: Tensor
    arrived: Tensor

    @property
    def prediction(self) -> Tensor:
        """Predicted frames (N, padded pixels)."""
        return self.model.detect(intensity(self.arrived))

    def forth(self, change: Tensor) -> Tensor:
        """Change of the frames under a change (2, samples) of phase and attenuation."""
        moved = self.model.arrive(self.behind * torch.complex(-change[1] / 2, change[0]))
        return self.model.detect(2 * (self.arrived.real * moved.real + self.arrived.imag * moved.imag))

    def back(self, frames: Tensor) -> Tensor:
        """Adjoint of :meth:`forth`: (N, padded pixels) to (2, samples)."""
        wave = self.model.depart(self.arrived * (2 * self.model.undetect(frames)))
        product = self.behind.conj() * wave
        return torch.stack((product.imag, -product.real / 2))
