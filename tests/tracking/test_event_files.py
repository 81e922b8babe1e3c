"""`--log tensorboard`, read by TensorBoard's own reader."""

from __future__ import annotations

import errno
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sasrecf_tune.inputs.settings import EarlierOptions
from sasrecf_tune.messages import Decision, Failure, FailureKind, Job, Report
from sasrecf_tune.search.limits import Outcome
from sasrecf_tune.tracking import event_files, tracking
from sasrecf_tune.tracking.event_files import EventFiles
from sasrecf_tune.tracking.run_logs import StudyLog, TrialLog
from sasrecf_tune.trials import State, TrialRecord
from tests.support.bench import bench, quality
from tests.support.event_files import EventRun, read_events
from tests.support.fake_training import FakeTraining, Interrupting, PausableTraining
from tests.support.passed_trials import passed

SPACE = "learning_rate choice [0.1, 0.01]\nselected_features choice [['class']]\n"
TWO = "learning_rate choice [0.1, 0.01]\nn_layers choice [1, 2]\n"


def runs(directory: Path) -> dict[str, EventRun]:
    return {path.name: read_events(path) for path in sorted((directory / "study" / "tensorboard").iterdir())}


def test_each_trial_is_a_run_and_the_study_another(tmp_path: Path) -> None:
    with bench(
        tmp_path, SPACE, FakeTraining(lambda config: float(str(config["learning_rate"]))), log=["tensorboard"]
    ) as one:
        one.search_and_log()
        records = {record.number: record for record in one.records()}
        assert one.messages == []
    found = runs(tmp_path)
    assert list(found) == ["study", "trial-0000", "trial-0001"]
    for number, record in records.items():
        run, rate = found[f"trial-{number:04d}"], record.params["learning_rate"]
        assert run.curves["valid/mrr@10"] == [(epoch, round(rate * epoch / 5, 6)) for epoch in range(1, 6)]
        assert run.curves["train_loss"] == [(epoch, 1.0) for epoch in range(1, 6)]
        assert run.curves["score"] == [(5, rate)] and run.curves["trial/seconds"] == [(5, 0.5)]
        assert run.params == {"learning_rate": rate, "selected_features": "[class]", "seed": 1.0}
        assert run.texts["state"][-1] == (5, "complete") and run.succeeded
        assert not any("test" in tag for tag in run.curves)
    study = found["study"]
    assert study.texts["state"] == [(2, "complete: 2 complete")]
    assert "| learning_rate |" in study.texts["ranking"][0][1].replace("param/", "")
    assert "| score | 0.1 |" in study.texts["best"][0][1]


def test_an_imported_trial_is_shown_as_such(tmp_path: Path) -> None:
    with bench(tmp_path / "first", TWO, FakeTraining(quality), base={"epochs": 5}) as one:
        one.search.run()
    table = str(tmp_path / "first" / "study" / "trials.csv")
    earlier = EarlierOptions([], [table], trust=True)
    more: dict[str, Any] = {"log": ["tensorboard"], "base": {"epochs": 5}, "earlier": earlier}
    with bench(tmp_path, TWO, FakeTraining(quality), **more) as one:
        one.search_and_log()
        assert [record.imported for record in one.records()] == [table] * 4
    found = runs(tmp_path)
    assert [run.params.get("imported") for run in found.values()] == [None, *[table] * 4]


def test_a_paused_trial_goes_on_in_its_run(tmp_path: Path) -> None:
    with bench(tmp_path, TWO, PausableTraining(quality), pausing=True, log=["tensorboard"]) as one:
        one.search_and_log()
    found = runs(tmp_path)
    states = {
        name: [text for _, text in run.texts["state"]] for name, run in found.items() if name != "study"
    }
    assert ["complete"] in [texts[-1:] for texts in states.values()]
    assert ["paused"] in [texts[-1:] for texts in states.values()]
    for name, run in found.items():
        if name != "study":
            steps = [step for step, _ in run.curves["valid/mrr@10"]]
            assert steps == list(range(1, len(steps) + 1))


