"""From displacement to phase: least-squares integration, drift, and the level of the air."""

from speckleflow.phase.air import level_phase, remove_drift
from speckleflow.phase.solve import Boundary, curl_rms, integrate_displacement, phase_and_curl

__all__ = ["Boundary", "curl_rms", "integrate_displacement", "level_phase", "phase_and_curl", "remove_drift"]
