"""The default pruner on made-up learning curves in real Optuna studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.search.strategies import curve_forecast
from sasrecf_tune.search.strategies.curve_forecast import CurveForecaster
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.strategies.forecast_pruner import ForecastPruner
from sasrecf_tune.search.strategies.parameter_vectors import Embedding

SPACE = parse("learning_rate choice [0.01, 0.005, 0.0005, 0.0001]\nn_layers choice [1, 2, 3]\n")
# Fast trials have nearly their final score at the third epoch, slow ones gain most of it later.
FAST = [0.030, 0.034, 0.035, 0.035, 0.036]
SLOW = [0.005, 0.010, 0.015, 0.030, 0.041]


def study(
    *curves: tuple[float, int, Sequence[float]], direction: Literal["maximize", "minimize"] = "maximize"
) -> optuna.Study:
    """A study of completed trials, each a learning rate, layers and scores."""
    made = optuna.create_study(direction=direction)
    sign = 1 if direction == "maximize" else -1
    for learning_rate, n_layers, scores in curves:
        params = SPACE.encode({"learning_rate": learning_rate, "n_layers": n_layers})
        made.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                params=params,
                distributions=distributions(SPACE),
                value=sign * max(scores),
                intermediate_values={epoch: sign * score for epoch, score in enumerate(scores, 1)},
            )
        )
    return made


def pruned(
    made: optuna.Study,
    learning_rate: float,
    scores: Sequence[float],
    startup: int = 4,
    warmup: int = 2,
    epochs: Sequence[int] | None = None,
) -> bool:
    """Whether a trial of three layers with these scores is pruned."""
    trial = create_trial(
        state=TrialState.RUNNING,
        params=SPACE.encode({"learning_rate": learning_rate, "n_layers": 3}),
        distributions=distributions(SPACE),
        intermediate_values=dict(zip(epochs or range(1, len(scores) + 1), scores, strict=True)),
    )
    trial.number = 99
    return ForecastPruner(SPACE, 1.0, startup, warmup).prune(made, trial)


FOUR = ((0.01, 1, FAST), (0.01, 2, FAST), (0.0001, 1, SLOW), (0.0001, 2, SLOW))


def test_a_slow_starter_goes_on_that_the_median_pruner_stops() -> None:
    made = study(*FOUR)
    scores = [score + 0.001 for score in SLOW[:3]]
    assert not pruned(made, 0.0001, scores)
    trial = made.ask()
    for epoch, score in enumerate(scores, 1):
        trial.report(score, epoch)
    made.pruner = optuna.pruners.MedianPruner(4, 2)
    assert trial.should_prune()


def test_a_trial_is_pruned_if_similar_trials_gained_no_more() -> None:
    assert pruned(study(*FOUR), 0.01, [score + 0.001 for score in SLOW[:3]])


def test_a_metric_to_minimize() -> None:
    made = study(*FOUR, direction="minimize")
    assert not pruned(made, 0.0001, [-score - 0.001 for score in SLOW[:3]])
    assert pruned(made, 0.01, [-score - 0.001 for score in SLOW[:3]])


def test_a_trial_goes_on_if_similar_trials_differ_much() -> None:
    gains = [[0.01, 0.01, 0.01, 0.01, 0.01], [0.01, 0.01, 0.01, 0.01, 0.04]]
    made = study(*((0.01, layers, gains[layers % 2]) for layers in (1, 2, 3)), (0.005, 1, gains[0]))
    assert not pruned(made, 0.01, [0.01, 0.01, 0.01])
    assert pruned(study(*((0.01, layers, gains[0]) for layers in (1, 2, 3)), FOUR[0]), 0.01, [0.01] * 3)


@pytest.mark.parametrize(("startup", "warmup"), [(5, 2), (4, 3)])
def test_no_trial_is_pruned_in_the_warm_up_or_before_the_startup_trials_complete(
    startup: int, warmup: int
) -> None:
    assert not pruned(study(*FOUR), 0.01, [0.0, 0.0, 0.0], startup, warmup)


def test_no_trial_is_pruned_at_an_epoch_that_no_completed_trial_reported() -> None:
    made = optuna.create_study(direction="maximize")
    for _ in range(4):
        made.add_trial(
            create_trial(
                params=SPACE.encode({"learning_rate": 0.01, "n_layers": 1}),
                distributions=distributions(SPACE),
                value=0.04,
                intermediate_values={5: 0.04},  # eval_step: 5
            )
        )
    assert not pruned(made, 0.01, [0.0], epochs=[3])
    assert pruned(made, 0.01, [0.0], epochs=[5])


def test_forecasts_do_not_depend_on_the_order_in_which_trials_completed() -> None:
    curves = [*FOUR, (0.005, 3, [*FAST, 0.05]), (0.0005, 3, SLOW[:3])]
    complete = study(*curves).get_trials()
    # Out of order, one curve longer than all before, one shorter.
    grown = CurveForecaster(Embedding(SPACE))
    for numbers in ([1, 3], [1, 2, 3], [1, 2, 3, 4], [0, 1, 2, 3, 4, 5]):
        some = [complete[number] for number in numbers]
        running = study((0.0005, 2, SLOW[:2])).get_trials()
        running[0].number = 99
        found, fresh = (one.forecast(running, some, 1) for one in (grown, CurveForecaster(Embedding(SPACE))))
        assert (found.best, found.deviation) == (fresh.best, fresh.deviation)


def test_only_the_best_of_many_pruned_trials_are_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = study(*FOUR, *((0.01, 3, [score]) for score in (0.01, 0.03, 0.02))).get_trials()
    for trial in trials[4:]:
        trial.state, trial.values = TrialState.PRUNED, None
    everything = CurveForecaster(Embedding(SPACE)).scores(trials, 1)
    monkeypatch.setattr(curve_forecast, "_MAX_FORECASTS", 2)
    found, scores = CurveForecaster(Embedding(SPACE)).scores(trials, 1)
    assert [one.number for one in found] == [0, 1, 2, 3, 5, 6]
    assert list(scores) == [
        score for score, one in zip(everything[1], everything[0], strict=True) if one.number != 4
    ]
