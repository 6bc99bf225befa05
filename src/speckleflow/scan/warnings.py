"""Warnings as data: what a stage warns of is written into its result, and read from there by all that shows results."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import h5py

#: attribute of every result
WARNINGS = "warnings"


class _Collector(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            self.messages.append(record.getMessage())


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """The messages that the package logs as warnings in the body, in their order."""
    messages: list[str] = []
    handler, logger = _Collector(messages), logging.getLogger("speckleflow")
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


def write_warnings(file: h5py.File, *messages: Iterable[str]) -> None:
    """Write the messages of a stage, and of the stages before it, each once."""
    unique = dict.fromkeys(message for group in messages for message in group)
    file.attrs[WARNINGS] = json.dumps(list(unique), ensure_ascii=False)


def read_warnings(file: h5py.File) -> list[str]:
    """The messages in a result file."""
    return list(json.loads(file.attrs.get(WARNINGS, "[]")))
