"""`--log mlflow` against a real server and its database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sasrecf_tune.tracking import tracking
from sasrecf_tune.tracking.run_logs import StudyLog
from sasrecf_tune.trials import State
from tests.support.bench import bench, quality
from tests.support.fake_training import FakeTraining, Interrupting, PausableTraining
from tests.support.mlflow_server import free_port, missing, mlflow_server
from tests.support.passed_trials import passed

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
if not missing():
    from sasrecf_tune.tracking.mlflow_runs import MlflowRuns
TWO = "learning_rate choice [0.1, 0.01]\nn_layers choice [1, 2]\n"
CURVE = "valid/mrr_at_10"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    directory = tmp_path_factory.mktemp("mlflow")
    with mlflow_server(directory) as address:
        yield address, directory / "server.db"


@pytest.fixture(autouse=True)
def experiment(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server[0])
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    return str(request.node.name)


def runs(experiment: str) -> dict[str, Any]:
    """The runs of an experiment by name; each name is unique."""
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    listed = client.search_runs([found.experiment_id])
    assert len({run.info.run_name for run in listed}) == len(listed)
    return {str(run.info.run_name): run for run in listed}


def curve(run: Any, name: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    history = MlflowClient().get_metric_history(run.info.run_id, name)
    return sorted((metric.step, round(metric.value, 6)) for metric in history)


def test_each_trial_is_a_run_within_that_of_the_study(tmp_path: Path, experiment: str) -> None:
    from mlflow import MlflowClient

    with bench(tmp_path, TWO, FakeTraining(quality), log=["mlflow"]) as one:
        one.search_and_log()
        records = one.records()
        assert one.messages == []
    found = runs(experiment)
    assert sorted(found) == ["study", *(f"trial-{number:04d}" for number in range(4))]
    study = found["study"]
    for record in records:
        run, final = found[f"trial-{record.number:04d}"], quality(record.params)
        assert curve(run, CURVE) == [(epoch, round(final * epoch / 5, 6)) for epoch in range(1, 6)]
        assert curve(run, "train_loss") == [(epoch, 1.0) for epoch in range(1, 6)]
        assert curve(run, "score") == [(5, round(final, 6))]
        assert run.data.params == {name: str(value) for name, value in record.params.items()} | {"seed": "1"}
        assert run.info.status == "FINISHED" and run.data.tags["sasrecf_tune.state"] == "complete"
        assert run.data.tags["mlflow.parentRunId"] == study.info.run_id
        assert run.info.end_time >= run.info.start_time > 1.7e12
    assert study.info.status == "FINISHED" and study.data.metrics["trials/complete"] == 4
    assert study.data.metrics["best/score"] == pytest.approx(0.22)
    assert study.data.tags["best/param/n_layers"] == "2"
    files = {file.path for file in MlflowClient().list_artifacts(study.info.run_id)}
    assert {"best.yaml", "ranking.csv", "trials.csv"} <= files


def test_a_resumed_study_continues_the_same_runs(
    tmp_path: Path, experiment: str, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_HURRY_SECONDS", 60.0)
    training = Interrupting(quality, after=8)
    with pytest.raises(KeyboardInterrupt), bench(tmp_path, TWO, training, log=["mlflow"]) as one:
        one.search.run()
    (tmp_path / "study" / "logged.jsonl").unlink()  # a kill between the tracker and this file
    with bench(tmp_path, TWO, FakeTraining(quality), log=["mlflow"]) as one:
        one.search_and_log()
    found = runs(experiment)
    assert len(found) == 5
    for name, run in found.items():
        if name != "study":
            assert [step for step, _ in curve(run, CURVE)] == [1, 2, 3, 4, 5]
            assert [step for step, _ in curve(run, "train_loss")] == [1, 2, 3, 4, 5]
    interrupted = found["trial-0001"].data.tags["sasrecf_tune.states"].split(", ")
    assert interrupted[0] == "running" and interrupted[-1] == "complete after epoch 5"
    with sqlite3.connect(server[1]) as database:
        rows = database.execute("select count(*), key from metrics group by run_uuid, key, step").fetchall()
    assert {count for count, key in rows if key in (CURVE, "train_loss", "score")} == {1}


def test_the_states_of_a_paused_trial(tmp_path: Path, experiment: str) -> None:
    with bench(tmp_path, TWO, PausableTraining(quality), pausing=True, log=["mlflow"]) as one:
        one.search_and_log()
        states = {record.number: str(record.state) for record in one.records()}
    found = runs(experiment)
    for number, state in states.items():
        run = found[f"trial-{number:04d}"]
        assert run.data.tags["sasrecf_tune.state"] == state
        assert run.info.status == {"complete": "FINISHED", "paused": "SCHEDULED"}[state]
        assert (run.info.end_time is None) == (state == "paused")
    told = [run.data.tags.get("sasrecf_tune.states", "") for run in found.values()]
    assert any("paused after epoch 1, running after epoch 1" in text for text in told)


def test_a_server_that_is_down_gets_everything_later(
    tmp_path: Path, experiment: str, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:pa%23ss@127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with bench(tmp_path, TWO, FakeTraining(quality), log=["mlflow"]) as one:
        outcome = one.search_and_log()
        assert outcome.done == 4 and not outcome.failed
        assert one.messages[0].startswith("cannot log to mlflow: http://user:***@127.0.0.1:")
        assert "does not answer; the search goes on" in one.messages[0]
        assert "resume study" in one.messages[1] and len(one.messages) == 2
        assert "pa%23ss" not in str(one.messages) and "pa#ss" not in str(one.messages)
    assert "ss@" not in "".join(path.read_text() for path in (tmp_path / "study").glob("*.json*"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server[0])
    with bench(tmp_path, TWO, FakeTraining(quality), log=["mlflow"]) as one:
        one.search_and_log()
        assert one.messages == []
    found = runs(experiment)
    del found["study"]
    assert len(found) == 4 and all(len(curve(run, CURVE)) == 5 for run in found.values())


def test_a_trial_that_passes_between_coordinators_is_written_once(
    experiment: str, server: tuple[str, Path]
) -> None:
    study = StudyLog("0" * 12, "study", "mrr@10", {}, shared=True)
    here, there = MlflowRuns(study, creates=True), MlflowRuns(study, creates=False)
    here.write_trial(passed(State.RUNNING, 2, taken=1.0))
    # The other one continues the trial before the pause has been written here.
    there.write_trial(passed(State.RUNNING, 4, taken=2.0))
    here.write_trial(passed(State.PAUSED, 3, taken=1.0))
    there.write_trial(passed(State.PAUSED, 5, taken=2.0))
    here.write_trial(passed(State.RUNNING, 6, taken=3.0))
    here.write_study(replace(study, ended=True))
    there.write_trial(passed(State.COMPLETE, 7, taken=4.0))
    MlflowRuns(study, creates=False).write_trial(passed(State.COMPLETE, 7, taken=5.0))
    found = runs(experiment)
    assert sorted(found) == ["study", "trial-0003"]
    assert curve(found["trial-0003"], CURVE) == [(epoch, epoch / 10) for epoch in range(1, 8)]
    assert found["trial-0003"].data.tags["sasrecf_tune.state"] == "complete"
    assert found["study"].info.status == "FINISHED"


@pytest.mark.parametrize("state", [State.WAITING, State.PAUSED])
def test_a_state_that_is_sent_late_does_not_replace_that_of_another_coordinator(
    experiment: str, server: tuple[str, Path], state: State
) -> None:
    study = StudyLog("0" * 12, "study", "mrr@10", {}, shared=True)
    here, there = MlflowRuns(study, creates=True), MlflowRuns(study, creates=False)
    for ended in (False, True):
        here.write_trial(passed(State.RUNNING, 2, taken=1.0))
        there.write_trial(passed(State.COMPLETE if ended else State.RUNNING, 4, taken=2.0))
        here.write_trial(passed(state, 3, taken=1.0))
        run = runs(experiment)["trial-0003"]
        assert curve(run, CURVE) == [(epoch, epoch / 10) for epoch in range(1, 5)]
        assert run.info.status == ("FINISHED" if ended else "RUNNING")
        assert run.data.tags["sasrecf_tune.state"] == ("complete" if ended else "running")
    here.write_trial(passed(State.RUNNING, 6, taken=1.0))  # it has not heard of the end
    assert runs(experiment)["trial-0003"].info.status == "FINISHED"


def test_a_trial_that_was_given_back_is_waiting(experiment: str, server: tuple[str, Path]) -> None:
    here = MlflowRuns(StudyLog("0" * 12, "study", "mrr@10", {}, shared=True), creates=True)
    here.write_trial(passed(State.RUNNING, 2))
    here.write_trial(passed(State.WAITING, 2))
    run = runs(experiment)["trial-0003"]
    assert run.info.status == "SCHEDULED" and run.data.tags["sasrecf_tune.state"] == "waiting"
