"""Single values against the table of RecBole's keys."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasrecf_tune.errors import InputError, ParameterError
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.value_checks import check_value, is_interval
from tests.support.strategies import exactly, values


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("hidden_size", 64, 64),
        ("hidden_size", 64.0, 64),
        ("hidden_size", 1, 1),
        ("stopping_step", 0, 0),
        ("seed", 2**32 - 1, 2**32 - 1),
        ("hidden_dropout_prob", 0, 0),
        ("hidden_dropout_prob", 1.0, 1.0),
        ("learning_rate", 5e-324, 5e-324),
        ("layer_norm_eps", 0, 0),
        ("hidden_act", "swish", "swish"),
        ("loss_type", "BPR", "BPR"),
        ("enable_amp", True, True),
        ("selected_features", ["class"], ["class"]),
        ("selected_features", "['class','year']", ["class", "year"]),
        ("clip_grad_norm", {"max_norm": 5}, {"max_norm": 5}),
        ("clip_grad_norm", "{'max_norm':5,'norm_type':1}", {"max_norm": 5, "norm_type": 1}),
        ("clip_grad_norm", None, None),
        ("train_neg_sample_args", {"distribution": "popularity"}, {"distribution": "popularity"}),
        ("train_neg_sample_args", None, None),
        ("user_inter_num_interval", "[5,inf)", "[5,inf)"),
        ("user_inter_num_interval", None, None),
        ("gpu_id", 10**400, 10**400),
        ("load_col", None, None),
    ],
)
def test_values_that_are_taken(name: str, value: Value, taken: Value) -> None:
    assert exactly(check_value(name, value)) == exactly(taken)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("hidden_size", 0, "`hidden_size` must be a whole number of at least 1 and at most 65536, not 0"),
        ("hidden_size", 65537, "not 65537"),
        ("hidden_size", 1.5, "not 1.5"),
        ("hidden_size", True, "not True"),
        ("hidden_size", "sixty", "not 'sixty'"),
        ("hidden_size", None, "not None"),
        ("hidden_size", [64], r"not \[64\]"),
        ("hidden_size", math.inf, "not inf"),
        ("hidden_size", math.nan, "not nan"),
        ("seed", -1, "not -1"),
        ("seed", 2**32, "not 4294967296"),
        ("hidden_dropout_prob", 1.0000001, "at most 1, not"),
        ("hidden_dropout_prob", -0.1, "at least 0"),
        ("hidden_dropout_prob", math.nan, "not nan"),
        ("hidden_dropout_prob", False, "not False"),
        ("learning_rate", 0, "a number above 0"),
        ("learning_rate", math.inf, "not inf"),
        ("initializer_range", 0.0, "above 0"),
        ("hidden_act", "Relu", "one of gelu, relu, swish, tanh, sigmoid, not 'Relu': did you mean `relu`?"),
        ("hidden_act", 5, "not 5"),
        ("pooling_mode", "min", "one of max, mean, sum"),
        ("loss_type", "ce", "did you mean `CE`?"),
        ("learner", "sparse_adam", "one of adam"),
        ("loss_type", "BCE", "one of BPR, CE, not 'BCE'$"),
        ("hidden_act", "elu", "sigmoid, not 'elu'$"),
        ("enable_amp", 2, "True or False, not 2"),
        ("enable_amp", "maybe", "not 'maybe'"),
        ("selected_features", "[class", "a list, not '\\[class'"),
        ("selected_features", [], "must name at least one item column"),
        ("selected_features", ["class", 5], "must name at least one"),
        ("selected_features", ["class", "class"], "names a column twice"),
        ("selected_features", {"class": 1}, "a list"),
        ("clip_grad_norm", {}, "needs a max_norm above zero"),
        ("clip_grad_norm", {"max_norm": 0}, "max_norm of clip_grad_norm must be a number above zero"),
        ("clip_grad_norm", {"max_norm": math.nan}, "max_norm of clip_grad_norm must be"),
        ("clip_grad_norm", {"max_norm": True}, "max_norm of clip_grad_norm must be"),
        ("clip_grad_norm", {"max_nrom": 5}, "clip_grad_norm has no `max_nrom`: did you mean `max_norm`?"),
        ("clip_grad_norm", 5, "a mapping"),
        ("train_neg_sample_args", {"distrbution": "uniform"}, "did you mean `distribution`?"),
        ("train_neg_sample_args", {"uniform": 2}, "Write {'distribution': 'uniform', 'sample_num': 2}"),
        ("train_neg_sample_args", {"distribution": "normal"}, "must be uniform, popularity or None"),
        (
            "clip_grad_norm",
            {"max_norm": 1, "norm_type": None},
            "norm_type of clip_grad_norm must be a number above",
        ),
        (
            "clip_grad_norm",
            {"max_norm": 1, "foreach": 2},
            "foreach of clip_grad_norm must be True, False or None, not 2",
        ),
        (
            "train_neg_sample_args",
            {"sample_num": 0},
            "whole number from 1 to 2147483647, not 0",
        ),
        ("train_neg_sample_args", {"alpha": "one"}, "alpha .* must be a number from 0, not 'one'"),
        ("train_neg_sample_args", {"dynamic": 2}, "dynamic .* must be True or False"),
        ("train_neg_sample_args", {"dynamic": True}, "need a candidate_num of at least 1"),
        ("metrics", [5], r"metrics must be names, not \[5\]"),
        ("metrics", [], "metrics must be names"),
        ("metrics", ["NDCG@10"], "metrics are names without a cut-off"),
        ("topk", [5, 0], "topk must be whole numbers from 1"),
        ("topk", {"a": 1}, "`topk` must be a list, not"),
        ("NEG_PREFIX", [{}], r"`NEG_PREFIX` must be text, not \[{}\]"),
        ("TIME_FIELD", None, "`TIME_FIELD` must be text, not None"),
        ("load_col", ["item_id"], "`load_col` must be a mapping .* or None"),
        ("rm_dup_inter", "frist", "did you mean `first`"),
        ("user_inter_num_interval", "[5,inf", "must be an interval"),
        ("user_inter_num_interval", 5, "must be an interval"),
        ("user_inter_num_interval", "[0,inf)" + ";[0,inf)" * 1000, "must be an interval"),
        ("gpu_id", math.nan, "not nan"),
        ("train_neg_sample_args", {"sample_num": 2**31}, "from 1 to 2147483647, not 2147483648"),
        ("topk", [10**20], "topk must be whole numbers from 1 to 2147483647"),
        ("discretization", {"age": {"method": "ED", "bucket": 10**20}}, "discretization of age must be"),
        ("seq_len", {"tags": 10**20}, "seq_len of tags must be a whole number from 1 to"),
        ("eval_args", {"order": "TO", "mode": f"uni{'9' * 5000}"}, "mode of eval_args must be full, uniN"),
        ("field_separator", "(a+)+$", "`field_separator` must be one character, or several without"),
        ("field_separator", "||", "`field_separator` must be one character, or several without"),
    ],
)
def test_values_that_are_not(name: str, value: Value, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        check_value(name, value)


_BOUNDED = sorted(name for name, known in TABLE.items() if known.kind in ("int", "float"))


@given(st.sampled_from(_BOUNDED), st.one_of(st.integers(), st.floats()))
def test_a_number_is_taken_exactly_when_it_is_within_its_bounds(name: str, number: float) -> None:
    known = TABLE[name]
    above = number > known.low if known.open_low else number >= known.low
    legal = (
        above
        and number <= known.high
        and math.isfinite(number)
        and (known.kind == "float" or number == int(number))
    )
    try:
        taken = check_value(name, number)
    except ParameterError:
        assert not legal
    else:
        assert legal and taken == number
        assert known.kind == "float" or type(taken) is int


@given(st.sampled_from(sorted(TABLE)), values)
def test_any_value_is_taken_unchanged_or_refused(name: str, value: Value) -> None:
    try:
        taken = check_value(name, value)
    except InputError as error:
        assert len(str(error)) < 2000
    else:
        assert exactly(check_value(name, taken)) == exactly(taken)


@pytest.mark.parametrize("text", ["[5,inf)", "(0, 1]", "[1,2);[3,4]", " [1e2,+inf) ", "(-inf,5)", "[1,1]"])
def test_intervals(text: str) -> None:
    assert is_interval(text)


@pytest.mark.parametrize(
    "text",
    ["", "5", "[5]", "[5,6", "5,6", "[a,b]", "[e,f)", "[2,1]", "[1,2];", "[1,2];x", "[1,2,3]", "[nan,1]"],
)
def test_no_intervals(text: str) -> None:
    assert not is_interval(text)