def test_the_runs_go_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_HURRY_SECONDS", 60.0)
    training = Interrupting(quality, after=8)
    with pytest.raises(KeyboardInterrupt), bench(tmp_path, TWO, training, log=["tensorboard"]) as one:
        one.search.run()
    files = sorted((tmp_path / "study" / "tensorboard").glob("trial-*/*"))
    whole = files[-1].stat().st_size
    with files[-1].open("ab") as file:  # half a record, as a killed process leaves it
        file.write(files[0].read_bytes()[:30])
    assert files[-1].stat().st_size > whole
    with bench(tmp_path, TWO, FakeTraining(quality), log=["tensorboard"]) as one:
        one.search_and_log()
        assert one.messages == []
    found = runs(tmp_path)
    assert list(found) == ["study", *(f"trial-{number:04d}" for number in range(4))]
    for name, run in found.items():
        if name != "study":
            assert [step for step, _ in run.curves["valid/mrr@10"]] == [1, 2, 3, 4, 5]
            assert [step for step, _ in run.curves["train_loss"]] == [1, 2, 3, 4, 5]
            assert run.texts["state"][-1] == (5, "complete")


def test_a_full_disk_does_not_stop_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(EventFiles, "_append", full)
        with bench(tmp_path, TWO, FakeTraining(quality), log=["tensorboard"]) as one:
            outcome = one.search_and_log()
            assert outcome.done == 4 and not outcome.failed
            assert one.messages[0].startswith("cannot log to tensorboard: ") and len(one.messages) == 2
            missing = "trial 0, trial 1, trial 2, trial 3, the summary"
            assert one.messages[1].startswith(f"tensorboard does not have {missing} yet; ")
            assert "No space left" in one.messages[0] and f"resume study --out {tmp_path}`" in one.messages[1]
    with bench(tmp_path, TWO, FakeTraining(quality), log=["tensorboard"]) as one:
        one.search_and_log()
        assert one.messages == []
    found = runs(tmp_path)
    assert len(found) == 5
    assert all(len(run.curves["train_loss"]) == 5 for name, run in found.items() if name != "study")


@pytest.mark.parametrize("size", [0, 1 << 40])
def test_a_file_that_no_run_wrote_is_left_alone(tmp_path: Path, size: int) -> None:
    """A study directory may come from someone else."""
    path = tmp_path / "study" / "tensorboard" / "study" / "events.out.tfevents.0"
    path.parent.mkdir(parents=True)
    path.write_bytes(struct.pack("<QI", 3, 0) + b"\xff" * 7)  # a record that is not an event
    with path.open("r+b") as file:
        file.truncate(size or 19)  # without taking space
    with bench(tmp_path, TWO, FakeTraining(quality), log=["tensorboard"]) as one:
        assert one.search_and_log().done == 4
    reason = "larger than 64 MiB" if size else "it is damaged; move it away"
    assert f"{path}: " in one.messages[0] and reason in one.messages[0]
    assert path.stat().st_size == (size or 19)


def test_a_failed_trial_says_why(tmp_path: Path) -> None:
    def train(job: Job, on_report: Any) -> Failure:
        assert on_report(Report(job.number, 1, 0.1, {"mrr@10": 0.1}, 2.0, 0.1)) is Decision.CONTINUE
        return Failure(job.number, FailureKind.NAN, "the loss is NaN", epochs=1, seconds=0.1)

    training = FakeTraining(quality)
    training.train = train  # type: ignore[method-assign]
    with bench(tmp_path, "n_layers choice [1]\n", training, log=["tensorboard"]) as one:
        one.search_and_log()
    run = runs(tmp_path)["trial-0000"]
    assert run.texts["state"][-1] == (1, "failed: the loss is NaN") and run.succeeded is False
    assert run.curves["train_loss"] == [(1, 2.0)]


