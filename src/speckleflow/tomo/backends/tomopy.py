"""Gridding reconstruction by TomoPy (Gürsoy et al., J. Synchrotron Rad. 21, 1188 (2014)), padded.

TomoPy's gridrec (Dowd et al., SPIE 3772, 166 (1999)) leaves the zero frequency out, weights all angles alike,
knows no half pixels, and cuts its gridding kernel shorter than its correction assumes, which costs scale and
flatness. So what it is given here is already filtered, weighted and moved, in a power of two of columns that
leaves room for the filter's tails; the mean is added, and the shading divided out, afterwards.
"""

from __future__ import annotations

import numpy as np
import scipy
import tomopy
from numpy.typing import NDArray

from speckleflow.tomo.backends.base import Backend, Float
from speckleflow.tomo.filters import ramp, window

#: Rows handed to TomoPy at a time, per thread: it packs two slices in one transform.
ROWS_PER_THREAD = 2
#: Wide enough to hold no frequency that gridding gets wrong, narrow against any slice.
CALIBRATION_WIDTH_PX = 2.0


class TomopyBackend(Backend):
    """Installed from conda-forge only, hence optional."""

    name = "tomopy"

    def _set_up(self) -> None:
        self.padded = 1 << (self.padded - 1).bit_length()
        self.transfer = ramp(self.padded) * window(self.filter, self.padded)
        angle = np.deg2rad(self.angles_deg)[:, None]
        omega = 2 * np.pi * scipy.fft.rfftfreq(self.padded)
        # gridrec is right for even grids only, with the axis at row G/2 - 1, column G/2. An odd slice is cut
        # out of an even one, the axis in its centre; in an even one ours is half a pixel off either way.
        self._grid = self.columns + self.columns % 2
        half = 0.0 if self.columns % 2 else 0.5
        place = self.padded // 2 - self.axis_px - half * (np.cos(angle) - np.sin(angle))
        weight = self.weights[:, None] * self.transfer
        self._strength = (weight * np.exp(-1j * omega * place)).astype(np.complex64)
        self._shading = self._calibrate()

    def _reconstruct(self, sinograms: Float, slices: Float) -> None:
        step = ROWS_PER_THREAD * self.threads
        mean = (self.weights * self.transfer[0] / self.padded).astype(np.float32)
        for start in range(0, sinograms.shape[0], step):
            batch = sinograms[start : start + step]
            spectrum = self.spectrum(batch)
            spectrum *= self._strength
            moved = scipy.fft.irfft(spectrum, self.padded, axis=-1)
            reconstructed = self._gridrec(moved, self.angles_deg) / self._shading
            reconstructed = reconstructed[:, : self.columns, self._grid - self.columns :]
            slices[start : start + step] = reconstructed + (batch.sum(axis=-1) @ mean)[:, None, None]

    def _gridrec(self, projections: Float, angles_deg: NDArray[np.float64]) -> Float:
        """The sum over the angles of the projections smeared along their rays; off by the shading alone."""
        reconstructed = tomopy.recon(
            projections, np.deg2rad(-angles_deg), center=self.padded / 2, sinogram_order=True,
            algorithm="gridrec", filter_name="none", num_gridx=self._grid, num_gridy=self._grid,
            ncore=self.threads,
        )  # fmt: skip
        return np.asarray(reconstructed * (angles_deg.size / np.pi), dtype=np.float32)

    def _calibrate(self) -> Float:
        """Factor (y, x) by which gridrec is off: one function of -y and of x, read where only y varies."""
        x = np.arange(self.padded) - self.padded // 2
        blob = np.exp(-0.5 * (x / CALIBRATION_WIDTH_PX) ** 2)
        blob -= blob.mean()
        smeared = self._gridrec(blob.astype(np.float32)[None, None], np.zeros(1))[0]
        profile = smeared[::-1, self._grid // 2] / blob[self.padded // 2]
        factor = profile / np.sqrt(profile[self._grid // 2])
        return np.asarray(factor[::-1, None] * factor[None, :], dtype=np.float32)
