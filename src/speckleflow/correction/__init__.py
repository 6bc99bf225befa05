"""From raw counts to corrected frames: dark, flat, bad pixels, incident flux, air margins."""

from speckleflow.correction.air import air_margins
from speckleflow.correction.bad_pixels import bad_pixels, robust_sigma
from speckleflow.correction.file import load_correction, save_correction, write_correction
from speckleflow.correction.frames import Correction
from speckleflow.correction.prepare import missing_flats_error, prepare_correction, read_mask

__all__ = [
    "Correction",
    "air_margins",
    "bad_pixels",
    "load_correction",
    "missing_flats_error",
    "prepare_correction",
    "read_mask",
    "robust_sigma",
    "save_correction",
    "write_correction",
]
