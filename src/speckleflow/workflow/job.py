"""What every job of the workflow does around its work: log file, and one sentence instead of a traceback."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speckleflow.config import ScanConfig
from speckleflow.errors import SpeckleflowError
from speckleflow.scan.spec import ScanSpec

#: how a line of a job's log begins that says what is wrong, and what to do about it
ERROR, HINT = "error: ", "what to do: "


@contextmanager
def job(snakemake: Any) -> Iterator[ScanSpec]:
    """Run the body with its messages in the rule's log file; yields the scan as the user set it.

    A :class:`SpeckleflowError` ends the job with its sentence, anything else with a traceback in the log.
    """
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.FileHandler(log, mode="w"), logging.StreamHandler(sys.stderr)]
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers, force=True)
    try:
        yield ScanSpec(snakemake.wildcards.scan, ScanConfig.model_validate(snakemake.params.config))
    except SpeckleflowError as error:
        for what, hint in error.parts:
            logging.error("%s%s", ERROR, " ".join(what.split()))
            if hint:
                logging.error("%s%s", HINT, " ".join(hint.split()))
        sys.exit(1)
    except Exception:
        with log.open("a") as stream:
            traceback.print_exc(file=stream)
        raise
