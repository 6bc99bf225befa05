"""Fourier reconstruction: each projection's spectrum is a radial line of the slice's, summed by one NUFFT.

f(x, y) = sum over angles and radial frequencies of w P(k) H(k) exp(2 pi i k (axis + x cos + y sin) / M), the
Fourier-slice theorem with the quadrature of filtered back-projection: the detector is interpolated by its
trigonometric polynomial, so nothing is lost to linear interpolation. The sum is a type-1 non-uniform FFT
(Barnett, Magland and af Klinteberg, SIAM J. Sci. Comput. 41, C479 (2019): finufft).
"""

from __future__ import annotations

import finufft
import numpy as np
import scipy.fft

from speckleflow.tomo.backends.base import Backend, Float

#: Relative accuracy asked of the NUFFT: what its widest kernel gives on the smaller grid in float32. Measured
#: against 1e-12, Shepp-Logan is off by 2e-5 of its greatest value at most (FBP itself by 4e-2).
ACCURACY = 2e-5
#: Fine grid over slice grid: the smaller of finufft's two choices, three times faster at this accuracy.
UPSAMPLING = 1.25
#: finufft option: each thread spreads a transform of its own. Threads that share one add up in the order in
#: which they finish, and no two runs would be bit-identical.
ONE_TRANSFORM_A_THREAD = 2


class FourierBackend(Backend):
    """CPU default: exact trigonometric interpolation, two real slices a complex transform, plans kept."""

    name = "fourier"

    def _set_up(self) -> None:
        half = self.padded // 2
        k = np.arange(half + 1)
        angle = np.deg2rad(self.angles_deg)[:, None]
        omega = 2 * np.pi / self.padded * k
        fx, fy = omega * np.cos(angle), omega * np.sin(angle)
        # Pixel centres of an even slice lie half-way between the modes of the transform.
        shift = 0.0 if self.columns % 2 else 0.5
        weight = self.weights[:, None] * self.transfer / self.padded
        weight[:, half] *= 0.5  # +Nyquist and -Nyquist share it
        weight[:, 0] *= 0.5  # and so do +0 and -0
        phase = omega * self.axis_px + shift * (fx + fy)
        self._strength = (weight * np.exp(1j * phase)).astype(np.complex64)
        self._fx = np.stack([fx, -fx]).astype(np.float32).ravel()
        self._fy = np.stack([fy, -fy]).astype(np.float32).ravel()
        self._plan = finufft.Plan(
            1, (self.columns, self.columns), n_trans=self.threads, eps=ACCURACY, isign=1, dtype="complex64",
            nthreads=self.threads, upsampfac=UPSAMPLING, spread_thread=ONE_TRANSFORM_A_THREAD, showwarn=0,
        )  # fmt: skip
        self._plan.setpts(self._fy, self._fx)

    def _reconstruct(self, sinograms: Float, slices: Float) -> None:
        step = 2 * self.threads  # a pair of slices per thread
        for start in range(0, sinograms.shape[0], step):
            self._some(sinograms[start : start + step], slices[start : start + step])

    def _some(self, sinograms: Float, slices: Float) -> None:
        spectrum = scipy.fft.rfft(sinograms, self.padded, axis=-1, workers=self.threads)
        spectrum *= self._strength
        first, second = spectrum[0::2], spectrum[1::2]
        n, m = first.shape[0], second.shape[0]
        packed = np.zeros((self.threads, 2, *self._strength.shape), np.complex64)
        # F = f1 + i f2 with both real: positive frequencies carry F1 + i F2, negative ones F1* + i F2*.
        packed[:n, 0] = first
        packed[:m, 0] += 1j * second
        np.conjugate(first, out=packed[:n, 1])
        packed[:m, 1] += 1j * second.conj()
        flat = packed.reshape(self.threads, -1)
        image = self._plan.execute(flat if self.threads > 1 else flat[0])
        image = image.reshape(self.threads, self.columns, self.columns)
        slices[0::2] = image[:n].real
        slices[1::2] = image[:m].imag
