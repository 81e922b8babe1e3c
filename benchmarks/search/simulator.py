"""Plays a search policy on a table of recorded curves, with several workers and a simulated clock."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np

from benchmarks.search.cell_index import CellIndex
from benchmarks.search.curve_table import Table
from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.search.policy import Curve, CurveState, Finish, SearchPolicy, Step


@runtime_checkable
class ChoosingPolicy(Protocol):
    """A policy that says what it would choose; else that is the best of the trials that ended."""

    def choose(self, curves: Sequence[Curve]) -> Mapping[str, Scalar] | None:
        """Return the labels of the configuration that is best by these curves, None if none is known."""


@dataclass(frozen=True)
class Choice:
    """What a policy would choose at a moment.

    Attributes:
        epochs: Epochs that all trials have trained by then.
        seconds: The time by then, on the clock of the simulation.
        cell: The chosen cell of the table.
        remaining: Epochs that the chosen cell still has to train.
    """

    epochs: int
    seconds: float
    cell: int | None
    remaining: int


@dataclass(frozen=True)
class Play:
    """A search that was played.

    Attributes:
        choices: The choices, at each moment at which the policy was asked and at the end.
        epochs: All epochs that were trained.
        seconds: The time from start to end, on the clock of the simulation.
        finished: Whether the policy ended by itself, not at a limit.
        reason: Of `Finish`.
        trials: The trials that were begun.
        resumed: How often a paused trial went on.
    """

    choices: list[Choice]
    epochs: int
    seconds: float
    finished: bool
    reason: str
    trials: int
    resumed: int

    def choice_at(self, epochs: float, paid: bool = True) -> int | None:
        """Return the cell chosen when `epochs` are spent, None if there was none.

        Args:
            epochs: A budget.
            paid: Whether the epochs that the chosen cell still has to train are part of the budget.
        """
        known = [
            one.cell
            for one in self.choices
            if one.cell is not None and one.epochs + (one.remaining if paid else 0) <= epochs
        ]
        return known[-1] if known else None

    @property
    def final_choice(self) -> int | None:
        """The cell chosen at the end."""
        return self.choices[-1].cell


@dataclass
class _Trial:
    number: int
    labels: dict[str, Scalar]
    cell: int
    done: int = 0  # epochs
    until: int = 0
    state: CurveState = CurveState.PAUSED
    started: float = 0.0  # of the current step, at epoch `done`
    cached: Curve | None = None


@dataclass
class Simulator:
    """The state of one played search. Cells train with their seed at index 0.

    Args:
        table: What is trained. In an infinite space, a configuration trains as the recorded point next to it.
        workers: Trials that train at a time.
        limit: Epochs after which the search is stopped; None for no limit.
    """

    table: Table
    workers: int = 1
    limit: float | None = None
    _trials: list[_Trial] = field(default_factory=list)
    _busy: list[tuple[float, int]] = field(default_factory=list)  # (time at its `until`, trial)
    _choices: list[Choice] = field(default_factory=list)
    _now: float = 0.0
    _resumed: int = 0
    _ended: Finish | None = None

    def __post_init__(self) -> None:
        self._index = CellIndex(self.table)

    def play(self, policy: SearchPolicy) -> Play:
        """Ask `policy` until it finishes or the limit is reached, and return what happened.

        Raises:
            ValueError: the policy gives a step that is not possible.
        """
        for _ in range(self.workers):
            self._ask(policy, None)
        while self._busy and not self._is_over():
            self._now, number = heapq.heappop(self._busy)
            trial = self._trials[number]
            trial.done = min(trial.until, self._length(trial))
            trial.started = self._now
            trial.cached = None
            at_its_until: _Trial | None = trial
            if trial.done >= self._length(trial):
                trial.state, at_its_until = CurveState.ENDED, None
            self._ask(policy, at_its_until)
        self._note_choice(policy, self._curves())
        return Play(
            choices=self._choices,
            epochs=self._spent(),
            seconds=self._now,
            finished=self._ended is not None,
            reason="" if self._ended is None else self._ended.reason,
            trials=len(self._trials),
            resumed=self._resumed,
        )

    def _is_over(self) -> bool:
        return self.limit is not None and self._spent() >= self.limit

    def _ask(self, policy: SearchPolicy, at_its_until: _Trial | None) -> None:
        if self._ended is None:
            curves = self._curves()
            self._note_choice(policy, curves)
            answer = policy.next_step(curves)
            if isinstance(answer, Step):
                self._begin(self._named(answer, at_its_until), answer.until, at_its_until)
                return
            self._ended = answer
        if at_its_until is not None:
            at_its_until.state = CurveState.PAUSED

    def _named(self, step: Step, at_its_until: _Trial | None) -> _Trial:
        if step.number is None:
            trial = _Trial(len(self._trials), dict(step.labels), self._index.find(step.labels))
            self._trials.append(trial)
            return trial
        trial = self._trials[step.number]
        if trial is not at_its_until and trial.state is not CurveState.PAUSED:
            raise ValueError(f"trial {step.number} cannot go on: it is {trial.state.value}")
        self._resumed += trial is not at_its_until
        return trial

    def _begin(self, trial: _Trial, until: int, at_its_until: _Trial | None) -> None:
        if until <= trial.done:
            raise ValueError(f"trial {trial.number} has {trial.done} epochs; the step ends at {until}")
        if at_its_until is not None and at_its_until is not trial:
            at_its_until.state, at_its_until.cached = CurveState.PAUSED, None
        trial.state, trial.until, trial.started, trial.cached = CurveState.RUNNING, until, self._now, None
        epochs = min(until, self._length(trial)) - trial.done
        end = self._now + epochs * float(self.table.epoch_seconds[trial.cell])
        heapq.heappush(self._busy, (end, trial.number))

    def _length(self, trial: _Trial) -> int:
        return int(self.table.lengths[trial.cell, 0])

    def _trained(self, trial: _Trial) -> int:
        """Epochs by now; an epoch that is not over does not count."""
        if trial.state is not CurveState.RUNNING:
            return trial.done
        passed = (self._now - trial.started) / float(self.table.epoch_seconds[trial.cell])
        # Trials that reach their `until` at the same time do so one after another.
        last = min(trial.until, self._length(trial)) - 1
        return max(trial.done, min(trial.done + int(passed + 1e-9), last))

    def _spent(self) -> int:
        return sum(map(self._trained, self._trials))

    def _curves(self) -> list[Curve]:
        return [self._curve(trial) for trial in self._trials]

    def _curve(self, trial: _Trial) -> Curve:
        epochs = self._trained(trial)
        if trial.cached is None or len(trial.cached.scores) != epochs:
            scores = self.table.valid[trial.cell, 0, :epochs]
            trial.cached = Curve(
                number=trial.number,
                labels=trial.labels,
                scores=dict(enumerate(scores.tolist(), start=1)),
                state=trial.state,
                until=trial.until if trial.state is CurveState.RUNNING else 0,
                checkpoint=epochs if trial.state is CurveState.PAUSED else 0,
                seconds=epochs * float(self.table.epoch_seconds[trial.cell]),
            )
        elif trial.cached.state is not trial.state:
            paused = trial.state is CurveState.PAUSED
            trial.cached = replace(
                trial.cached, state=trial.state, until=0, checkpoint=epochs if paused else 0
            )
        return trial.cached

    def _note_choice(self, policy: SearchPolicy, curves: Sequence[Curve]) -> None:
        labels = policy.choose(curves) if isinstance(policy, ChoosingPolicy) else best_ended(curves)
        cell = None if labels is None else self._index.find(labels)
        remaining = 0
        if cell is not None:
            trained = max((self._trained(one) for one in self._trials if one.cell == cell), default=0)
            remaining = int(self.table.lengths[cell, 0]) - trained
        self._choices.append(Choice(self._spent(), self._now, cell, remaining))


def best_ended(curves: Sequence[Curve]) -> Mapping[str, Scalar] | None:
    """Return the labels of the trial with the best score of those that trained to their end."""
    ended = [one for one in curves if one.state is CurveState.ENDED and one.scores]
    return max(ended, key=best_score).labels if ended else None


def best_score(curve: Curve) -> float:
    """Return the best score of a curve, as RecBole keeps it."""
    return float(np.max(list(curve.scores.values()))) if curve.scores else -np.inf
