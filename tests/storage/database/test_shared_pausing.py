"""Paused trials of a study that several coordinators work on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import optuna
import pytest

from sasrecf_tune.messages import Decision, Report
from sasrecf_tune.search.paused_checkpoints import PausedCheckpoints
from sasrecf_tune.search.policy import Curve, CurveState, Finish, SearchPolicy, Step
from sasrecf_tune.search.policy_trials import PolicyTrials
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.study import TrialLost
from sasrecf_tune.storage.database import heartbeats
from sasrecf_tune.trials import State
from tests.support.peer import Peer, result


class Naming(SearchPolicy):
    """Answers as it is told, and remembers the curves."""

    def __init__(self) -> None:
        self.answer: Step | Finish = Finish("")
        self.curves: list[Curve] = []

    def next_step(self, curves: Sequence[Curve]) -> Step | Finish:
        self.curves = list(curves)
        return self.answer


class Pausing:
    """A coordinator with a policy."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.policy = Naming()
        checkpoints = PausedCheckpoints(peer.study_dir, 10**9, shared=True)
        known = distributions(peer.plan.space)
        self.trials = PolicyTrials(self.policy, peer.study, checkpoints, known, 24, clock=lambda: math.inf)

    def take(self, number: int | None, until: int = 1) -> optuna.Trial | Finish:
        assert self.peer.plan.cells is not None
        self.policy.answer = Step(self.peer.plan.cells()[0], until, number)
        self.trials.finish = None
        return self.trials.take(lambda _: {"seed": 1})

    def begin(self, number: int | None = None) -> optuna.Trial:
        trial = self.take(number)
        assert isinstance(trial, optuna.Trial)
        return trial

    def pause(self, trial: optuna.Trial, epoch: int = 1) -> None:
        """As a worker that has written the checkpoint."""
        self.policy.answer = Finish("")
        report = Report(trial.number, epoch, 0.5, {"mrr@10": 0.5}, 1.0, 2.0)
        self.peer.study.report(trial, report)
        assert not self.trials.continues(trial, report)
        path = self.peer.study_dir.unfinished(trial.number)
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(epoch))
        outcome = replace(
            result(trial.number), decision=Decision.PAUSE, epochs=epoch, best_epoch=epoch, checkpoint=epoch
        )
        assert self.trials.pause(trial, outcome).state == State.PAUSED

    def curve(self) -> Curve:
        """The first curve that the policy is shown now."""
        self.policy.answer, self.trials.finish = Finish(""), None
        assert isinstance(self.trials.take(lambda _: {}), Finish)
        return self.policy.curves[0]


def test_a_paused_trial_is_left_to_the_run_that_has_its_checkpoint(join: Callable[..., Peer]) -> None:
    first, second = Pausing(join()), Pausing(join())
    first.pause(first.begin())
    here, there = first.curve(), second.curve()
    assert (here.state, here.checkpoint, here.scores) == (CurveState.PAUSED, 1, {1: 0.5})
    assert (there.state, there.until, there.scores) == (CurveState.RUNNING, 2, {1: 0.5})
    first.peer.peers.leave()
    second.peer.look()
    there = second.curve()
    assert (there.state, there.checkpoint) == (CurveState.PAUSED, 0)
    trial = second.begin(0)
    second.pause(trial, epoch=2)
    # The first run is back; the checkpoint in its directory is that of an earlier epoch.
    again = Pausing(Peer(first.peer.study_dir.directory.parent, str(first.peer.plan.settings.storage)))
    assert again.peer.study_dir.unfinished(0).exists() and again.curve().checkpoint == 0
    again.peer.storage.engine.dispose()


def test_a_paused_trial_is_taken_once(join: Callable[..., Peer]) -> None:
    first, second = Pausing(join()), Pausing(join())
    first.pause(first.begin())
    second.peer.look()
    assert first.begin(0).number == 0
    with pytest.raises(ValueError, match="not paused"):
        second.take(0)
    assert second.peer.study.record(0).state == State.RUNNING


def test_who_comes_back_does_not_take_a_trial_that_another_has_paused(
    join: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Pausing(join())
    lost = silent.begin()
    monkeypatch.setattr(heartbeats, "SILENT_SECONDS", 0.0)
    other = Pausing(join())
    taken = other.trials.take(lambda _: {})  # an interrupted trial, before the policy is asked
    assert isinstance(taken, optuna.Trial) and taken.number == lost.number and not other.policy.curves
    other.pause(taken)
    monkeypatch.undo()
    silent.peer.look()
    assert not silent.peer.study.owns(lost) and silent.peer.study.record(0).state == State.PAUSED
    with pytest.raises(TrialLost):
        silent.trials.pause(lost, replace(result(0), decision=Decision.PAUSE))
    assert other.peer.study.record(0).state == State.PAUSED


def kinds(curves: Sequence[Any]) -> list[CurveState]:
    return [curve.state for curve in curves]


def test_trials_of_others_are_busy(join: Callable[..., Peer]) -> None:
    first, second = Pausing(join()), Pausing(join())
    first.begin()
    assert second.curve().until == 1 and kinds(second.policy.curves) == [CurveState.RUNNING]
