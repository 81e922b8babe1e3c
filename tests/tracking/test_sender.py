"""A tracker that fails, and what is remembered of what trackers have."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sasrecf_tune.tracking.logged_states import LoggedStates
from sasrecf_tune.tracking.run_logs import EpochLog, StudyLog, Tracker, TrialLog
from sasrecf_tune.tracking.sender import Sender
from sasrecf_tune.trials import State


class Notebook(Tracker):
    """A tracker that keeps what it is told, except of the trials `broken`, and of all while `down`."""

    name = "notebook"
    place = "here"

    def __init__(self) -> None:
        self.written: list[TrialLog] = []
        self.studies: list[StudyLog] = []
        self.broken: set[int] = set()
        self.down = False
        self.closed = False
        self.failed = threading.Event()

    def write_trial(self, log: TrialLog) -> None:
        if self.down or log.number in self.broken:
            self.failed.set()
            raise ConnectionError(f"no\n answer about {log.number}")
        self.written.append(log)

    def write_study(self, log: StudyLog) -> None:
        self.studies.append(log)

    def close(self) -> None:
        self.closed = True


def trial(number: int, state: State = State.COMPLETE, epochs: int = 1) -> TrialLog:
    curve = tuple(EpochLog(epoch, {"valid/mrr@10": 0.1}, 0.0) for epoch in range(1, epochs + 1))
    return TrialLog(number, {}, state, 0.0, curve)


def sender(tracker: Tracker, path: Path) -> Sender:
    return Sender(tracker.name, lambda: tracker, LoggedStates(path), pass_seconds=0.0, retry_seconds=0.0)


def test_a_tracker_that_works_again_gets_what_is_missing(tmp_path: Path) -> None:
    tracker = Notebook()
    tracker.down = True
    one = sender(tracker, tmp_path / "logged.jsonl")
    one.post(trial(0, State.RUNNING))
    assert tracker.failed.wait(30)
    one.post(trial(0, epochs=3))
    one.post(trial(1))
    one.post_study(StudyLog("id", "study", "mrr@10", {}))
    tracker.down = False
    assert one.close(30) == [] and tracker.closed
    assert {log.number: (log.state, log.last_epoch) for log in tracker.written} == {
        0: (State.COMPLETE, 3),
        1: (State.COMPLETE, 1),
    }
    assert len(tracker.studies) == 1
    said = one.take_messages()
    assert said[0].startswith("cannot log to notebook: no answer about 0; the search goes on")
    assert said[1:] == ["notebook works again: what was missing is there now"]


def test_a_trial_that_cannot_be_written_does_not_hold_up_the_others(tmp_path: Path) -> None:
    tracker = Notebook()
    tracker.broken = {0}
    one = sender(tracker, tmp_path / "logged.jsonl")
    for number in range(5):
        one.post(trial(number))
    while len(tracker.written) < 4:
        assert tracker.failed.wait(30)
    one.post_study(StudyLog("id", "study", "mrr@10", {}))
    assert one.close(30) == ["trial 0"]
    assert [log.number for log in tracker.written] == [1, 2, 3, 4] and len(tracker.studies) == 1
    assert len(one.take_messages()) == 1


def test_what_a_tracker_has_is_not_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "logged.jsonl"
    first, second = Notebook(), Notebook()
    for tracker, epochs in ((first, 1), (second, 2)):
        one = sender(tracker, path)
        one.post(trial(0, State.PAUSED, epochs))
        one.post(trial(1))
        one.post_if_idle(trial(1, State.PAUSED))
        assert one.close(30) == []
    assert [log.number for log in first.written] == [0, 1]
    assert [(log.number, log.last_epoch) for log in second.written] == [(0, 2)]


@pytest.mark.parametrize("content", ["{", "[]\n", '{"tracker": 1}\n', "\0", '{"tracker": "notebook", "place'])
def test_a_damaged_file_costs_time_only(tmp_path: Path, content: str) -> None:
    path = tmp_path / "logged.jsonl"
    LoggedStates(path).add("notebook", "here", trial(0))
    path.write_text(path.read_text() + content)
    found = LoggedStates(path)
    assert found.has("notebook", "here", trial(0))
    assert not found.has("notebook", "there", trial(0)) and not found.has(
        "notebook", "here", trial(0, epochs=2)
    )


def test_epochs_without_a_loss_wait_for_the_end_of_the_trial() -> None:
    known = EpochLog(1, {"valid/mrr@10": 0.1}, 0.0, complete=False)
    running = TrialLog(0, {}, State.RUNNING, 0.0, (known, EpochLog(2, {}, 0.0)))
    assert running.values == ()
    assert len(TrialLog(0, {}, State.FAILED, 0.0, running.epochs).values) == 2
