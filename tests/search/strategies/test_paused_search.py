"""The default search on made-up curves."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.inputs.settings import UNTIL
from sasrecf_tune.search.policy import Curve, CurveState, Finish, Step
from sasrecf_tune.search.strategies import paused_search
from sasrecf_tune.search.strategies.knowledge_gradient import knowledge_gradient
from sasrecf_tune.search.strategies.paused_search import PausedSearch
from tests.support.simulated_search import Train, make_policy, play

GRID = (
    "learning_rate choice [0.01, 0.003, 0.001, 0.0003, 0.0001]\nhidden_dropout_prob choice [0.2, 0.5]\n"
    "n_layers choice [1, 2, 3]\nloss_type choice ['CE', 'BPR']\n"
)
CELLS = 60
ENDLESS = "learning_rate log 1e-4,1e-1\nhidden_dropout_prob uniform 0,0.8\nn_layers int 1,4\n"
EPOCHS = 20


def quality(labels: Mapping[str, Scalar]) -> float:
    """The final score: best at a learning rate of 0.003, without seeds."""
    rate = float(str(labels.get("learning_rate", 0.003)))
    layers = float(str(labels.get("n_layers", 1)))
    found = 0.1 - 0.02 * abs(math.log10(rate / 0.003)) + 0.002 * layers
    return (
        found - 0.01 * (labels.get("loss_type") == "BPR") - 0.01 * (labels.get("hidden_dropout_prob") == 0.5)
    )


def learning(
    final: Callable[[Mapping[str, Scalar]], float] = quality, epochs: int = EPOCHS, noise: float = 0.0005
) -> Train:
    """Curves that rise to a final score, and validations with noise that depends on the configuration."""

    def train(labels: Mapping[str, Scalar]) -> Sequence[float]:
        random = np.random.default_rng(zlib.crc32(repr(sorted(labels.items())).encode()))
        rise = 1 - 0.7 * np.exp(-np.arange(1, epochs + 1) / 4)
        return [float(x) for x in final(labels) * rise + noise * random.standard_normal(epochs)]

    return train


def chosen(policy: PausedSearch, curves: Sequence[Curve]) -> Mapping[str, Scalar]:
    labels = policy.choose(curves)
    assert labels is not None
    return labels


@pytest.mark.parametrize("workers", [1, 4])
def test_it_ends_by_itself_with_a_good_configuration_that_is_trained_to_its_end(workers: int) -> None:
    policy = make_policy(GRID)
    played = play(lambda: policy, learning(), workers=workers)
    assert isinstance(played.finish, Finish)
    assert not played.finish.exhausted
    assert played.epochs < 0.25 * CELLS * EPOCHS
    end = policy.end(played.curves)
    assert end is not None
    assert end.regret < UNTIL
    choice = played.curves[end.choice.number]
    assert choice.state is CurveState.ENDED
    assert quality(choice.labels) > 0.098
    assert end.untried == CELLS - len(played.curves)


def noisy(seed: int, between_seeds: float = 0.008) -> Train:
    """Curves that early stopping ends: only learning rates matter, and one run of each is seen."""

    def train(labels: Mapping[str, Scalar]) -> Sequence[float]:
        random = np.random.default_rng([seed, zlib.crc32(repr(sorted(labels.items())).encode())])
        rate = abs(math.log10(float(str(labels["learning_rate"])) / 0.003))
        length = int(random.integers(30, 50))
        epochs = np.minimum(np.arange(1, length + 1), length - 11)
        final = 0.1 - 0.02 * rate + between_seeds * random.standard_normal()
        noise = 0.2 * between_seeds * random.standard_normal(length)
        return [float(x) for x in final * (1 - 0.7 * np.exp(-epochs / 6)) + noise]

    return train


@pytest.mark.parametrize("seed", range(4))
def test_less_regret_may_be_expected_where_few_trials_were_trained_to_their_end(seed: int) -> None:
    policy = make_policy(GRID, epochs=60, patience=10, until=4)
    played = play(lambda: policy, noisy(seed))
    end = policy.end(played.curves)
    assert end is not None
    ended = sum(curve.state is CurveState.ENDED for curve in played.curves)
    assert ended < math.log2(CELLS)
    assert end.regret < 4 * ended / math.log2(CELLS)


def test_no_regret_is_expected_once_all_configurations_are_trained() -> None:
    """Only more seeds would tell which of them is best."""
    policy = make_policy("learning_rate choice [0.01, 0.003]\nn_layers choice [1, 2, 3, 4, 5, 6]\n")
    train, curves = noisy(0), []
    for number, (rate, layers) in enumerate(itertools.product((0.01, 0.003), range(1, 7))):
        labels: dict[str, Scalar] = {"learning_rate": rate, "n_layers": layers}
        scores = dict(enumerate(train(labels) or (), start=1))
        curves.append(Curve(number, labels, scores, CurveState.ENDED))
    end = policy.end(curves)
    assert end is not None
    assert end.regret == pytest.approx(0.0, abs=1e-9)


def test_a_search_does_not_train_on_for_what_only_other_seeds_would_tell() -> None:
    """A fifth of the configurations are best, and equal up to their seeds."""
    shares, rates = [], set()
    for seed in range(4):
        policy = make_policy(GRID, epochs=60, patience=10)
        played = play(partial(make_policy, GRID, epochs=60, patience=10), noisy(seed), workers=4)
        assert played.finish is not None
        shares.append(played.epochs / (CELLS * 40))
        rates.add(chosen(policy, played.curves)["learning_rate"])
    assert np.median(shares) < 0.2
    assert rates <= {0.01, 0.003, 0.001}


def test_whether_a_trial_goes_on_is_decided_again_halfway() -> None:
    policy = make_policy(GRID, until=None)
    played = play(lambda: policy, learning(), max_steps=60)
    assert max(step.until for step in played.steps if step.number is None) <= 13
    assert any(curve.state is CurveState.ENDED for curve in played.curves)


def test_a_policy_that_is_made_anew_for_each_decision_decides_the_same() -> None:
    policy = make_policy(GRID)
    kept = play(lambda: policy, learning())
    anew = play(lambda: make_policy(GRID), learning())
    assert anew.steps == kept.steps


def test_losses_are_minimised() -> None:
    policy = make_policy(GRID, maximize=False)
    kept = play(lambda: policy, learning(lambda labels: -quality(labels)))
    assert kept.finish is not None
    end = policy.end(kept.curves)
    assert end is not None
    assert quality(kept.curves[end.choice.number].labels) > 0.098


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_the_scale_of_scores_does_not_matter(factor: float) -> None:
    train, plain, policy = learning(), make_policy(GRID), make_policy(GRID)
    steps = play(lambda: plain, train, max_steps=5).steps
    scaled = play(lambda: policy, lambda labels: [factor * score for score in train(labels) or ()])
    assert scaled.steps[:5] == steps
    assert scaled.finish is not None


def test_a_table_without_differences_ends_early() -> None:
    policy = make_policy(GRID)
    played = play(lambda: policy, learning(lambda _: 0.1))
    assert played.finish is not None
    assert played.epochs < 0.25 * CELLS * EPOCHS


def test_equal_scores_end_early() -> None:
    policy = make_policy(GRID)
    played = play(lambda: policy, lambda _: [0.1] * EPOCHS)
    assert played.finish is not None
    assert played.epochs < 0.4 * CELLS * EPOCHS


@pytest.mark.parametrize("text", ["n_layers choice [2]\n", "n_layers choice [1, 2]\n"])
def test_a_tiny_grid_is_searched(text: str) -> None:
    policy = make_policy(text)
    played = play(lambda: policy, learning())
    assert played.finish is not None
    assert played.curves[0].labels in [curve.labels for curve in played.curves]
    assert any(curve.state is CurveState.ENDED for curve in played.curves)


def test_one_continuous_parameter_is_searched() -> None:
    policy = make_policy("learning_rate log 1e-4,1e-1\n")
    played = play(lambda: policy, learning(), max_steps=50)
    assert played.finish is not None
    assert 0.001 < float(str(chosen(policy, played.curves)["learning_rate"])) < 0.01


def test_a_mixed_space_is_searched() -> None:
    policy = make_policy(ENDLESS)
    played = play(lambda: policy, learning(), workers=3, max_steps=80)
    assert played.finish is not None
    assert quality(chosen(policy, played.curves)) > 0.095
    end = policy.end(played.curves)
    assert end is not None
    assert end.untried is None


def test_failed_trials_are_not_begun_again_and_end_the_search_when_none_is_left() -> None:
    policy = make_policy("n_layers choice [1, 2, 3]\n")
    played = play(lambda: policy, lambda _: None)
    assert len(played.steps) == 3
    assert played.finish is not None
    assert played.finish.exhausted
    assert policy.end(played.curves) is None


def test_configurations_that_fail_are_not_chosen() -> None:
    policy = make_policy(GRID)
    train = learning()
    played = play(lambda: policy, lambda labels: None if labels["n_layers"] == 3 else train(labels))
    assert played.finish is not None
    assert chosen(policy, played.curves)["n_layers"] != 3


def test_scores_that_are_no_numbers_are_ignored() -> None:
    policy = make_policy(GRID)
    train = learning()

    def diverging(labels: Mapping[str, Scalar]) -> Sequence[float]:
        scores = list(train(labels) or ())
        return (
            [math.nan] * len(scores)
            if labels["learning_rate"] == 0.01
            else [scores[0], math.inf, *scores[2:]]
        )

    played = play(lambda: policy, diverging)
    assert played.finish is not None
    assert quality(chosen(policy, played.curves)) > 0.09


def test_steps_end_at_epochs_that_are_validated() -> None:
    policy = make_policy(GRID, epochs=20, eval_step=3)
    played = play(lambda: policy, learning(), eval_step=3)
    assert played.finish is not None
    assert {step.until for step in played.steps} <= {3, 6, 9, 12, 15, 18, 20}


def test_trials_of_one_epoch_are_a_search_over_configurations() -> None:
    policy = make_policy(GRID, epochs=1)
    played = play(lambda: policy, learning(epochs=1))
    assert played.finish is not None
    assert all(step.until == 1 and step.number is None for step in played.steps)


def test_never_covers_the_grid() -> None:
    policy = make_policy("learning_rate choice [0.01, 0.001]\nn_layers choice [1, 2]\n", epochs=5, until=None)
    played = play(lambda: policy, learning(epochs=5))
    assert played.finish == Finish("every configuration has been trained", exhausted=True)
    assert [curve.state for curve in played.curves] == [CurveState.ENDED] * 4


def test_no_more_trials_begin_than_are_allowed() -> None:
    policy = make_policy(GRID, trials=5)
    played = play(lambda: policy, learning(), workers=2)
    assert played.finish is not None
    assert len(played.curves) == 5


def test_parallel_workers_do_not_repeat_each_other() -> None:
    policy = make_policy(GRID)
    curves: list[Curve] = []
    for number in range(4):
        step = policy.next_step(curves)
        assert isinstance(step, Step)
        assert step.number is None
        curves.append(Curve(number, step.labels, {}, CurveState.RUNNING, until=step.until))
    assert len({(curve.labels["learning_rate"], curve.labels["loss_type"]) for curve in curves}) == 4


def test_curves_that_early_stopping_ends_are_at_their_final_score() -> None:
    policy = make_policy(GRID, epochs=300, patience=10)
    train = learning(epochs=40)
    played = play(lambda: policy, train)
    assert played.finish is not None
    assert played.epochs < 0.3 * CELLS * 40
    found = policy.predictions(played.curves).trials
    ended = [curve for curve in played.curves if curve.state is CurveState.ENDED]
    assert ended
    for curve in ended:
        assert found[curve.number].complete
        assert found[curve.number].predicted == pytest.approx(max(curve.scores.values()), rel=0.05)


def learnt(curve: Curve, epochs: int) -> dict[int, float]:
    return dict(enumerate((learning()(curve.labels) or ())[:epochs], start=1))


def test_a_pruned_trial_is_not_complete() -> None:
    policy = make_policy(GRID, patience=10)
    curves = play(lambda: policy, learning(), max_steps=12).curves
    pruned = [
        replace(curve, state=CurveState.PRUNED, scores=learnt(curve, 12))
        if curve.state is CurveState.PAUSED
        else curve
        for curve in curves
    ]
    found = policy.predictions(pruned).trials
    assert pruned != curves
    # Though it was trained for longer than early stopping waits for a better score.
    assert {curve.number for curve in pruned if found[curve.number].complete} == {
        curve.number for curve in pruned if curve.state is CurveState.ENDED
    }
    assert policy.choose(pruned) not in [c.labels for c in pruned if c.state is CurveState.PRUNED]


def test_epochs_may_be_searched() -> None:
    policy = make_policy("learning_rate choice [0.01, 0.003, 0.001]\nepochs choice [4, 8, 20]\n")

    def train(labels: Mapping[str, Scalar]) -> Sequence[float]:
        return (learning()({**labels, "epochs": 0}) or ())[: int(str(labels["epochs"]))]

    played = play(lambda: policy, train)
    assert played.finish is not None
    assert all(step.until <= int(str(step.labels["epochs"])) for step in played.steps)


def test_a_dropped_checkpoint_costs_its_epochs_again() -> None:
    """Of two paused trials that are alike in all else, the one that has its checkpoint goes on."""
    policy = make_policy("learning_rate choice [0.003, 0.001]\n", until=None)
    scores = {epoch: 0.05 + 0.005 * epoch for epoch in range(1, 9)}
    one = Curve(0, {"learning_rate": 0.003}, scores, CurveState.PAUSED, checkpoint=8)
    other = Curve(1, {"learning_rate": 0.001}, scores, CurveState.PAUSED, checkpoint=0)
    first = policy.next_step([one, other])
    second = policy.next_step([replace(one, checkpoint=0), replace(other, checkpoint=8)])
    assert isinstance(first, Step)
    assert isinstance(second, Step)
    assert (first.number, second.number) == (0, 1)


def test_cheap_configurations_are_preferred_where_seconds_are_known() -> None:
    policy = make_policy("n_layers choice [1, 2, 3]\nn_heads choice [1, 2, 4]\n")
    curves = [
        Curve(index, {"n_layers": layers, "n_heads": 1}, {1: 0.05}, CurveState.PAUSED, 0, 1, float(seconds))
        for index, (layers, seconds) in enumerate([(1, 1), (2, 10), (3, 100)])
    ]
    step = policy.next_step(curves)
    assert isinstance(step, Step)
    assert step.labels["n_layers"] == 1


def test_the_highest_score_of_a_paused_trial_is_not_the_choice() -> None:
    policy = make_policy(GRID)
    played = play(lambda: policy, learning())
    lucky = next(curve for curve in played.curves if curve.state is CurveState.PAUSED)
    curves = [
        replace(curve, scores={**curve.scores, max(curve.scores): 0.2}) if curve is lucky else curve
        for curve in played.curves
    ]
    end = policy.end(curves)
    assert end is not None
    assert end.trials[lucky.number].seen == 0.2
    assert end.choice.number != lucky.number


def test_thousands_of_trials_and_cells_are_no_problem() -> None:
    space = (
        "learning_rate choice [0.01, 0.003, 0.001, 0.0003, 0.0001]\nhidden_dropout_prob quniform 0,0.8,0.05\n"
        "attn_dropout_prob quniform 0,0.8,0.05\nn_layers int 1,4\nhidden_size choice [16, 32, 64, 128, 256]\n"
    )
    policy = make_policy(space, until=None)
    curves: list[Curve] = []
    random = np.random.default_rng(0)
    pool = [one.labels for index in range(9) for one in policy._pool._draw(index, [])]
    for number, labels in enumerate(pool[:2000]):
        scores = dict(enumerate((learning()(labels) or ())[: int(random.integers(1, 20))], start=1))
        curves.append(Curve(number, labels, scores, CurveState.PAUSED, checkpoint=len(scores)))
    step = policy.next_step(curves)
    assert isinstance(step, Step)


def test_trials_that_end_at_once_without_a_better_score_are_expected_to_be_short() -> None:
    """RecBole's stopping_step may be 0."""
    curves = [Curve(0, {"learning_rate": 0.01}, {1: 0.05}, CurveState.PAUSED, checkpoint=1, seconds=1.0)]
    text = "learning_rate choice [0.01]\n"
    steps = [make_policy(text, epochs=50, patience=some).final_step(curves) for some in (0, 10, None)]
    seconds = [step.seconds for step in steps if isinstance(step, Step)]
    assert seconds == sorted(seconds)
    assert seconds[0] < 0.5 * seconds[-1]
    assert seconds[-1] == pytest.approx(49)


