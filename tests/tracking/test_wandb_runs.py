"""`--log wandb` without a network: the files that W&B uploads later, read with its own reader."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from sasrecf_tune.errors import InputError
from sasrecf_tune.tracking import tracking
from sasrecf_tune.tracking.run_logs import StudyLog
from sasrecf_tune.tracking.trackers import check_trackers
from sasrecf_tune.trials import State
from tests.support.bench import bench, quality
from tests.support.fake_training import FakeTraining, Interrupting
from tests.support.passed_trials import passed

pytestmark = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
TWO = "learning_rate choice [0.1, 0.01]\nn_layers choice [1]\n"


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "runs"
    directory.mkdir()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(directory))
    return directory


def read_run(path: Path) -> dict[str, Any]:
    """A run's name, group, parameters, history, summary and exit code."""
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    found: dict[str, Any] = {"history": [], "summary": {}, "config": {}, "exit": None}
    store = DataStore()
    store.open_for_scan(str(path))
    while (content := store.scan_data()) is not None:
        record = Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"name": record.run.display_name, "group": record.run.run_group, "id": record.run.run_id}
            found["config"] |= {one.key: json.loads(one.value_json) for one in record.run.config.update}
        elif kind == "history":
            items = record.history.item
            found["history"].append(
                {one.key or one.nested_key[0]: json.loads(one.value_json) for one in items}
            )
        elif kind == "summary":
            for one in record.summary.update:
                found["summary"][one.key or one.nested_key[0]] = json.loads(one.value_json)
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
        elif kind == "environment":
            raise AssertionError("the command line may have a password")
    return found


def runs(directory: Path) -> dict[str, dict[str, Any]]:
    """The last upload of each run, by name; an earlier one has the same id."""
    import wandb

    wandb.teardown()  # which waits until all is on disk
    found = [read_run(path) for path in sorted((directory / "wandb").glob("offline-run-*/*.wandb"))]
    assert len({run["id"] for run in found}) == len({run["name"] for run in found})
    return {run["name"]: run for run in found}


def test_each_trial_is_a_run_in_the_group_of_the_study(tmp_path: Path, offline: Path) -> None:
    with bench(tmp_path, TWO, FakeTraining(quality), log=["wandb"]) as one:
        one.search_and_log()
        records = one.records()
        assert one.messages == []
    found = runs(offline)
    assert sorted(found) == ["study", "trial-0000", "trial-0001"]
    for record in records:
        run, final = found[f"trial-{record.number:04d}"], quality(record.params)
        assert run["group"] == "study" and run["exit"] == 0
        assert {name: run["config"][name] for name in record.params} == record.params
        assert [row["epoch"] for row in run["history"]] == [1, 2, 3, 4, 5]
        scores = [row["valid/mrr@10"] for row in run["history"]]
        assert scores == pytest.approx([final * epoch / 5 for epoch in range(1, 6)])
        assert [row["train_loss"] for row in run["history"]] == [1.0] * 5
        assert run["summary"]["state"] == "complete" and run["summary"]["score"] == pytest.approx(final)
    assert found["study"]["summary"]["trials/complete"] == 2
    assert found["study"]["summary"]["best/score"] == pytest.approx(0.21)


def test_a_resumed_study_writes_the_interrupted_run_again_as_a_whole(
    tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_HURRY_SECONDS", 60.0)
    training = Interrupting(quality, after=7)
    with pytest.raises(KeyboardInterrupt), bench(tmp_path, TWO, training, log=["wandb"]) as one:
        one.search.run()
    with bench(tmp_path, TWO, FakeTraining(quality), log=["wandb"]) as one:
        one.search_and_log()
    found = runs(offline)
    assert [row["epoch"] for row in found["trial-0001"]["history"]] == [1, 2, 3, 4, 5]
    assert found["trial-0001"]["summary"]["state"] == "complete"


@pytest.mark.parametrize("state", [State.WAITING, State.PAUSED])
def test_a_run_that_another_coordinator_may_continue_does_not_stay_open(
    offline: Path, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    import wandb

    from sasrecf_tune.tracking.wandb_runs import WandbRuns

    finish, finished = wandb.Run.finish, []

    def spy(run: Any, *args: Any, **more: Any) -> None:
        finished.append(run.name)
        finish(run, *args, **more)

    monkeypatch.setattr(wandb.Run, "finish", spy)
    here = WandbRuns(StudyLog("0" * 12, "study", "mrr@10", {}, shared=True))
    here.write_trial(passed(State.RUNNING, 1))
    assert finished == []
    here.write_trial(passed(state, 2))
    assert finished == ["trial-0003"]
    here.write_trial(passed(State.COMPLETE, 3))
    assert finished == ["trial-0003"] * 2
    run = runs(offline)["trial-0003"]
    assert run["summary"]["state"] == "complete" and [row["epoch"] for row in run["history"]] == [1, 2, 3]


def test_a_key_is_needed_unless_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    check_trackers(["wandb"])
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("sasrecf_tune.tracking.wandb_runs.has_api_key", lambda: False)
    with pytest.raises(InputError, match="no API key") as error:
        check_trackers(["wandb"])
    assert "WANDB_MODE=offline" in error.value.fix


@pytest.mark.parametrize(("name", "value"), [("WANDB_MODE", "foo"), ("WANDB_BASE_URL", "foo")])
def test_an_invalid_setting_is_told_before_any_work(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    import wandb

    wandb.teardown()  # it reads its settings once
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="a setting of Weights & Biases is invalid"):
        check_trackers(["wandb"])
