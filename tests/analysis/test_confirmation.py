"""What is said of scores on several seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sasrecf_tune.analysis.confirmation import (
    Confirmation,
    best_configurations,
    estimate,
    fresh_seeds,
    on_test,
    rank_confirmed,
)
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.report.confirmation_text import heading, note, sentences
from sasrecf_tune.report.formats.confirmation import confirmation_content, confirmation_markdown
from sasrecf_tune.trials import Prediction, State, TrialRecord
from tests.support.confirmations import confirmation

FIVE = [
    [0.0531, 0.0542, 0.0528, 0.0551, 0.0537],
    [0.0529, 0.0538, 0.0529, 0.0547, 0.0535],
    [0.0402, 0.0421, 0.0409, 0.0418, 0.0412],
]


def said(scores: Sequence[Sequence[float | None]], seconds: Sequence[float] = ()) -> list[str]:
    subject = confirmation(scores, seconds)
    return sentences(subject, rank_confirmed(subject, maximize=True))


def test_two_configurations_are_the_paired_t_test() -> None:
    verdict = rank_confirmed(confirmation(FIVE[:2]), maximize=True)
    assert verdict.p(verdict.places[1]) == pytest.approx(stats.ttest_rel(FIVE[0], FIVE[1]).pvalue, rel=1e-6)


def test_error_is_the_residual_of_a_two_way_layout() -> None:
    scores = np.array(FIVE)
    count, seeds = scores.shape
    # One column for each configuration, one for each seed but the first.
    design = np.zeros((scores.size, count + seeds - 1))
    for row, (trial, seed) in enumerate(np.ndindex(count, seeds)):
        design[row, trial] = 1
        if seed:
            design[row, count + seed - 1] = 1
    _, (residual,), rank, _ = np.linalg.lstsq(design, scores.ravel(), rcond=None)
    freedom = scores.size - rank
    assert freedom == (count - 1) * (seeds - 1)
    error = math.sqrt(residual / freedom / seeds)
    verdict = rank_confirmed(confirmation(FIVE), maximize=True)
    for place in verdict.places[1:]:
        q = abs(scores[place.trial].mean() - scores[0].mean()) / error
        assert place.q == pytest.approx(q, rel=1e-6)
        assert verdict.p(place) == pytest.approx(stats.studentized_range.sf(q, count, freedom), rel=1e-6)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2000), min_size=3, max_size=3), min_size=2, max_size=5),
    st.lists(st.integers(-500, 500), min_size=3, max_size=3),
    st.permutations(range(3)),
)
def test_verdict_ignores_seed_shifts_and_seed_order(
    table: list[list[int]], shifts: list[int], order: list[int]
) -> None:
    scores = [[cell / 10_000 for cell in row] for row in table]
    shifted = [[row[i] + shifts[i] / 10_000 for i in order] for row in scores]
    before = rank_confirmed(confirmation(scores), maximize=True)
    after = rank_confirmed(confirmation(shifted), maximize=True)
    distances = [[place.q for place in verdict.places[1:]] for verdict in (before, after)]
    assert distances[0] == pytest.approx(distances[1], rel=1e-6, abs=1e-6)
    # Less is better, and all signs turned: the same places.
    turned = rank_confirmed(confirmation([[-score for score in row] for row in scores]), maximize=False)
    assert [place.trial for place in turned.places] == [place.trial for place in before.places]
    means = [place.score.mean for place in before.places]
    assert means == sorted(means, reverse=True)
    # Tied places come first, without a gap.
    assert [place.tied for place in before.places] == sorted(
        (place.tied for place in before.places), reverse=True
    )


def test_interval_is_student_t() -> None:
    found = estimate(FIVE[0])
    assert found.half_interval is not None
    low, high = stats.t.interval(0.95, 4, loc=np.mean(FIVE[0]), scale=stats.sem(FIVE[0]))
    assert (found.mean - found.half_interval, found.mean + found.half_interval) == pytest.approx((low, high))
    assert found.sd == pytest.approx(np.std(FIVE[0], ddof=1))
    assert estimate([0.5]).half_interval is None


def test_a_tie_is_named_without_a_word_on_times_which_are_noise() -> None:
    assert said(FIVE, seconds=[20, 12, 5]) == ["Ranks 1 and 2 are tied. The others are worse than the first."]
    assert said([FIVE[0], FIVE[0], FIVE[0]], seconds=[3, 3, 3]) == ["Ranks 1 to 3 are tied."]


def test_clear_winner_is_named() -> None:
    (sentence,) = said([FIVE[2], FIVE[0]])
    assert sentence == "Trial 1 is better than trial 0 (p < 0.001)."


def test_one_seed_is_not_tested() -> None:
    subject = confirmation([[0.9], [0.1]])
    verdict = rank_confirmed(subject, maximize=True)
    assert [place.q for place in verdict.places] == [None, None]
    assert all(place.score.half_interval is None for place in verdict.places)
    assert sentences(subject, verdict)[0].startswith("The order is not tested: one seed")
    assert "p:" not in note(verdict)
    assert confirmation_content(subject, verdict)["tied"] == []


def test_one_configuration_has_an_interval_and_no_test() -> None:
    verdict = rank_confirmed(confirmation(FIVE[:1]), maximize=True)
    assert verdict.places[0].score.half_interval is not None
    assert said(FIVE[:1]) == ["There is no other configuration to compare it with."]


def test_failed_run_excludes_its_seed_for_all() -> None:
    scores: list[list[float | None]] = [list(row) for row in FIVE]
    scores[1][3] = None
    subject = confirmation(scores, tests=True)
    verdict = rank_confirmed(subject, maximize=True)
    assert verdict.seeds == (2021, 2022, 2023, 2025)
    without = rank_confirmed(confirmation([[row[i] for i in (0, 1, 2, 4)] for row in FIVE]), maximize=True)
    assert [place.q for place in verdict.places] == [place.q for place in without.places]
    # Test metrics are given on the same seeds.
    assert on_test(subject, verdict, 0)["mrr@10"].mean == pytest.approx(verdict.places[0].score.mean / 10)
    assert sentences(subject, verdict)[1:] == [
        "Seed 2024 is excluded because trial 1 failed on it.",
        "trial 1 on seed 2024 failed: a reason",
    ]


def test_configuration_that_fails_on_half_of_the_seeds_is_not_compared() -> None:
    scores: list[list[float | None]] = [list(row) for row in FIVE]
    scores[2] = [None, 0.9, None, None, 0.9]
    subject = confirmation(scores)
    verdict = rank_confirmed(subject, maximize=True)
    assert [place.trial for place in verdict.places] == [0, 1] and len(verdict.seeds) == 5
    assert "Not compared because at least half of their runs failed: trial 2." in sentences(subject, verdict)


def test_no_run_has_completed() -> None:
    assert said([[None, None], [None, None]])[0] == "No run has completed."
    subject = Confirmation({0: {}, 1: {}}, (2021,), 2)
    assert sentences(subject, rank_confirmed(subject, maximize=True)) == ["No run has completed."]


def test_incomplete_seeds_are_not_tested() -> None:
    subject = confirmation(FIVE)
    begun = {run: record for run, record in subject.runs.items() if run in ((0, 2021), (1, 2021), (0, 2022))}
    part = replace(subject, runs=begun)
    verdict = rank_confirmed(part, maximize=True)
    assert [place.trial for place in verdict.places] == [0, 1] and not verdict.tested
    assert sentences(part, verdict)[0].startswith("The order is not tested yet")
    # Two whole seeds can be compared, whatever is under way on the third.
    more = {run: record for run, record in subject.runs.items() if run[1] < 2023 or run == (2, 2023)}
    part = replace(subject, runs=more)
    assert rank_confirmed(part, maximize=True).seeds == (2021, 2022)


def test_heading_counts_ended_runs() -> None:
    subject = Confirmation({0: {}, 1: {}}, (2021,), 2)
    assert heading(subject, "MRR@10").endswith("0 of 2 runs so far")


def test_nan_score_counts_as_failed() -> None:
    verdict = rank_confirmed(confirmation([FIVE[0], [*FIVE[1][:4], math.nan]]), maximize=True)
    assert len(verdict.seeds) == 4 and verdict.failed_on == {2025: (1,)}


def test_error_is_at_least_that_of_rounding() -> None:
    # By a hundredth of a percent better on each of two seeds, to four decimals: that is chance.
    verdict = rank_confirmed(confirmation([[0.0502, 0.0502], [0.0501, 0.0501]]), maximize=True)
    assert verdict.tied == 2
    assert rank_confirmed(confirmation([[0.06, 0.06], [0.05, 0.05]]), maximize=True).tied == 1


def test_best_configurations_ignore_the_seed() -> None:
    def record(
        number: int, layers: int, seed: int, score: float | None, state: State = State.COMPLETE
    ) -> TrialRecord:
        return TrialRecord(number, state, {"n_layers": layers, "seed": seed}, score)

    records = [
        *(
            record(0, 1, 1, 0.1),
            record(1, 1, 2, 0.3),
            record(2, 2, 1, 0.2),
            record(3, 3, 1, 0.9, State.PRUNED),
        ),
        *(record(4, 4, 1, None, State.FAILED), record(5, 4, 2, math.nan), record(6, 2, 2, 0.25)),
    ]
    assert best_configurations(records, True, 5) == {1: {"n_layers": 1}, 6: {"n_layers": 2}}
    assert best_configurations(records, True, 1) == {1: {"n_layers": 1}}
    assert best_configurations(records, False, 1) == {0: {"n_layers": 1}}


@pytest.mark.parametrize("maximize", [True, False])
def test_best_configurations_are_those_with_the_best_predictions_among_complete_and_paused_ones(
    maximize: bool,
) -> None:
    sign = 1 if maximize else -1

    def record(
        number: int, state: State, score: float, predicted: float | None, provisional: bool = False
    ) -> TrialRecord:
        expected = None if predicted is None else Prediction(sign * predicted, 0.01)
        params = {"n_layers": number}
        return TrialRecord(number, state, params, sign * score, predicted=expected, provisional=provisional)

    records = [
        record(0, State.COMPLETE, 0.3, 0.2),
        record(1, State.COMPLETE, 0.2, 0.3),
        record(2, State.PAUSED, 0.1, 0.4),
        record(3, State.PAUSED, 0.9, 0.25),
        record(4, State.PAUSED, 0.9, None),
        record(5, State.PRUNED, 0.9, None),
        record(6, State.FAILED, 0.9, None),
        record(7, State.COMPLETE, 0.9, None),
        record(8, State.COMPLETE, 0.9, 0.9, provisional=True),
    ]
    assert list(best_configurations(records, maximize, 99)) == [1, 2, 3, 0, 7, 8]
    # The choice of the search is always among them.
    assert list(best_configurations(records, maximize, 1)) == [1]
    assert list(best_configurations(records, maximize, 2)) == [1, 2]
    assert best_configurations(records[2:7], maximize, 9) == {}


def test_paused_trials_are_not_among_the_best_configurations_without_predictions() -> None:
    records = [TrialRecord(n, State.PAUSED if n % 2 else State.COMPLETE, {"n": n}, n / 10) for n in range(4)]
    assert list(best_configurations(records, True, 9)) == [2, 0]


def test_fresh_seeds_follow_those_of_the_search() -> None:
    assert fresh_seeds(2020, 3) == (2021, 2022, 2023)
    assert fresh_seeds(2**32 - 2, 2) == (2**32 - 1, 0)


def test_confirmation_as_json_and_markdown() -> None:
    subject = confirmation(FIVE, tests=True)
    verdict = rank_confirmed(subject, maximize=True)
    content = json.loads(json.dumps(confirmation_content(subject, verdict), allow_nan=False))
    assert content["tied"] == [0, 1] and len(content["runs"]) == 15
    assert [row["trial"] for row in content["configurations"]] == [0, 1, 2]
    assert content["configurations"][0]["test"]["mrr@10"]["mean"] == pytest.approx(0.005378)
    text = confirmation_markdown(subject, verdict, ("n_layers",), parse_metric("mrr@10"))
    assert "| 1 | 0 | 0.0538 ± 0.0011 | 0.0009 | - | 1 | 1 |" in text
    assert "Tukey's HSD" in text and "assumes" in text
