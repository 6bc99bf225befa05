"""Keys of earlier versions: refused, with the present one named."""

from __future__ import annotations

#: Keys of earlier versions, and where they are now.
MOVED = {
    "retrieval.projections_per_block": "execution.retrieval.projections_per_block",
    "retrieval.device": "execution.retrieval.device",
    "retrieval.threads": "execution.retrieval.threads",
    "tomography.rows_per_slab": "execution.tomography.rows_per_slab",
    "tomography.device": "execution.tomography.device",
    "tomography.threads": "execution.tomography.threads",
    "tomography.ring_window_px": "tomography.rings.absorption, phase and darkfield (sorting) with rings.window_px",
    "retrieval.espinnet.polish": "retrieval.espinnet.refine",
    "retrieval.spinnet.polish": "retrieval.spinnet.refine",
    "retrieval.double_exposure.largest_misfit": "retrieval.largest_misfit",
}
