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
from numpy.typing import ArrayLike

from speckleflow.tomo.backends.base import Backend, Float

#: Relative accuracy asked of the NUFFT. FBP of a sharp phantom is off by some per cent, and float32 data by
#: 1e-7 a value: 1e-4 adds nothing to either (benchmarks/fbp.md has the figures).
ACCURACY = 1e-4
#: Fine grid over slice grid: the smaller of finufft's two choices, three times faster at this accuracy.
UPSAMPLING = 1.25


class FourierBackend(Backend):
    """CPU default: exact trigonometric interpolation, two real slices a complex transform, plans kept."""

    name = "fourier"

    def __init__(
        self,
        angles_deg: ArrayLike,
        columns: int,
        axis_px: float,
        filter: str = "ramlak",
        *,
        threads: int = 2,
        device: str = "cpu",
    ) -> None:
        super().__init__(angles_deg, columns, axis_px, filter, threads=threads, device=device)
        half = self.padded // 2
        k = np.arange(half + 1)
        angle = np.deg2rad(self.angles_deg)[:, None]
        omega = 2 * np.pi / self.padded * k
        fx, fy = omega * np.cos(angle), omega * np.sin(angle)
        # Pixel centres of an even slice lie half-way between the modes of the transform.
        shift = 0.0 if columns % 2 else 0.5
        weight = self.weights[:, None] * self.transfer / self.padded
        weight[:, half] *= 0.5  # +Nyquist and -Nyquist share it
        weight[:, 0] *= 0.5  # and so do +0 and -0
        phase = omega * self.axis_px + shift * (fx + fy)
        self._strength = (weight * np.exp(1j * phase)).astype(np.complex64)
        self._fx = np.stack([fx, -fx]).astype(np.float32).ravel()
        self._fy = np.stack([fy, -fy]).astype(np.float32).ravel()
        self._plans: dict[int, finufft.Plan] = {}

    def _reconstruct(self, sinograms: Float, slices: Float) -> None:
        rows, start = sinograms.shape[0], 0
        while start < rows:
            # A pair of slices per thread; what is left goes pair by pair.
            pairs = self.threads if rows - start > 2 * (self.threads - 1) else 1
            stop = min(start + 2 * pairs, rows)
            self._some(sinograms[start:stop], slices[start:stop], pairs)
            start = stop

    def _some(self, sinograms: Float, slices: Float, pairs: int) -> None:
        spectrum = scipy.fft.rfft(sinograms, self.padded, axis=-1, workers=self.threads)
        spectrum *= self._strength
        first, second = spectrum[0::2], spectrum[1::2]
        n, m = first.shape[0], second.shape[0]
        packed = np.zeros((pairs, 2, *self._strength.shape), np.complex64)
        # F = f1 + i f2 with both real: positive frequencies carry F1 + i F2, negative ones their conjugates'.
        packed[:n, 0] = first
        packed[:m, 0] += 1j * second
        np.conjugate(first, out=packed[:n, 1])
        packed[:m, 1] += 1j * second.conj()
        image = self._plan(pairs).execute(
            packed.reshape(pairs, -1)[0] if pairs == 1 else packed.reshape(pairs, -1)
        )
        image = image.reshape(pairs, self.columns, self.columns)
        slices[0::2] = image[:n].real
        slices[1::2] = image[:m].imag

    def _plan(self, pairs: int) -> finufft.Plan:
        if pairs not in self._plans:
            plan = finufft.Plan(
                1, (self.columns, self.columns), n_trans=pairs, eps=ACCURACY, isign=1, dtype="complex64",
                nthreads=self.threads, upsampfac=UPSAMPLING,
            )  # fmt: skip
            plan.setpts(self._fy, self._fx)
            self._plans[pairs] = plan
        return self._plans[pairs]

    def working_bytes(self) -> int:
        points = self._fx.size
        grid = (UPSAMPLING * self.columns) ** 2
        one_pair = 8 * (2.5 * points + self.columns**2 + grid)
        return int(8 * (points + points / 2) + 8 * points + self.threads * one_pair)
