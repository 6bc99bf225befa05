"""Back-projection by the ASTRA Toolbox (van Aarle et al., Optics Express 24, 25129 (2016)), CPU or CUDA."""

from __future__ import annotations

import astra
import numpy as np

from speckleflow.errors import InputError
from speckleflow.tomo.backends.base import Backend, Float


class AstraBackend(Backend):
    """Linear interpolation on the detector; the ramp is ours, so that all backends share it."""

    name = "astra"
    devices = ("cpu", "cuda")

    def _set_up(self) -> None:
        if self.device == "cuda" and not astra.use_cuda():
            raise InputError(
                "backend astra", expected="an NVIDIA GPU for device cuda", found="none that ASTRA sees"
            )
        angle = np.deg2rad(self.angles_deg)
        cos, sin = np.cos(angle), np.sin(angle)
        # ASTRA's y points up, from the last row of a slice to the first: its y is minus ours.
        offset = (self.columns - 1) / 2 - self.axis_px  # detector centre, counted from the rotation axis
        vectors = np.stack([sin, cos, offset * cos, -offset * sin, cos, -sin], axis=1)
        self._sinogram_geometry = astra.create_proj_geom("parallel_vec", self.columns, vectors)
        self._slice_geometry = astra.create_vol_geom(self.columns, self.columns)

    def _reconstruct(self, sinograms: Float, slices: Float) -> None:
        projector = astra.create_projector(
            "cuda" if self.device == "cuda" else "linear", self._sinogram_geometry, self._slice_geometry
        )
        source = astra.data2d.create("-sino", self._sinogram_geometry)
        target = astra.data2d.create("-vol", self._slice_geometry)
        config = astra.astra_dict("BP_CUDA" if self.device == "cuda" else "BP")
        config |= {"ProjectorId": projector, "ProjectionDataId": source, "ReconstructionDataId": target}
        algorithm = astra.algorithm.create(config)
        try:
            for sinogram, slice_ in zip(sinograms, slices, strict=True):
                astra.data2d.store(source, self.filtered(sinogram))
                astra.algorithm.run(algorithm)
                slice_[...] = astra.data2d.get(target)
        finally:
            astra.algorithm.delete(algorithm)
            astra.data2d.delete([source, target])
            astra.projector.delete(projector)
