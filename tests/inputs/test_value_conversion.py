"""The type of a value is decided by its key, however it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.config_files import read_config_file, read_override
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.validation import space_mistakes
from sasrecf_tune.inputs.value_conversion import convert
from tests.support.strategies import exactly, values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("topk=[5,10]", [5, 10]),
        ("topk=[10,5]", [10, 5]),
        ("topk=[5]", [5]),
        ("topk=(5,10)", [5, 10]),
        ("topk=5,10", [5, 10]),
        ("topk=5", [5]),
        ("topk=['5', '10']", [5, 10]),
        ("metrics=[Recall,NDCG]", ["Recall", "NDCG"]),
        ("metrics=['Recall', 'NDCG']", ["Recall", "NDCG"]),
        ("metrics=Recall,NDCG", ["Recall", "NDCG"]),
        ("metrics=NDCG", ["NDCG"]),
        ("selected_features=class", ["class"]),
        ("selected_features=('class', 'year')", ["class", "year"]),
        ("user_inter_num_interval=[5,10]", "[5,10]"),
        ("user_inter_num_interval=[5,inf)", "[5,inf)"),
        ('user_inter_num_interval="[5,inf)"', "[5,inf)"),
        ("user_inter_num_interval= (5, 10] ", "(5, 10]"),
        ("user_inter_num_interval=[0,5);[10,20]", "[0,5);[10,20]"),
        ("user_inter_num_interval=None", None),
        ("train_neg_sample_args=None", None),
        ("train_neg_sample_args=none", None),
        ("train_neg_sample_args=NULL", None),
        ("train_neg_sample_args=~", None),
        ("train_neg_sample_args='None'", None),
        ("train_neg_sample_args=", None),
        (
            "train_neg_sample_args={'distribution':'popularity','sample_num':1,'dynamic':False}",
            {"distribution": "popularity", "sample_num": 1, "dynamic": False},
        ),
        ("clip_grad_norm={'max_norm': 5, 'foreach': None}", {"max_norm": 5, "foreach": None}),
        ("clip_grad_norm={max_norm: 5}", {"max_norm": 5}),
        ("epochs=1e3", 1000),
        ("epochs='5'", 5),
        ("epochs=5.0", 5),
        ("learning_rate='1e-3'", 0.001),
        ("learning_rate=1E-3", 0.001),
        ("learning-rate=0.1", 0.1),
        ("enable_amp=True", True),
        ("enable_amp=true", True),
        ("enable_amp=yes", True),
        ("enable_amp='False'", False),
        ("shuffle=0", False),
        ("learner=Adam", "adam"),
        ("learner=ADAMW", "adamw"),
        ("seq_separator= ", " "),
        ("seq_separator=|", "|"),
        ("seq_separator=", None),
        ("field_separator=,", ","),
        ("field_separator=\\t", "\t"),
        ("encoding=None", None),
        ("LABEL_FIELD=~", None),
        ("TIME_FIELD=2020", "2020"),
        ("NEG_PREFIX=no", "no"),
        ("rm_dup_inter=none", None),
        ("benchmark_filename=['train','valid','test']", ["train", "valid", "test"]),
        ("valid_metric=NDCG@10", "NDCG@10"),
        ("my_own=[a, None]", ["a", "None"]),
    ],
)
def test_a_set_option_is_read_as_its_key_needs(text: str, value: Value) -> None:
    assert exactly(read_override(text)[1]) == exactly(value)


def test_a_tilde_that_the_shell_has_replaced_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert read_override("LABEL_FIELD=/home/me") == ("LABEL_FIELD", None)
    assert read_override("data_path=/home/me") == ("data_path", "/home/me")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("user_inter_num_interval: [5, 7]", "[5, 7]"),
        ("item_inter_num_interval: [5, inf]", "[5, inf]"),
        ("item_inter_num_interval: [5, .inf]", "[5, inf]"),
        ("item_inter_num_interval: None", None),
        ("LABEL_FIELD: ~", None),
        ("LABEL_FIELD: None", None),
        ("encoding: ''", None),
        ("train_neg_sample_args: None", None),
        ("train_neg_sample_args: {distribution: None, sample_num: none, alpha: none}", None),
        ("topk: '[5, 10]'", [5, 10]),
        ("topk: 10", [10]),
        ("metrics: \"['Recall', 'MRR']\"", ["Recall", "MRR"]),
        ("learner: SGD", "sgd"),
        ("epochs: '5'", 5),
        ("enable_amp: 'False'", False),
        ("field_separator: \\t", "\t"),
        ("dataset: 2020", "2020"),
        ("dataset: ~", None),
        ("load_col: None", None),
        ("additional_feat_suffix: link", ["link"]),
    ],
)
def test_a_config_file_is_read_as_its_keys_need(tmp_path: Path, line: str, value: Value) -> None:
    file = tmp_path / "base.yaml"
    file.write_text(f"{line}\n")
    (read,) = read_config_file(file).values()
    if isinstance(read, dict):
        assert set(read.values()) == {value}
    else:
        assert exactly(read) == exactly(value)


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("learner choice ['Adam', 'SGD']", ["adam", "sgd"]),
        ("clip_grad_norm choice [none, {'max_norm': '5'}]", [None, {"max_norm": 5}]),
        ("train_neg_sample_args choice ['null']", [None]),
        ("enable_amp choice [0, 1]", [False, True]),
        ("hidden_size choice [32.0, '64']", [32, 64]),
        ("learning_rate choice ['1e-3', '1e-4']", [0.001, 0.0001]),
        ("selected_features choice ['class', ['class', 'year']]", [["class"], ["class", "year"]]),
        ("user_inter_num_interval choice [[5, 10]]", ["[5, 10]"]),
    ],
)
def test_a_choice_is_read_as_its_key_needs(line: str, choices: list[Value]) -> None:
    space = parse(line, check=space_mistakes)
    assert [exactly(value) for value in space.parameters[0].values] == [exactly(value) for value in choices]
    assert parse(space.write()) == space


def test_a_choice_of_one_column_that_is_written_as_text_is_noted() -> None:
    (note,) = parse("selected_features choice ['class', 'year']").notes
    assert note == "line 1: each value of selected_features is a list, so these are ['class'], ['year']"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs=None", "must be a whole number"),
        ("loss_type=ce", "did you mean `CE`?"),
        ("hidden_act=GELU", "did you mean `gelu`?"),
        ("pooling_mode=Mean", "did you mean `mean`?"),
        ("topk=[5,0]", "whole numbers from 1"),
        ("TIME_FIELD=[a]", ""),
        ("user_inter_num_interval=5", "must be an interval"),
    ],
)
def test_values_that_recbole_would_not_take(text: str, said: str) -> None:
    if said:
        with pytest.raises(InputError, match=said):
            read_override(text)
    else:
        assert read_override(text)[1] == text.partition("=")[2]


@given(st.sampled_from([*sorted(TABLE), "my_own"]), values)
def test_converting_again_changes_nothing(name: str, value: Value) -> None:
    converted = convert(name, value)
    assert exactly(convert(name, converted)) == exactly(converted)


_READ = sorted(name for name, known in TABLE.items() if not known.unused)


@given(st.sampled_from(_READ), st.one_of(st.text(), st.text("[](){},;'\"~None 0159.eE-:\\\n")))
def test_any_set_option_is_read_or_a_clear_error(name: str, text: str) -> None:
    try:
        key, value = read_override(f"{name}={text}")
    except InputError as error:
        assert all(f"--set {name}" in str(mistake) for mistake in error.mistakes)
    else:
        assert exactly(convert(key, value)) == exactly(value)
