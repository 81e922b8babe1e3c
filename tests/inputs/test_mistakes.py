"""All mistakes of an input are reported at once, in order, without those that follow from another."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sasrecf_tune.errors import ConfigFileError, InputError, InputErrors, MistakeCollector, ParamsFileError
from sasrecf_tune.inputs.config_files import read_base
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.validation import space_mistakes


def mistakes(text: str, model: str = "SASRecF") -> list[ParamsFileError]:
    """Those of a params file."""
    try:
        parse(text, "hyper.test", partial(space_mistakes, model=model))
    except InputError as error:
        found = list(error.mistakes)
        assert all(isinstance(mistake, ParamsFileError) and mistake.at for mistake in found)
        return found  # type: ignore[return-value]
    return []


def places(text: str) -> list[tuple[int, int]]:
    return [(found.at.line, found.at.column) for found in mistakes(text) if found.at]


# Lines about different parameters, and the columns of what is wrong in each.
LINES: dict[str, list[int]] = {
    "hidden_size choice [32, 64]": [],
    "# epochs choise [1": [],
    "": [],
    "n_heads int 1,4": [],
    "n_layers choice [0, 1, x, 2.5]": [18, 24, 27],
    "lerning_rate choice [0.01, 0]": [1],
    "  attn_dropout_prob choice [0.1": [28],
    "inner_size choice [1, 2] 3": [26],
    "weight_decay uniform -1,101": [22, 22],
    "hidden_dropout_prob uniform low,high": [29, 33],
    "learning_rate loguniform -900,900": [26, 31],
    "stopping_step int 1.5,2.5": [19, 23],
    "epochs quniform 1,2": [19],
    "topk choice [[10], [0]]": [1],
    "a-b choice [1]": [1],
    "loss_type choise [CE]": [11],
    "hidden_act": [11],
    "learner uniform 0,1": [17],
    "seed choice [-1]\u00a0\x01": [18],
    "clip_grad_norm choice [{'max_nrom': 1, 'norm_type': 0}]": [24, 24],
}


@pytest.mark.parametrize("line", LINES)
def test_the_mistakes_of_one_line(line: str) -> None:
    assert places(f"pooling_mode choice [sum]\n{line}\n") == [(2, column) for column in LINES[line]]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(sorted(LINES)), unique=True, max_size=12), st.sampled_from(["\n", "\r\n", "\r"])
)
def test_independent_mistakes_are_all_reported_in_the_order_of_lines(lines: list[str], end: str) -> None:
    expected = [(number, column) for number, line in enumerate(lines, 2) for column in LINES[line]]
    assert places(end.join(["pooling_mode choice [sum]", *lines])) == expected


def test_a_name_that_occurs_several_times_is_a_mistake_of_each_further_line() -> None:
    found = mistakes("n_layers choice [1\nn_layers choice [0]\nepochs choice [5]\nn_layers int 1,3\n")
    assert [mistake.what for mistake in found] == [
        "this `[` is never closed",
        "`n_layers` occurs twice; first in line 1",
        "`n_layers` occurs twice; first in line 1",
    ]


def test_parameters_of_another_model_are_reported_with_other_mistakes() -> None:
    found = mistakes(
        "pooling_mode choice [sum]\nn_layers choice [0]\nselected_features choice [[5]]\n", "SASRec"
    )
    assert ["not parameters of SASRec" in mistake.what for mistake in found] == [True, False]


def test_the_text_has_each_mistake_as_it_would_be_alone() -> None:
    with pytest.raises(InputErrors) as caught:
        parse("a choise [1]\nb uniform 2,1\n", "hyper.test")
    assert str(caught.value) == (
        "hyper.test:1:3: unknown kind `choise`: did you mean `choice`?\n"
        "    a choise [1]\n"
        "      ^\n"
        "\n"
        "hyper.test:2:11: the lower bound 2 is not below the upper bound 1\n"
        "    b uniform 2,1\n"
        "              ^"
    )
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # an error of ours crosses processes
    assert (str(again), again.exit_code, len(again.mistakes)) == (str(caught.value), 2, 2)


def test_a_single_mistake_is_raised_as_itself() -> None:
    with pytest.raises(ParamsFileError, match="unknown kind"):
        parse("a choise [1]\nb uniform 1,2\n")


def test_many_mistakes_are_counted() -> None:
    with pytest.raises(InputErrors) as caught:
        parse("".join(f"p{number} choise [1]\n" for number in range(450)))
    assert len(caught.value.mistakes) == 450 and len(caught.value.texts) == 51
    assert str(caught.value).endswith("\n\n400 more mistakes that are not shown")


def test_what_ends_the_block_is_one_of_the_mistakes_if_it_is_an_input_error() -> None:
    with pytest.raises(KeyError), MistakeCollector() as found:
        found.add(InputError("one"))
        raise KeyError
    with pytest.raises(InputErrors, match="one\n\ntwo"), MistakeCollector() as found:
        found.add(InputError("one"))
        raise InputError("two")
    with pytest.raises(ConfigFileError, match="one"), MistakeCollector():
        raise ConfigFileError("one")


# ---- Config files and --set ----


def test_config_files_and_set_options_are_reported_together(tmp_path: Path) -> None:
    one, two, three = (tmp_path / f"{name}.yaml" for name in ("one", "two", "three"))
    one.write_text(
        "epochs: many\nhidden_siz: 64\nn_layers: 1\nday: 2020-01-31\nseq_len: {a: 2020-01-31}\nn_layers: 0\n"
    )
    two.write_text("epochs: [1, 2\nhidden_siz: 64\n")
    three.write_text("n_layers: 2\n")
    sets = ["epochs", "n_layers=1", "clip_grad_norm={norm_type: 0, max_nrom: 1}", "n_layers=2", "seed=-1"]
    with pytest.raises(InputErrors) as caught:
        read_base([one, two, tmp_path / "none.yaml", three], sets)
    assert all(isinstance(mistake, ConfigFileError) for mistake in caught.value.mistakes)
    found = [
        str(mistake).partition("\n")[0].removeprefix(f"{tmp_path}/") for mistake in caught.value.mistakes
    ]
    assert found == [
        "one.yaml:6:1: `n_layers` is given twice",
        "one.yaml: `epochs` must be a whole number of at least 1 and at most 1000000, not 'many'",
        "one.yaml: unknown setting `hidden_siz`: did you mean `hidden_size`?",
        "one.yaml: `n_layers` must be a whole number of at least 1 and at most 256, not 0",
        "one.yaml: `seq_len` holds a date, which RecBole does not take",
        "two.yaml:2:11: not YAML: expected ',' or ']', but got ':'",
        "none.yaml: cannot read: No such file or directory",
        "--set: 'epochs' is not KEY=VALUE",
        "--set clip_grad_norm: norm_type of clip_grad_norm must be a number above zero or inf, not 0",
        "--set clip_grad_norm: clip_grad_norm has no `max_nrom`: did you mean `max_norm`?",
        "--set: `n_layers` is set twice",
        "--set seed: `seed` must be a whole number of at least 0 and at most 4294967295, not -1",
    ]


@pytest.mark.parametrize(
    "line",
    [
        f"learning_rate choice [{'1' * 500_000}x]",
        f"learning_rate choice [1{'_' * 500_000}x]",
        f"n_layers foo{' ' * 500_000}x",
        f"n_layers in{' ' * 500_000}[1{' ' * 400_000}x",
    ],
    ids=["digits", "underscores", "spaces", "spaces around a list"],
)
def test_a_long_line_takes_no_longer_than_its_length(line: str) -> None:
    assert len(mistakes(line)) == 1  # with the square of its length, in hours


def test_a_file_of_many_lines_is_refused_before_each_is_compared_with_all_names() -> None:
    (found,) = mistakes("".join(f"zq{number}x choice [1]\n" for number in range(50_000)))
    assert (found.what, found.at and found.at.line) == ("more than 500 parameters", 501)


def test_a_message_does_not_repeat_a_long_name() -> None:
    (text,) = ConfigFileError("x" * 100_000).texts
    assert text == "x" * 5000 + " ... (95,000 more characters)"


@pytest.mark.parametrize("line", ["weight: [1, 2", "weight = 1, 2", "weight:"])
def test_a_line_of_another_model_is_one_mistake_whatever_its_syntax(line: str) -> None:
    assert len(mistakes(f"learning_rate choice [0.1]\n{line}\nstep choice [1]")) == 1


@pytest.mark.filterwarnings("error")
def test_an_unknown_escape_gives_no_warning_of_python() -> None:
    assert parse(r"selected_features choice [['\d']]")["selected_features"].values == (["\\d"],)
