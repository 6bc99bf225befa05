"""Section ``execution``: how results are computed, whatever they are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from speckleflow.settings import Section


class RetrievalExecution(Section):
    """Retrieval jobs."""

    projections_per_block: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="Projections per job (and per restart). auto: so that a job takes minutes."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "cpu",
        description="Where the method computes; cuda asks the scheduler for a GPU, auto takes one if it is there.",
    )
    threads: Annotated[int, Field(ge=1)] = Field(2, description="CPU threads of a retrieval job.")


class TomographyExecution(Section):
    """Reconstruction jobs."""

    rows_per_slab: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="Rows per reconstruction job. auto: so that a job takes minutes."
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where the backend computes.")
    threads: Annotated[int, Field(ge=1)] = Field(2, description="CPU threads of a reconstruction job.")


class Execution(Section):
    """How results are computed: nothing here changes what they are, and changing it makes no result out of date."""

    retrieval: RetrievalExecution = Field(default_factory=RetrievalExecution, description="Retrieval jobs.")
    tomography: TomographyExecution = Field(
        default_factory=TomographyExecution, description="Reconstruction jobs."
    )
