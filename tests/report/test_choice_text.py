"""Predicted scores in tables, and why the first trial is not the one with the best score."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from rich.console import Console

from sasrecf_tune.analysis.search_summary import SearchSummary
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.report.choice_text import choice_text, predicted_text, regret_text, untried_text
from sasrecf_tune.report.formats.latex import ranking_latex
from sasrecf_tune.report.formats.trials import ranking_csv, ranking_json, ranking_markdown
from sasrecf_tune.report.terminal.tables import ranking_table
from sasrecf_tune.trials import Prediction, Row, State, TrialRecord, rank

METRIC = parse_metric("NDCG@10")
SUMMARY = SearchSummary({}, 2, 0.41, 0.001, 95, 0.2)


def trial(number: int, score: float, predicted: float | None, **more: Any) -> TrialRecord:
    prediction = None if predicted is None else Prediction(predicted, 0.0008)
    return TrialRecord(
        number,
        more.pop("state", State.COMPLETE),
        {"n_layers": 2},
        score,
        epochs=6,
        best_epoch=5,
        valid={"ndcg@10": score},
        predicted=prediction,
    )


CHOSEN, LUCKY = trial(4, 0.040, 0.0402), trial(9, 0.041, 0.0391)
PAUSED = trial(7, 0.042, 0.0395, state=State.PAUSED)


def rows(*records: TrialRecord) -> list[Row]:
    return rank(records, maximize=True)


def test_trials_are_ranked_by_their_predictions_and_paused_ones_have_no_rank() -> None:
    ranked = rows(LUCKY, PAUSED, CHOSEN, trial(1, 0.05, None))
    assert [(row.rank, row.record.number) for row in ranked] == [(1, 4), (2, 9), (3, 1), (None, 7)]
    lower = rank([LUCKY, CHOSEN], maximize=False)
    assert [row.record.number for row in lower] == [9, 4]


def test_equal_predictions_and_scores_share_a_rank() -> None:
    assert [row.rank for row in rows(trial(0, 0.1, 0.2), trial(1, 0.1, 0.2), trial(2, 0.0, 0.2))] == [1, 1, 3]


def test_the_table_says_why_the_best_score_is_not_first() -> None:
    assert choice_text(rows(CHOSEN, LUCKY), METRIC) == (
        "Trial 9 has a better score (0.0410) than trial 4, but by all learning curves it is expected to "
        "score 0.0391, and trial 4 0.0402."
    )
    assert choice_text(rows(CHOSEN, PAUSED), METRIC) == (
        "Trial 7 has a better score (0.0420) than trial 4, but it was not trained to its end."
    )


@pytest.mark.parametrize(
    "records",
    [
        [],
        [PAUSED],
        [CHOSEN],
        [CHOSEN, trial(1, 0.039, 0.03), trial(2, float("nan"), None)],
        [trial(0, 0.1, None), trial(1, 0.2, None, state=State.PAUSED)],  # of another sampler
    ],
)
def test_there_is_nothing_to_say_where_the_best_score_is_first(records: list[TrialRecord]) -> None:
    assert choice_text(rows(*records), METRIC) == ""


def test_lower_scores_may_be_better() -> None:
    rmse = parse_metric("RMSE")
    ranked = rank([trial(0, 0.90, 0.95), trial(1, 0.92, 0.91)], maximize=False)
    assert choice_text(ranked, rmse).startswith("Trial 0 has a better score (0.9000) than trial 1")


def test_all_formats_have_the_predictions() -> None:
    ranked = rows(CHOSEN, LUCKY, PAUSED)
    assert predicted_text(CHOSEN, METRIC) == "0.0402 ± 0.0008"
    tests = {4: {"ndcg@10": 0.03}}
    first, *_ = csv.DictReader(io.StringIO(ranking_csv(ranked, ["n_layers"], ["ndcg@10"], tests)))
    assert (first["predicted"], first["predicted_sd"]) == ("0.0402", "0.0008")
    assert first["test ndcg@10"] == "0.03"
    found = json.loads(ranking_json(ranked, {}))["trials"]
    assert [one["predicted"] for one in found] == [0.0402, 0.0391, 0.0395]
    why = choice_text(ranked, METRIC)
    markdown = ranking_markdown(ranked, ["n_layers"], METRIC, why)
    assert "| 1 | 0.0400 | 0.0402 ± 0.0008 | 4 | complete |" in markdown and markdown.endswith(f"{why}\n")
    latex = ranking_latex(ranked, ["n_layers"], ["ndcg@10"], METRIC, "s", "SASRecF", "d")
    assert r"1 & 2 & 0.0402 $\pm$ 0.0008 & \underline{0.0400} \\" in latex
    assert "predicted" in latex.split("caption")[1].splitlines()[0]


def test_tables_without_predictions_have_no_column_for_them() -> None:
    plain = rows(trial(0, 0.1, None))
    assert "predicted" not in ranking_markdown(plain, [], METRIC)
    assert "predicted" not in ranking_latex(plain, [], ["ndcg@10"], METRIC, "s", "SASRecF", "d")
    first, *_ = csv.DictReader(io.StringIO(ranking_csv(plain, [], ["ndcg@10"])))
    assert first["predicted"] == first["predicted_sd"] == ""


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_its_width(width: int) -> None:
    ranked = rows(CHOSEN, LUCKY, PAUSED)
    said = io.StringIO()
    curves = {4: [(1, 0.01), (2, 0.04)]}
    table = ranking_table(ranked, ["n_layers"], METRIC, width, curves)
    Console(file=said, width=200).print(table)
    lines = said.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert ("0.0402 ± 0.0008" in said.getvalue()) == (width > 60)


def test_what_is_to_be_gained_is_in_the_metric() -> None:
    assert regret_text(SUMMARY, METRIC) == (
        "expected regret 0.41 of a standard deviation between seeds (0.0004 NDCG@10)"
    )
    assert untried_text(SUMMARY, METRIC) == (
        "95 configurations not tried; the best of them is expected to bring 0.0002 NDCG@10"
    )


def test_what_no_trial_may_try_is_not_predicted() -> None:
    text = untried_text(SearchSummary({}, 2, 0.4, 0.001, 3, None), METRIC)
    assert text == "3 configurations not tried, since no more trials may begin (--trials)"


@pytest.mark.parametrize(
    ("untried", "text"),
    [
        (0, ""),
        (1, "1 configuration not tried; it is expected to bring nothing"),
        (None, "Infinitely many configurations not tried; the best of them is expected to bring nothing"),
    ],
)
def test_what_was_not_tried(untried: int | None, text: str) -> None:
    assert untried_text(SearchSummary({}, 2, 0.4, 0.001, untried, 0.001), METRIC) == text
