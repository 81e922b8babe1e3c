"""The examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from sasrecf_tune import inputs

WITH_EXAMPLES = {"metrics", "params_file", "search_space"}
MODULES = sorted(module.name for module in pkgutil.iter_modules(inputs.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"sasrecf_tune.inputs.{name}"))
    assert found.failed == 0
    assert found.attempted or name not in WITH_EXAMPLES


def test_the_examples_of_the_errors() -> None:
    assert doctest.testmod(importlib.import_module("sasrecf_tune.errors")).failed == 0
