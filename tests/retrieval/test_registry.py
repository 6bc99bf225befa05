from __future__ import annotations

import numpy as np
import pytest

from speckleflow.errors import ConfigError, InputError
from speckleflow.retrieval import registry
from speckleflow.retrieval.base import Retriever
from speckleflow.retrieval.single import retrieve_stack


def test_every_method_has_its_name():
    assert "umpa" in registry.available()
    assert "absorption" in registry.available()
    for name in registry.available():
        kind = registry.get(name)
        assert issubclass(kind, Retriever)
        assert kind.name == name
        assert "transmission" in kind.output_fields


def test_numbers_of_positions_are_known_without_importing_the_method():
    for name in registry.available():
        kind = registry.get(name)
        assert registry.POSITIONS.get(name, (1, None)) == (kind.min_positions, kind.max_positions)


def test_unknown_method_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'umpa'"):
        registry.get("umap")


def test_one_stack_errors_say_what_was_expected():
    stack = np.ones((3, 32, 32))
    with pytest.raises(ConfigError, match="needs a reference"):
        retrieve_stack(None, stack)
    with pytest.raises(ConfigError, match="'reference' or 'detector'"):
        retrieve_stack(stack, stack, grid="somewhere")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\(B, N, y, x\) = \(B, 3, 32, 32\)"):
        retrieve_stack(stack, stack[:2])
