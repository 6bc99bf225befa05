"""From displacement to phase: least-squares integration, drift, and the level of the air."""

from speckleflow.phase.air import remove_drift
from speckleflow.phase.solve import Boundary, curl_rms, integrate_displacement

__all__ = ["Boundary", "curl_rms", "integrate_displacement", "remove_drift"]
