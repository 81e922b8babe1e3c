"""Playing a search policy on recorded curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from benchmarks.search.curve_table import Table
from benchmarks.search.simulator import Simulator
from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.search.policy import Curve, CurveState, Finish, SearchPolicy, Step


def _table(space: str = "n_layers choice [1, 2, 3]", cells: Sequence[dict[str, Scalar]] = ()) -> Table:
    """Cells of six epochs; the more layers, the better and the slower."""
    labels = list(cells) or [{"n_layers": layers} for layers in (1, 2, 3)]
    valid = np.arange(1.0, 7.0) / 10 + np.arange(len(labels))[:, None, None]
    return Table("made-up", {}, parse(space), labels, [1], valid, valid, np.arange(1.0, len(labels) + 1))


class Scripted(SearchPolicy):
    """A policy that gives the same steps whatever happens, and keeps what it saw."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.seen: list[list[Curve]] = []

    def next_step(self, curves: Sequence[Curve]) -> Step | Finish:
        self.seen.append(list(curves))
        return self.steps.pop(0) if self.steps else Finish("no more steps")

    def states(self) -> list[list[tuple[CurveState, int]]]:
        return [[(one.state, len(one.scores)) for one in curves] for curves in self.seen]


class Choosing(Scripted):
    def choose(self, curves: Sequence[Curve]) -> Mapping[str, Scalar] | None:
        return curves[0].labels if curves else None


def test_a_trial_that_is_not_named_is_paused_and_can_go_on() -> None:
    one: dict[str, Scalar] = {"n_layers": 1}
    two: dict[str, Scalar] = {"n_layers": 2}
    policy = Scripted(Step(one, 2), Step(two, 3), Step(one, 4, number=0), Step(one, 6, number=0))
    played = Simulator(_table()).play(policy)
    running, paused, ended = CurveState.RUNNING, CurveState.PAUSED, CurveState.ENDED
    assert policy.states() == [
        [],
        [(running, 2)],
        [(paused, 2), (running, 3)],
        [(running, 4), (paused, 3)],
        [(ended, 6), (paused, 3)],
    ]
    assert policy.seen[2][0].checkpoint == 2 and policy.seen[1][0].until == 2
    assert policy.seen[1][0].scores == {1: pytest.approx(0.1), 2: pytest.approx(0.2)}
    assert (played.epochs, played.seconds, played.resumed) == (9, 6 * 1 + 3 * 2, 1)
    assert played.finished and played.reason == "no more steps"
    assert played.final_choice == 0  # the only one that ended


def test_workers_train_at_the_same_time_and_a_policy_sees_their_epochs_so_far() -> None:
    policy = Scripted(Step({"n_layers": 1}, 6), Step({"n_layers": 3}, 6), Step({"n_layers": 2}, 1))
    played = Simulator(_table(), workers=2).play(policy)
    # After 6 seconds the first has ended, and the third of the cells has trained two epochs of 3 seconds.
    assert policy.states()[2] == [(CurveState.ENDED, 6), (CurveState.RUNNING, 2)]
    assert (played.epochs, played.seconds) == (13, 18)


def test_a_choice_costs_the_epochs_that_it_still_has_to_train() -> None:
    played = Simulator(_table()).play(Choosing(Step({"n_layers": 3}, 2), Step({"n_layers": 3}, 4, number=0)))
    assert played.choice_at(5) is None
    assert played.choice_at(6) == 2  # two epochs are spent, four are left
    assert played.choice_at(2, paid=False) == 2


@pytest.mark.parametrize(
    "bad",
    [
        lambda: [Step({"n_layers": 1}, 2), Step({"n_layers": 1}, 2, number=0)],
        lambda: [Step({"n_layers": 1}, 6), Step({"n_layers": 1}, 9, number=0)],
    ],
)
def test_a_step_that_trains_nothing_is_an_error(bad: Callable[[], list[Step]]) -> None:
    with pytest.raises(ValueError, match="trial 0"):
        Simulator(_table()).play(Scripted(*bad()))


def test_a_search_stops_at_a_limit_of_epochs() -> None:
    played = Simulator(_table(), limit=4).play(
        Scripted(Step({"n_layers": 1}, 4), Step({"n_layers": 1}, 6, number=0))
    )
    assert (played.epochs, played.finished) == (4, False)


def test_in_an_infinite_space_a_configuration_trains_as_the_point_next_to_it() -> None:
    cells: list[dict[str, Scalar]] = [{"learning_rate": rate} for rate in (0.0001, 0.001, 0.01)]
    policy = Scripted(Step({"learning_rate": 0.0007}, 6))
    played = Simulator(_table("learning_rate log 0.0001,0.01", cells)).play(policy)
    assert played.final_choice == 1
