"""XSVT (X-ray speckle vector tracking): Berujon and Ziegler, Phys. Rev. A 92, 013837 (2015) and Phys. Rev. Appl. 5,
044014 (2016)."""

from __future__ import annotations

from speckleflow.retrieval.matching.retriever import Matching
from speckleflow.retrieval.xsvt.spec import SPEC


class Xsvt(Matching):
    """Vectors of each pixel over the diffuser positions, searched for in the sample."""

    spec = SPEC
