"""XST (X-ray speckle tracking): Morgan et al., Appl. Phys. Lett. 100, 124102 (2012); Berujon et al., Phys. Rev. Lett.
108, 158102 (2012)."""

from __future__ import annotations

from speckleflow.retrieval.matching.retriever import Matching
from speckleflow.retrieval.xst.spec import SPEC


class Xst(Matching):
    """Windows of a single reference frame, searched for in the sample."""

    spec = SPEC