def test_a_trial_of_another_run_is_left_to_that(tmp_path: Path) -> None:
    with bench(tmp_path, TWO, FakeTraining(quality), log=["tensorboard"]) as one:
        one.tracking.on_trial_end(TrialRecord(7, State.COMPLETE, {"n_layers": 1}, 0.1))
        one.search.run()
        records = one.records()
        outcome = Outcome("", 4)
        one.tracking.finish(
            records, None, outcome, last=False
        )  # another run goes on, and attaches the results
    assert list(runs(tmp_path)) == [f"trial-{number:04d}" for number in range(4)]


def test_a_trial_that_passes_between_coordinators_is_written_once(tmp_path: Path) -> None:
    here, there = EventFiles(tmp_path, "study", shared=True), EventFiles(tmp_path, "study", shared=True)
    here.write_trial(passed(State.RUNNING, 2))
    # The other one continues the trial before the pause has been written here.
    there.write_trial(passed(State.RUNNING, 4))
    here.write_trial(passed(State.PAUSED, 3))
    there.write_trial(passed(State.PAUSED, 5))
    there.write_trial(passed(State.COMPLETE, 7))
    run = read_events(tmp_path / "trial-0003")
    assert run.curves["valid/mrr@10"] == [(epoch, epoch / 10) for epoch in range(1, 8)]
    assert run.texts["state"][-1] == (7, "complete") and run.succeeded


@pytest.mark.parametrize("state", [State.WAITING, State.PAUSED])
def test_a_state_that_is_sent_late_is_left_out(tmp_path: Path, state: State) -> None:
    here, there = EventFiles(tmp_path, "study", shared=True), EventFiles(tmp_path, "study", shared=True)
    here.write_trial(passed(State.RUNNING, 2))
    there.write_trial(passed(State.RUNNING, 4))
    here.write_trial(passed(state, 3))
    assert read_events(tmp_path / "trial-0003").texts["state"] == [(2, "running")]
    there.write_trial(passed(State.COMPLETE, 7))
    here.write_trial(passed(state, 7))
    run = read_events(tmp_path / "trial-0003")
    assert run.texts["state"] == [(2, "running"), (7, "complete")]
    assert run.curves["score"] == [(7, 0.7)]


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    tracker = EventFiles(tmp_path, "study")
    tracker.write_trial(passed(State.RUNNING, 2))
    tracker.write_trial(passed(State.COMPLETE, 3))
    assert read_events(tmp_path / "trial-0003").texts["state"] == [(2, "running"), (3, "complete")]


def test_nothing_is_overwritten_where_locks_are_local_to_each_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    here, there = EventFiles(tmp_path, "study", shared=True), EventFiles(tmp_path, "study", shared=True)
    study = StudyLog("0" * 12, "study", "mrr@10", {})
    here.write_study(study)
    read, elsewhere = event_files._read, [replace(study, ranking="there")]

    def slow(content: bytes, path: Path) -> Any:
        found = read(content, path)
        if elsewhere:  # the other one writes after the file was read here
            there.write_study(elsewhere.pop())
        return found

    monkeypatch.setattr(event_files, "_read", slow)
    here.write_study(replace(study, ranking="here"))
    assert read_events(tmp_path / "study").texts["ranking"] == [(0, ""), (0, "there"), (0, "here")]


def test_a_trial_that_comes_back_is_told_with_what_others_have_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench(tmp_path, TWO, FakeTraining(quality), log=["tensorboard"]) as one:
        (sender,) = one.tracking._senders
        posted: list[TrialLog] = []
        monkeypatch.setattr(sender, "post", posted.append)
        one.tracking._log = replace(one.tracking._log, shared=True)
        trial = one.study.optuna.ask()
        one.tracking.on_trial_start(trial.number, {})
        trial.report(0.1, 1)
        trial.report(0.2, 2)
        one.tracking.on_trial_start(trial.number, {})
    assert [log.last_epoch for log in posted] == [0, 2]
    assert [len(log.changes) for log in posted] == [1, 1]
