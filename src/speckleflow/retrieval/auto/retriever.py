"""Method auto: one of the others, chosen by the number of diffuser positions."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from torch import Tensor

from speckleflow.retrieval.auto.choice import chosen
from speckleflow.retrieval.auto.spec import SPEC
from speckleflow.retrieval.base import Fields, Retriever
from speckleflow.retrieval.registry import default_settings, get
from speckleflow.scan.acquisition import Acquisition

log = logging.getLogger(__name__)


class State(NamedTuple):
    """The method that was chosen, and what it prepared."""

    method: Retriever
    prepared: Any


class Auto(Retriever):
    """The method that :func:`~speckleflow.retrieval.auto.choice.chosen` names, with its default settings."""

    spec = SPEC

    def _prepare(self, reference: Tensor, acquisition: Acquisition) -> State:
        name = chosen(len(reference))
        settings = default_settings(name).model_copy(
            update={"detector_blur_px": self.settings.detector_blur_px}
        )
        method = get(name)(settings, self.device)
        self.weights_sha256 = method.weights_sha256
        log.info("retrieval.method auto: %s for %d diffuser position(s)", name, len(reference))
        return State(method, method.prepare(reference, acquisition))

    def _reference_shape(self, state: State) -> tuple[int, int, int]:
        return state.method._reference_shape(state.prepared)

    def _retrieve(self, sample: Tensor, state: Any) -> Fields:
        return state.method(sample, state.prepared)
