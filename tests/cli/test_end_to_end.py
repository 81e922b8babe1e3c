"""The command line on the real RecBole, in real processes, on a tiny slice of ml-100k."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import optuna
import pytest

from sasrecf_tune.search.trial_attributes import CURVE
from tests.support.command_line import Cli, Running, assert_gone
from tests.support.recbole_alone import recbole_itself


def trials(directory: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=directory.name, storage=f"sqlite:///{directory}/study.db").trials


def test_each_trial_is_what_recbole_itself_gives(cli_process: Cli, tmp_path: Path, tiny_yaml: Path) -> None:
    cli = cli_process
    rates = [0.01, 0.003, 0.001]
    (tmp_path / "hyper.test").write_text(f"learning_rate choice {rates}\n")
    options = ["--config_files", tiny_yaml, "--engine", "recbole", "--pruner", "none"]
    done = cli("run", "--params_file", "hyper.test", *options)
    assert done.returncode == 0, done.stderr
    assert "3 configurations" in done.stdout

    directory = tmp_path / "tuning" / "ml-100k-hyper"
    ours = {trial.params["learning_rate"]: trial for trial in trials(directory)}
    best = cli("best", "--output", "mine.yaml")
    assert best.returncode == 0, best.stderr
    configured = {"model": "SASRecF", "dataset": "ml-100k", "config_file_list": [str(tiny_yaml)]}
    fixed = {"train_neg_sample_args": None, "gpu_id": ""}
    *direct, mine, written = recbole_itself(
        tmp_path,
        [{**configured, "config_dict": {"learning_rate": rate, **fixed}} for rate in rates]
        + [{"config_file_list": ["mine.yaml"]}, {"config_file_list": [str(directory / "best.yaml")]}],
    )
    for rate, result in zip(rates, direct, strict=True):
        trial = ours[rate]
        assert [trial.value, trial.user_attrs["valid"], trial.user_attrs["test"]] == result
        assert list(trial.intermediate_values) == [1, 2]
    assert mine == written == max(direct, key=lambda result: result[0])

    assert "Best: trial" in (directory / "report.html").read_text()
    with (directory / "ranking.csv").open() as file:
        ranking = list(csv.DictReader(file))
    scores = [float(row["valid mrr@10"]) for row in ranking]
    assert scores == sorted(scores, reverse=True) and ranking[0]["rank"] == "1"
    shown = cli("report", "--format", "json")
    assert [row["score"] for row in json.loads(shown.stdout)["trials"]] == scores

    # The same command again has nothing left to do; another space is another study.
    again_done = cli("run", "--params_file", "hyper.test", *options)
    assert again_done.returncode == 0 and "3 of 3 trials have ended" in again_done.stdout
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01, 0.003]\n")
    changed = cli("run", "--params_file", "hyper.test", *options)
    assert changed.returncode == 2
    assert "space.learning_rate: was 'learning_rate choice [0.01, 0.003, 0.001]'" in changed.stderr


@pytest.fixture
def four_rates(tmp_path: Path, tiny_yaml: Path) -> tuple[str | Path, ...]:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01, 0.003, 0.001, 0.0003]\n")
    return ("run", "--params-file", "hyper.test", "--config-files", tiny_yaml)


def test_a_killed_search_continues_with_the_same_command(
    tmp_path: Path, four_rates: tuple[str | Path, ...]
) -> None:
    run = Running(tmp_path, *four_rates)
    run.until("ended", trial=1)
    run.until("reported", trial=2)
    workers = run.children()
    assert len(workers) == 1
    run.process.kill()
    run.process.communicate()
    for pid in workers:
        assert_gone(pid)
    directory = tmp_path / "tuning" / "ml-100k-hyper"
    before = trials(directory)
    assert [trial.state.name for trial in before] == ["COMPLETE", "COMPLETE", "RUNNING"]

    again = Running(tmp_path, *four_rates)
    assert again.until("plan")["done"] == 2
    code, events = again.finish()
    assert code == 0
    assert [event["trial"] for event in events if event["event"] == "started"] == [2, 3]
    after = trials(directory)
    assert [trial.state.name for trial in after] == ["COMPLETE"] * 4
    assert len({trial.params["learning_rate"] for trial in after}) == 4
    assert [t.system_attrs[CURVE] for t in after[:2]] == [t.system_attrs[CURVE] for t in before[:2]]
    assert after[2].params == before[2].params


def test_resume_continues_after_ctrl_c(tmp_path: Path, cli: Cli, four_rates: tuple[str | Path, ...]) -> None:
    run = Running(tmp_path, *four_rates)
    run.until("ended", trial=0)
    run.process.send_signal(signal.SIGINT)
    code, events = run.finish()
    assert code == 130
    assert events[-1]["event"] == "end" and events[-1]["reason"] == "stopped by Ctrl-C"
    ended = int(events[-1]["ended"])
    assert 1 <= ended < 4
    resumed = cli("resume", "ml-100k-hyper", "--json")
    assert resumed.returncode == 0, resumed.stderr
    last = json.loads(resumed.stdout.splitlines()[-1])
    assert last["ended"] == 4 and last["reason"] == "all 4 trials have ended"


def test_sigterm_to_coordinator_and_worker_requeues_the_trial(
    tmp_path: Path, four_rates: tuple[str | Path, ...]
) -> None:
    run = Running(tmp_path, *four_rates, "--set", "epochs=100000", "--grace", "0.001s")
    run.until("reported", trial=0)
    (worker,) = run.children()
    # As if an epoch took for ever.
    os.kill(worker, signal.SIGSTOP)
    for process in (run.process.pid, worker):
        os.kill(process, signal.SIGTERM)
    code, events = run.finish()
    assert code == 130
    assert events[-2] == {"event": "returned", "trial": 0}
    assert events[-1]["reason"] == "stopped by SIGTERM"
    assert_gone(worker)
    assert [trial.state.name for trial in trials(tmp_path / "tuning" / "ml-100k-hyper")] == ["WAITING"]


def test_a_killed_worker_is_replaced_and_its_trial_retried(
    tmp_path: Path, four_rates: tuple[str | Path, ...]
) -> None:
    # A trial has seven epochs left to be killed in when its first is heard of.
    run = Running(tmp_path, *four_rates, "--set", "epochs=8", "--pruner", "none")
    for attempt in (1, 2):
        run.until("reported", trial=1)
        (worker,) = run.children()
        os.kill(worker, signal.SIGKILL)
        if attempt == 1:
            assert "SIGKILL" in run.until("retrying", trial=1, attempt=2)["reason"]
    failed = run.until("ended", trial=1)
    assert failed["state"] == "failed" and "SIGKILL" in failed["error"]
    run.until("reported", trial=2)
    (worker,) = run.children()
    os.kill(worker, signal.SIGKILL)
    code, events = run.finish()
    assert code == 0
    assert [(event["trial"], event["state"]) for event in events if event["event"] == "ended"] == [
        (2, "complete"),
        (3, "complete"),
    ]
    found = trials(tmp_path / "tuning" / "ml-100k-hyper")
    assert [len(trial.user_attrs.get("failed_attempts", [])) for trial in found] == [0, 1, 1, 0]
    assert len({trial.params["learning_rate"] for trial in found}) == 4


def test_interrupted_trials_continue_after_their_last_checkpoint(
    tmp_path: Path, cli: Cli, tiny_yaml: Path
) -> None:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01, 0.003, 0.001]\n")
    options = ("--set", "epochs=10", "--pruner", "none", "--retries", "0")
    study = ("run", "--params-file", "hyper.test", "--config-files", tiny_yaml, *options)
    whole = cli(*study, "--study", "whole")
    assert whole.returncode == 0, whole.stderr

    # The whole group, as by a scheduler.
    run = Running(tmp_path, *study, "--study", "cut", "--checkpoint-every", "2")
    run.until("reported", trial=0, epoch=4)
    (worker,) = run.children()
    run.process.kill()
    os.kill(worker, signal.SIGKILL)
    run.process.communicate()
    assert_gone(worker)

    # Ctrl-C once loses nothing, not even an epoch; `resume` keeps the option.
    run = Running(tmp_path, "resume", "cut")
    after = run.until("continues", trial=0)["after"]
    assert after >= 2 and after % 2 == 0
    assert run.until("reported", trial=0)["epoch"] == after + 1
    run.until("reported", trial=1, epoch=3)
    run.process.send_signal(signal.SIGINT)
    code, events = run.finish()
    assert code == 130 and events[-2] == {"event": "returned", "trial": 1}
    last = max([3, *(event["epoch"] for event in events if event["event"] == "reported")])

    # The worker alone: its trial is tried again.
    run = Running(tmp_path, *study, "--study", "cut", "--checkpoint-every", "1", "--retries", "1")
    assert run.until("continues", trial=1)["after"] == last
    assert run.until("reported", trial=1)["epoch"] == last + 1
    run.until("reported", trial=2, epoch=3)
    (worker,) = run.children()
    os.kill(worker, signal.SIGKILL)
    run.until("retrying", trial=2)
    after = run.until("continues", trial=2)["after"]
    assert after >= 2 and run.until("reported", trial=2)["epoch"] == after + 1
    code, _ = run.finish()
    assert code == 0

    ours, theirs = (trials(tmp_path / "tuning" / name) for name in ("cut", "whole"))
    for one, other in zip(ours, theirs, strict=True):
        assert (one.params, one.value, one.intermediate_values) == (
            other.params,
            other.value,
            other.intermediate_values,
        )
        for key in ("valid", "test", "best_epoch", "epochs"):
            assert one.user_attrs[key] == other.user_attrs[key]
        assert one.system_attrs[CURVE] == other.system_attrs[CURVE]
    kept = {path.suffix for path in (tmp_path / "tuning" / "cut" / "checkpoints").iterdir()}
    assert kept == {".pth"}


def test_a_second_run_of_the_same_study_is_rejected(
    tmp_path: Path, cli: Cli, four_rates: tuple[str | Path, ...]
) -> None:
    run = Running(tmp_path, *four_rates)
    run.until("started")
    second = cli(*four_rates)
    assert second.returncode == 1
    assert f"another run is using this study (process {run.process.pid})" in second.stderr
    code, _ = run.finish()
    assert code == 0


# What a model proposes depends on what has ended by then, which is another with two workers.
ONE_BY_ONE = ("--sampler", "grid", "--pruner", "none")


def test_two_workers_train_the_same_trials_as_one(
    tmp_path: Path, cli: Cli, four_rates: tuple[str | Path, ...]
) -> None:
    for workers in ("1", "2"):
        done = cli(*four_rates, "--study", f"w{workers}", "--workers", workers, *ONE_BY_ONE)
        assert done.returncode == 0, done.stderr
        study = tmp_path / "tuning" / f"w{workers}"
        logs = "".join(path.read_text() for path in (study / "logs").iterdir())
        assert logs.count("prepared for all workers") == (1 if workers == "2" else 0)
        assert "Warning" not in logs
        assert not (study / ".prepared").exists()
    one, two = (trials(tmp_path / "tuning" / f"w{workers}") for workers in "12")
    assert [t.params for t in one] == [t.params for t in two]
    # Another number of threads adds up in another order: the last of four decimals may differ.
    assert [t.value for t in one] == pytest.approx([t.value for t in two], abs=2e-4)


def test_bpr_and_ce_in_one_search(tmp_path: Path, cli: Cli, tiny_yaml: Path) -> None:
    (tmp_path / "hyper.test").write_text(
        "loss_type choice [CE, BPR]\n"
        "selected_features choice [['class'], [class, release_year]]\n"
        "epochs choice [1]\n"
    )
    done = cli("run", "--params-file", "hyper.test", "--config-files", tiny_yaml)
    assert done.returncode == 0, done.stderr
    found = trials(tmp_path / "tuning" / "ml-100k-hyper")
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 4, done.stdout
    assert {trial.params["loss_type"] for trial in found} == {"CE", "BPR"}


def test_the_default_search_pauses_trials_and_ends_by_itself(
    tmp_path: Path, cli: Cli, four_rates: tuple[str | Path, ...]
) -> None:
    done = cli(*four_rates, "--sampler", "auto", "--until", "1000", "--set", "epochs=4")
    assert done.returncode == 0, done.stderr
    assert "expected regret" in done.stdout
    found = trials(tmp_path / "tuning" / "ml-100k-hyper")
    assert [trial.state.name for trial in found].count("COMPLETE") >= 1
    assert len({trial.params["learning_rate"] for trial in found}) == len(found)


def test_dry_run_prints_a_plan_and_writes_nothing(
    tmp_path: Path, cli: Cli, four_rates: tuple[str | Path, ...]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = cli(*four_rates, "--sampler", "auto", "--dry-run", "--confirm", "3", "--confirm-seeds", "2")
    assert done.returncode == 0, done.stderr
    for text in (
        "4 configurations",
        "100 users",
        "freeze-thaw: at most 4 trials",
        "up to 2 epochs",
        "per epoch, about",
        "for 4 full trials and 6 confirmation runs, including start-up and tests",
    ):
        assert text in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_a_search_whose_trials_all_fail_exits_with_an_error(
    tmp_path: Path, cli: Cli, tiny_yaml: Path
) -> None:
    # Each step multiplies the weights by 1 - 100 * 100.
    text = "learning_rate choice [100]\nweight_decay choice [100]\nlearner choice [sgd]\n"
    (tmp_path / "hyper.test").write_text(text)
    done = cli("run", "--params-file", "hyper.test", "--config-files", tiny_yaml, "--set", "epochs=3")
    assert done.returncode == 1
    assert "NaN" in done.stdout and "No trial completed" in done.stdout


def test_a_search_stops_after_five_failures_with_the_same_reason(
    tmp_path: Path, cli: Cli, tiny_yaml: Path
) -> None:
    (tmp_path / "hyper.test").write_text(
        "weight_decay choice [100, 99, 98, 97, 96, 95, 94]\nlearner choice [sgd]\n"
    )
    options = ("--config-files", tiny_yaml, "--set", "epochs=3", "--set", "learning_rate=100")
    run = ("run", "--params-file", "hyper.test", *options)
    done = cli(*run)
    assert done.returncode == 1
    assert (
        "Gave up: no trial succeeded, and the last 5 failed for the same reason: the training loss"
        in done.stdout
    )
    assert "2 trials left" in done.stdout
    done = cli(*run, "--fail-fast")
    assert done.returncode == 1
    assert "Trial 5 failed, and --fail-fast was given" in done.stdout


def test_the_manifest_records_earlier_samplers_and_pruners(
    tmp_path: Path, cli: Cli, four_rates: tuple[str | Path, ...]
) -> None:
    four_rates = (*four_rates, "--set", "epochs=4")
    first = cli(
        *four_rates,
        "--study",
        "s",
        "--sampler",
        "auto",
        "--trials",
        "1",
        "--patience",
        "9",
        "--timeout",
        "1h",
    )
    assert "earlier after 1h 00m, or after the epochs of 9 full trials" in " ".join(first.stdout.split())
    again = cli(*four_rates, "--study", "s", "--trials", "2", "--sampler", "random", "--pruner", "none")
    assert again.returncode == 0, again.stderr
    assert "earlier trials used sampler freeze-thaw and pruner none" in " ".join(again.stdout.split())
    manifest = json.loads((tmp_path / "tuning" / "s" / "manifest.json").read_text())
    assert manifest["sampler"] == "random"
    assert [(past["sampler"], past["pruner"]["name"]) for past in manifest["earlier"]] == [
        ("freeze-thaw", "none")
    ]


def test_the_suggested_command_continues_a_search_that_patience_ended(
    tmp_path: Path, cli: Cli, four_rates: tuple[str | Path, ...]
) -> None:
    # Nothing is learnt: no trial is better than the first.
    (tmp_path / "hyper.test").write_text("learning_rate choice [1e-9, 2e-9, 3e-9, 4e-9]\n")
    done = cli(*four_rates, "--study", "p", "--patience", "1")
    assert "No better result in" in done.stdout, done.stdout
    (advice,) = (line for line in done.stdout.splitlines() if "To continue: " in line)
    on = advice.partition("To continue: sasrecf-tune ")[2].split()
    assert on == ["resume", "p", "--patience", "2"]
    more = cli(*on)
    assert "2 trials left" in done.stdout and "1 trial left" in more.stdout