def test_a_failed_trial_among_few_does_not_make_the_search_train_all_others_to_their_end() -> None:
    policy = make_policy(GRID, trials=5)
    train = learning()
    first = policy.next_step([])
    assert isinstance(first, Step)
    played = play(lambda: policy, lambda labels: None if labels == first.labels else train(labels))
    assert isinstance(played.finish, Finish)
    assert not played.finish.exhausted


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.002])
def test_a_search_does_not_end_before_each_value_was_tried(noise: float) -> None:
    policy = make_policy(GRID)
    played = play(lambda: policy, learning(noise=noise))
    for name, count in (("learning_rate", 5), ("n_layers", 3), ("hidden_dropout_prob", 2), ("loss_type", 2)):
        assert len({curve.labels[name] for curve in played.curves}) == count


def test_decisions_use_one_thread_of_the_linear_algebra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several would wait for each other in a loop, for matrices that are too small for them."""
    blas = ThreadpoolController().select(user_api="blas")
    seen: list[int] = []

    def gains(means: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
        seen.extend(library["num_threads"] for library in blas.info())
        return knowledge_gradient(means, slopes)

    monkeypatch.setattr(paused_search, "knowledge_gradient", gains)
    with blas.limit(limits=2):
        play(lambda: make_policy(GRID), learning(), max_steps=3)
        after = [library["num_threads"] for library in blas.info()]
    assert seen
    assert set(seen) == {1}
    assert set(after) == {2}
