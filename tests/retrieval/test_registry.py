"""Names, specs and classes of the methods; the registry is asked where torch is not installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import numpy as np
import pytest

from speckleflow.errors import ConfigError, InputError
from speckleflow.retrieval import registry
from speckleflow.retrieval.base import Retriever
from speckleflow.retrieval.single import retrieve_stack
from speckleflow.retrieval.spec import MethodSpec, linear
from speckleflow.scan.schema import FIELDS
from speckleflow.stages.projection import as_arrays


def test_every_method_is_the_class_that_its_spec_names():
    assert {"umpa", "absorption", "espinnet", "spinnet"} <= set(registry.available())
    for name in registry.available():
        kind = registry.get(name)
        assert issubclass(kind, Retriever)
        assert kind.spec is registry.spec_of(name)
        assert kind.spec.name == name
        assert kind.spec.summary.endswith(".")


def test_configuration_and_plan_need_no_torch():
    code = (
        "import sys; from speckleflow.config import ScanConfig; from speckleflow.workflow import plan; "
        "ScanConfig(); assert 'torch' not in sys.modules, 'torch'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_field_of_a_method_has_its_unit_in_results():
    for spec in registry.specs().values():
        names = {"phase": "phase_retrieved"}
        assert {names.get(field, field) for field in spec.output_fields - {"attenuation"}} <= set(FIELDS)
        assert spec.output_fields & {"transmission", "attenuation"}


def test_unknown_method_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'umpa'"):
        registry.get("umap")


def test_positions_in_words_and_numbers():
    def spec(least: int, most: int | None) -> MethodSpec:
        return MethodSpec("m", "", "", frozenset(), min_positions=least, max_positions=most)

    cases = [(spec(3, None), "at least 3", (3, 99)), (spec(1, 1), "1", (1,)), (spec(2, 4), "2 to 4", (2, 4))]
    for one, words, taken in cases:
        assert one.positions == words
        assert all(one.takes(n) for n in taken)
        assert not any(one.takes(n) for n in (taken[0] - 1, *([taken[-1] + 1] if one.max_positions else [])))
    assert linear(2.0, 0.5)(6, None) == 5.0


@pytest.mark.parametrize(("name", "needs"), [("two words", ()), ("settings", ()), ("fine", ("energy",))])
def test_specs_that_are_refused(name, needs):
    with pytest.raises(ValueError, match=f"method '{name}'"):
        MethodSpec(name, "", "", frozenset(), needs=needs)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("speckleflow.errors:InputError", "expected a MethodSpec, found type"),
        ("speckleflow.nowhere:SPEC", "expected a MethodSpec, found ModuleNotFoundError"),
        ("speckleflow.retrieval.umpa.spec:SPEC", "a name of its own, found 'umpa', which there is already"),
    ],
)
def test_an_entry_point_that_is_no_new_method_is_named(monkeypatch, value, sentence):
    point = EntryPoint("mine", value, "speckleflow.methods")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(ConfigError, match=f"speckleflow.methods: mine = {value}: .*{sentence}"):
        registry.specs.__wrapped__()


def test_one_stack_errors_say_what_was_expected():
    stack = np.ones((3, 32, 32))
    with pytest.raises(ConfigError, match="needs a reference"):
        retrieve_stack(None, stack)
    with pytest.raises(ConfigError, match="'reference' or 'detector'"):
        retrieve_stack(stack, stack, grid="somewhere")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\(B, N, y, x\) = \(B, 3, 32, 32\)"):
        retrieve_stack(stack, stack[:2])


def test_results_hold_transmission_in_place_of_attenuation_and_phase_under_its_first_name():
    tensor = SimpleNamespace(cpu=lambda: SimpleNamespace(numpy=lambda: 1.0))
    fields = SimpleNamespace(items=lambda: [(n, tensor) for n in ("transmission", "attenuation", "phase")])
    assert set(as_arrays(fields)) == {"transmission", "phase_retrieved"}
