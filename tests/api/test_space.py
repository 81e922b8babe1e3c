"""Search spaces written in Python are those of a params file."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sasrecf_tune as st
from sasrecf_tune.inputs.params_file import parse


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"learning_rate": [0.01, 0.001]}, "learning_rate choice [0.01, 0.001]"),
        ({"learning_rate": np.array([0.01, 0.001])}, "learning_rate choice [0.01, 0.001]"),
        ({"learning_rate": st.log(1e-4, 1e-2)}, "learning_rate log 0.0001,0.01"),
        ({"learning_rate": st.log(*np.array([1e-4, 1e-2]))}, "learning_rate log 0.0001,0.01"),
        ({"learning_rate": st.loguniform(-8, -4)}, "learning_rate loguniform -8,-4"),
        ({"hidden_dropout_prob": st.uniform(0.1, 0.6)}, "hidden_dropout_prob uniform 0.1,0.6"),
        ({"hidden_dropout_prob": 0.5}, "hidden_dropout_prob choice [0.5]"),
        ({"hidden_size": st.quniform(32, 128, 32)}, "hidden_size quniform 32,128,32"),
        ({"n_layers": st.integer(1, 3)}, "n_layers int 1,3"),
        ({"n_layers": range(1, 4)}, "n_layers choice [1, 2, 3]"),
        ({"hidden_act": ("gelu", "relu")}, "hidden_act choice ['gelu', 'relu']"),
        (
            {"selected_features": [["class"], ["class", "release_year"]]},
            "selected_features choice [['class'], ['class', 'release_year']]",
        ),
    ],
)
def test_a_mapping_is_the_params_file_of_the_same_lines(values: dict[str, Any], line: str) -> None:
    space = st.SearchSpace(values)
    assert space.plain() == parse(line)
    assert repr(space) == f"SearchSpace:\n  {parse(line).write().strip()}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lerning_rate": [0.01]}, "unknown parameter `lerning_rate`: did you mean `learning_rate`?"),
        ({"xyz": [1]}, "docs/reference/parameters.md lists the parameters."),
        ({"learning_rate": [-1.0]}, "learning_rate"),
        ({"learning_rate": []}, "an empty choice"),
        ({"learning_rate": st.log(0.1, 0.01)}, "the lower bound 0.1 is not below the upper bound 0.01"),
        ({"learning_rate": st.log(0.0, 0.01)}, "the lower bound of `log` must be above zero"),
        ({"n_layers": st.uniform(1, 3)}, "Write: n_layers int 1,3"),
        ({"n_layers": st.integer(1, 3, 0)}, "the step must be above zero"),
        ({"n_layers": st.integer("1", 3)}, "low is '1', not a number"),  # type: ignore[arg-type]
        ({"hidden_act": [object]}, "a type, which no parameter takes"),
        ({"topk": [[10], [20]]}, "`topk` cannot be searched"),
        ({}, "there are no parameters"),
        ("hyper.test", "Read a params file with read_params_file(path)."),
        ({"a\nb": [1]}, "'a\\nb' is not a parameter name"),
    ],
)
def test_a_mistake_is_found_at_once(values: dict[str, Any], message: str) -> None:
    with pytest.raises(st.InputError) as caught:
        st.SearchSpace(values)
    assert message in str(caught.value)
    assert "--" not in str(caught.value)


def test_all_mistakes_are_reported_at_once_in_terms_of_the_api(tmp_path: Path) -> None:
    with pytest.raises(st.InputError) as caught:
        st.SearchSpace({"topk": [[5], [10]], "n_layers": [0, 1], "zzz": [1]})
    topk, layers, unknown = map(str, caught.value.mistakes)
    assert "use config topk=[...]" in topk and "not 0" in layers and "unknown parameter `zzz`" in unknown
    path = tmp_path / "hyper.test"
    path.write_text("n_layers choice [0\nhidden_siz choice [32]\n")
    with pytest.raises(st.InputError) as caught:
        st.read_params_file(path)
    assert ["never closed" in str(caught.value), "unknown parameter" in str(caught.value)] == [True, True]


def test_a_params_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "hyper.test"
    path.write_text("learning_rate choice [0.01, 0.001]\n")
    space = st.read_params_file(str(path))
    assert space.plain() == st.SearchSpace({"learning_rate": [0.01, 0.001]}).plain()
    assert space.source == str(path) and isinstance(space, st.SearchSpace)
    path.write_text("learning_rate choice [0.01, 0.001\n")
    with pytest.raises(st.InputError, match=r"hyper.test:1:"):
        st.read_params_file(path)


def test_a_notebook_shows_a_table_with_its_text_escaped() -> None:
    shown = st.SearchSpace({"learning_rate": [0.1, 0.2], "selected_features": [["<b>"]]})._repr_html_()
    assert "<td>learning_rate</td><td>choice</td><td>[0.1, 0.2]</td>" in shown
    assert "<b>" not in shown and "&lt;b&gt;" in shown and "2 configurations" in shown


@pytest.mark.parametrize("module", ["", ".api.comparison", ".api.space", ".api.tune", ".api.study"])
def test_the_examples_in_docstrings_run(module: str) -> None:
    assert doctest.testmod(import_module(f"sasrecf_tune{module}")).failed == 0
