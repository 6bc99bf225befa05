"""The diffuser's transmission function from the reference frames."""

from __future__ import annotations

import torch
from torch import Tensor

from speckleflow.retrieval.wave.optics import propagated

#: Noise-to-signal ratio of the Wiener filter beyond which a frequency is left out.
_HOPELESS = 1e4
#: Share of each axis' frequencies, at its upper end, that hold noise alone.
_CORNER = 0.15
#: Least intensity of the deconvolved reference, of its mean: its root is the wave's modulus.
_FAINTEST = 1e-3


def coherent_intensity(reference: Tensor, iotf: Tensor) -> Tensor:
    """Reference intensity (N, y, x) before partial coherence and detector blurred it: Wiener deconvolution."""
    mean = reference.mean((-2, -1), keepdim=True)
    spectrum = torch.fft.rfft2(reference - mean)
    power = spectrum.abs().square()
    noise = _corner(power)
    signal = (power - noise).clamp_min(0)
    ratio = torch.where(signal > noise / _HOPELESS, noise / signal.clamp_min(1e-30), torch.inf)
    wiener = torch.where(ratio.isfinite(), iotf / (iotf.square() + ratio), 0.0)
    sharp = torch.fft.irfft2(spectrum * wiener, s=(reference.shape[-2], reference.shape[-1]))
    return (mean + sharp).clamp_min(_FAINTEST * mean)


def diffuser(coherent: Tensor, after: Tensor) -> Tensor:
    """Transmission functions (N, y, x): the root of the coherent intensity, with phase zero, brought back by P_2.

    The phase of the reference wave is not known; the sample's is hardly changed by it.
    """
    return propagated(coherent.sqrt().to(torch.complex64), after.conj())


def _corner(power: Tensor) -> Tensor:
    """Mean power (N, 1, 1) of the highest frequencies of both axes."""
    height, half = power.shape[-2:]
    rows = torch.fft.fftfreq(height, device=power.device).abs() > 0.5 * (1 - _CORNER)
    columns = torch.arange(half, device=power.device) > (1 - _CORNER) * (half - 1)
    return power[:, rows][:, :, columns].mean((-2, -1), keepdim=True)
