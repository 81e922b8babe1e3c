from __future__ import annotations

import csv
import math

from hypothesis import given
from hypothesis import strategies as st

from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.report.formats.trials import ranking_csv, ranking_markdown
from sasrecf_tune.trials import LISTED, State, TrialRecord, best, rank

records = st.lists(
    st.builds(
        TrialRecord,
        number=st.integers(0, 10_000),
        state=st.sampled_from([*LISTED, "running", "waiting"]),
        params=st.just({}),
        score=st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.3]), st.floats(allow_nan=True)),
    ),
    unique_by=lambda record: record.number,
)


@given(records, st.booleans())
def test_completed_trials_are_ranked_first_by_score(trials: list[TrialRecord], maximize: bool) -> None:
    rows = rank(trials, maximize)
    assert {row.record.number for row in rows} == {t.number for t in trials if t.state in LISTED}
    ranked = [row for row in rows if row.rank is not None]
    assert rows[: len(ranked)] == ranked
    assert all(r.record.state == State.COMPLETE and math.isfinite(r.record.score or 0.0) for r in ranked)
    scores = [row.record.score or 0.0 for row in ranked]
    assert scores == sorted(scores, reverse=maximize)
    for row in ranked:
        better = sum((s > row.record.score) if maximize else (s < row.record.score) for s in scores)  # type: ignore[operator]
        assert row.rank == better + 1


@given(records)
def test_failed_and_nan_trials_are_sorted_below_pruned_ones(trials: list[TrialRecord]) -> None:
    states = [row.record.state for row in rank(trials, True) if row.rank is None]
    pruned = [i for i, state in enumerate(states) if state == State.PRUNED]
    assert pruned == list(range(len(pruned)))


def test_a_nan_score_is_never_the_best() -> None:
    trials = [
        TrialRecord(0, State.COMPLETE, {}, score=math.nan),
        TrialRecord(1, State.COMPLETE, {}, score=0.1),
        TrialRecord(2, State.PRUNED, {}, score=0.9),
        TrialRecord(3, State.FAILED, {}),
    ]
    assert [row.record.number for row in rank(trials, True)] == [1, 2, 0, 3]
    winner = best(trials, True)
    assert winner is not None and winner.number == 1
    assert best(trials[2:], True) is None


def test_ranking_csv_has_unique_column_names() -> None:
    names = [name for name, known in TABLE.items() if known.tunable != "no"]
    header = next(csv.reader(ranking_csv([], names, ["mrr@10"]).splitlines()))
    assert len(set(header)) == len(header)


def test_ranking_markdown_has_the_columns_of_a_paper_table() -> None:
    trials = [
        TrialRecord(0, State.COMPLETE, {"n_layers": 2}, 0.12, epochs=12, best_epoch=7),
        TrialRecord(1, State.FAILED, {}),
    ]
    header, line, *rows = ranking_markdown(
        rank(trials, True), ["n_layers"], parse_metric("MRR@10")
    ).splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (header, *rows)]
    assert all(len(row) == line.count("|") - 1 for row in cells)
    first, failed = (dict(zip(cells[0], row, strict=True)) for row in cells[1:])
    assert (first["MRR@10"], first["trained epochs"], first["best epoch"]) == ("0.1200", "12", "7")
    assert failed["best epoch"] == ""
