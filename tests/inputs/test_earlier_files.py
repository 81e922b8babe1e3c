"""Files with the results of earlier searches: RecBole's hyper.result, and trials.csv."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasrecf_tune.errors import ResultsFileError
from sasrecf_tune.inputs.earlier_trials import EarlierTrial, value_in
from sasrecf_tune.inputs.hyper_result import parse_hyper_result
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.trials_table import is_trials_table, parse_trials_table
from sasrecf_tune.report.formats.trials import trials_header, trials_row
from sasrecf_tune.trials import State, TrialRecord
from tests.support.strategies import NAMES, spaces

WRITTEN = """\
learning_rate:0.001, selected_features:('class', 'release_year'), loss_type:CE
Valid result:
recall@10 : 0.1021    mrr@10 : 0.0412
Test result:
recall@10 : 0.0998    mrr@10 : nan

"""
SPACE = """\
learning_rate loguniform -8,-2
n_layers choice [1, 2]
loss_type choice ['CE', 'BPR']
selected_features choice [['class'], ['class', 'release_year']]
hidden_dropout_prob quniform 0.1,0.5,0.1
"""


def test_what_a_hyper_result_says_of_a_trial() -> None:
    (trial,) = parse_hyper_result(WRITTEN)
    assert trial.params == {
        "learning_rate": "0.001",
        "selected_features": "('class', 'release_year')",
        "loss_type": "CE",
    }
    assert trial.valid == {"recall@10": 0.1021, "mrr@10": 0.0412}
    assert trial.test["recall@10"] == 0.0998
    assert (trial.seed, trial.epochs, trial.best_epoch) == (None, 0, 0)


def test_recboles_own_writer_is_read_into_the_space_that_it_searched(tmp_path: Path) -> None:
    from recbole.trainer.hyper_tuning import HyperTuning

    (tmp_path / "hyper.test").write_text(SPACE)
    asked: list[dict[str, Any]] = []

    def objective(config: dict[str, Any], files: object) -> dict[str, Any]:
        asked.append(dict(config))
        score = round(float(config["learning_rate"]), 4)
        results = {"recall@10": 0.5, "mrr@10": score}
        return {
            "model": "SASRecF",
            "best_valid_score": score,
            "valid_score_bigger": True,
            "best_valid_result": results,
            "test_result": results,
        }

    search = HyperTuning(
        objective, params_file=str(tmp_path / "hyper.test"), algo="random", max_evals=12, early_stop=99
    )
    search.run()
    search.export_result(output_file=str(tmp_path / "hyper.result"))
    space = parse(SPACE)
    trials = parse_hyper_result((tmp_path / "hyper.result").read_text())
    assert len(trials) == len(asked) == 12
    for trial, config in zip(trials, asked, strict=True):
        assert trial.valid == {"recall@10": 0.5, "mrr@10": round(config["learning_rate"], 4)}
        for parameter in space:
            value = value_in(parameter, trial.params[parameter.name])
            assert parameter.contains(value)
            expected = config[parameter.name]
            if isinstance(expected, float):
                assert value == pytest.approx(expected)
            else:
                assert value == (list(expected) if isinstance(expected, tuple) else expected)


_texts = st.text("abcXYZ019_.-[]()'\" ", max_size=10).map(str.strip)
# No regular expression, which is slow to draw from: on a busy machine hypothesis would refuse the test.
_cut_offs = st.one_of(st.just(""), st.integers(1, 999).map("@{}".format))
_metrics = st.dictionaries(
    st.builds(str.__add__, st.text("abxyz", min_size=1, max_size=8), _cut_offs),
    st.floats(-1e6, 1e6),
    max_size=4,
)


@given(
    st.lists(
        st.tuples(st.dictionaries(NAMES, _texts, min_size=1, max_size=4), _metrics, _metrics),
        min_size=1,
        max_size=4,
    )
)
def test_every_result_that_recbole_writes_is_read_back(
    written: list[tuple[dict[str, str], dict[str, float], dict[str, float]]],
) -> None:
    text = ""
    for params, valid, test in written:  # as export_result does
        text += ", ".join(f"{name}:{value}" for name, value in params.items()) + "\n"
        for title, metrics in (("Valid", valid), ("Test", test)):
            text += f"{title} result:\n" + "    ".join(f"{key} : {v}" for key, v in metrics.items()) + "\n"
        text += "\n"
    # A value at the end of a line loses the spaces after it.
    assert [(trial.params, trial.valid, trial.test) for trial in parse_hyper_result(text)] == written


@given(st.text("learning_rate:0.1,\nVTalidestresult @10 nm'\"[]\t\r\x00é", max_size=200))
def test_any_other_text_is_an_error_with_its_place(text: str) -> None:
    for read in (parse_hyper_result, parse_trials_table):
        try:
            read(text, "file")
        except ResultsFileError as error:
            assert re.match(r"file(:\d+:\d+)?: ", str(error))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate choice [1]\n", r"f:1:1: expected NAME:VALUE"),
        ("a:1, b:2, a:3\n", r"f:1:11: `a` occurs twice"),
        ("a:1\nValid results:\n", r"f:2:1: expected `Valid result:`"),
        ("a:1\nValid result:\nmrr@10 : 0.1    ndcg@10 0.2\n", r"f:3:17: expected METRIC : NUMBER"),
        ("a:1\nValid result:\nmrr@10 : __import__\n", r"f:3:1: expected METRIC : NUMBER"),
        ("a:1\nValid result:\nmrr@10 : 0.1\n\n", r"f:4:1: expected `Test result:`"),
        ("\n", "f: there are no trials"),
    ],
)
def test_errors_have_line_and_column(text: str, message: str) -> None:
    with pytest.raises(ResultsFileError, match=message):
        parse_hyper_result(text, "f")


HEADER = "number,state,learning_rate,trial_seed,trained_epochs,best_epoch,seconds,valid mrr@10,error\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,complete,0.1,1,5,five,0.5,0.2,\n", r"f:2:20: `best_epoch`: not a number"),
        ("0,complete,0.1,1,5.5,5,0.5,0.2,\n", r"f:2:18: `trained_epochs`: not a whole number from 0"),
        ("0,done,0.1,1,5,5,0.5,0.2,\n", r"f:2:3: `state`: no state of a trial"),
        ("0,complete\n", r"f:2:1: 2 columns, not 9"),
        ('0,complete,"0.1\n', r"f:2:1: a quote is missing"),
    ],
)
def test_errors_of_a_table_have_line_and_column(row: str, message: str) -> None:
    with pytest.raises(ResultsFileError, match=message):
        parse_trials_table(HEADER + row, "f")
    with pytest.raises(ResultsFileError, match="there is no column `trial_seed`"):
        parse_trials_table(HEADER.replace("trial_seed,", ""))
    with pytest.raises(ResultsFileError, match="there are no columns `trial_seed`, `trained_epochs`"):
        parse_trials_table("number,state,seconds\n")
    with pytest.raises(ResultsFileError, match="are not the first columns"):
        parse_trials_table(f"note,{HEADER}")


@given(spaces(), st.data())
def test_values_in_trials_csv_are_read_back_as_they_are_shown(space: Any, data: st.DataObject) -> None:
    params = {}
    for parameter in space:
        if parameter.size is not None:
            values = parameter.values
            params[parameter.name] = values[data.draw(st.integers(0, len(values) - 1))]
        else:
            params[parameter.name] = data.draw(st.floats(*parameter.bounds))
    record = TrialRecord(3, State.COMPLETE, params, 0.5, seed=7, epochs=5, best_epoch=4, seconds=1.5)
    keys = ("mrr@10",)
    text = trials_header(space.names, keys) + trials_row(record, space.names, keys)
    assert is_trials_table(text)
    ((trial,), others) = parse_trials_table(text)
    assert not others
    assert (trial.seed, trial.epochs, trial.best_epoch, trial.seconds) == (7, 5, 4, 1.5)
    assert set(trial.params) == set(space.names)


@pytest.mark.parametrize(
    ("line", "given_value", "value"),
    [
        ("epochs int 10,50,10", "20.0", 20),
        ("epochs int 10,50,10", 25, None),
        ("learning_rate log 1e-4,1e-1", "0.00123457", 0.00123457),
        ("learning_rate log 1e-4,1e-1", "0.2", None),
        ("learning_rate log 1e-4,1e-1", float("nan"), None),
        ("hidden_dropout_prob quniform 0.1,0.5,0.1", 0.30000000000000004, 0.3),
        ("hidden_dropout_prob quniform 0.1,0.5,0.1", "0.35", None),
        ("n_layers choice [1, 2]", "2", 2),
        ("n_layers choice [1, 2]", True, None),
        ("learning_rate choice [0.00123456789]", "0.00123457", 0.00123456789),
        ("loss_type choice ['CE', 'BPR']", "CE", "CE"),
        ("selected_features choice [['class'], ['class', 'release_year']]", "[class, release_year]",
         ["class", "release_year"]),
    ],
)  # fmt: skip
def test_the_value_of_a_space_that_a_text_stands_for(line: str, given_value: Any, value: Any) -> None:
    found = value_in(parse(line).parameters[0], given_value)
    assert found == value and type(found) is type(value)


def test_a_trial_that_did_not_complete_is_counted_only() -> None:
    trials, others = parse_trials_table(
        HEADER + "0,failed,0.1,1,0,0,0.5,,why\n1,complete,0.1,1,5,5,0.5,0.2,\n"
    )
    assert others == {"failed": 1}
    assert trials == [EarlierTrial({"learning_rate": "0.1"}, {"mrr@10": 0.2}, {}, 1, 5, 5, 0.5)]
