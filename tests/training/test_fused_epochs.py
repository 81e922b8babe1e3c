"""Whole trials that train together in one worker, against the same trials alone."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from sasrecf_tune.engine.fast.trainer import FastTrainer
from sasrecf_tune.engine.fused.trainer import FusedTrainer
from sasrecf_tune.inputs.option_values import AUTO_FUSE
from sasrecf_tune.messages import (
    Decision,
    Failure,
    FailureKind,
    FusionTiming,
    Job,
    MeasureFusion,
    Report,
    Result,
)
from sasrecf_tune.search.fusion import pick_fusion
from sasrecf_tune.search.retry_policy import should_retry
from sasrecf_tune.training.runner import Runner
from tests.support.fused_trials import alone, check_same, together
from tests.support.synthetic_data import base, data, quiet

__all__ = ["data", "quiet"]


@pytest.fixture
def job(data: Path, tmp_path: Path) -> Callable[..., Job]:
    def make(number: int, **changes: Any) -> Job:
        config = base(data) | {"epochs": 6, "hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.3} | changes
        checkpoint, unfinished = tmp_path / f"{number}.pth", tmp_path / f"unfinished-{number}.pth"
        return Job(number, config, "fast", tmp_path / "log", checkpoint, unfinished)

    return make


def test_early_stopping_pruning_and_failures_affect_one_trial(job: Callable[..., Job]) -> None:
    jobs = [
        job(0, learning_rate=0.01, stopping_step=1),
        job(1, learner="sgd", learning_rate=1e38),
        job(2, seed=7, epochs=3),
        job(3, n_layers=1),
        job(4, hidden_dropout_prob=0.6),
        job(5, hidden_dropout_prob=0.0, attn_dropout_prob=0.0, eval_step=2),
    ]

    def decide(report: Report) -> Decision:
        return Decision.PRUNE if (report.number, report.epoch) == (4, 2) else Decision.CONTINUE

    ours, theirs = together(Runner(""), jobs, decide), alone(jobs, decide)
    for number in range(6):
        check_same(ours[number], theirs[number])
    failed, other, pruned = ours[1], ours[3], ours[4]
    assert isinstance(failed, Failure) and failed.kind == FailureKind.NAN
    assert isinstance(pruned, Result) and pruned.decision is Decision.PRUNE and not pruned.test
    assert isinstance(other, Result) and (pruned.fused, other.fused) == (5, 1)  # no other has one layer


@pytest.mark.parametrize("mode", ["full", "uni10"])
def test_trials_that_rank_the_same_items_are_validated_at_once(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    split = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}
    jobs = [job(number, seed=number, epochs=2, eval_args=split | {"mode": mode}) for number in range(2)]
    theirs = alone(jobs)
    evaluated: list[object] = []

    def counting(trainer: FastTrainer, *arguments: Any, **options: Any) -> Any:
        evaluated.append(trainer)
        return evaluate(trainer, *arguments, **options)

    evaluate = FastTrainer.evaluate
    monkeypatch.setattr(FastTrainer, "evaluate", counting)
    ours = together(Runner(""), jobs)
    for number in range(2):
        check_same(ours[number], theirs[number])
    # The test of each trial, and where candidates are sampled also its two validations.
    assert len(evaluated) == (2 if mode == "full" else 6)


@pytest.mark.parametrize(("decision", "every"), [(Decision.STOP, 1), (Decision.PAUSE, 0)])
def test_a_stopped_trial_continues_alone_or_fused(
    job: Callable[..., Job], decision: Decision, every: int
) -> None:
    jobs = [replace(job(number, seed=number), checkpoint_every=every) for number in range(3)]

    def stop(report: Report) -> Decision:
        return decision if report.epoch == 2 + report.number else Decision.CONTINUE

    whole = alone([replace(one, resume_file=None, checkpoint_every=0) for one in jobs])
    for first, then in ((together, alone), (alone, together)):
        for one in jobs:
            assert one.resume_file is not None
            one.resume_file.unlink(missing_ok=True)
        (first(Runner(""), jobs, stop) if first is together else alone(jobs, stop))
        ended = together(Runner(""), jobs) if then is together else alone(jobs)
        for number in range(3):
            check_same(ended[number], whole[number])


def test_each_trial_saves_its_own_best_weights(job: Callable[..., Job]) -> None:
    jobs = [job(number, seed=number, learner="sgd", epochs=3) for number in range(3)]
    ours = together(Runner(""), jobs)
    saved = [torch.load(one.checkpoint, weights_only=True)["state_dict"] for one in jobs]
    theirs = alone(jobs)
    for number, one in enumerate(jobs):
        check_same(ours[number], theirs[number])
        for name, weight in torch.load(one.checkpoint, weights_only=True)["state_dict"].items():
            torch.testing.assert_close(saved[number][name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("where", ["__init__", "train_epoch"])
def test_trials_that_do_not_fit_in_memory_fused_can_train_alone(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("tried to allocate 2 GiB")

    monkeypatch.setattr(FusedTrainer, where, full)
    jobs = [job(0), job(1), job(2, n_layers=1)]
    outcomes = together(Runner(""), jobs)
    for number in (0, 1):
        failure = outcomes[number]
        assert isinstance(failure, Failure) and failure.kind == FailureKind.FUSED
        assert "out of memory in 2 trials that were trained together" in failure.reason
        assert should_retry(failure, 0, retries=0)
    assert isinstance(outcomes[2], Result)
    again = together(Runner(""), [replace(one, alone=True) for one in jobs[:2]])
    assert all(isinstance(outcome, Result) and outcome.fused == 1 for outcome in again.values())


def test_an_error_in_a_step_affects_one_trial(job: Callable[..., Job]) -> None:
    strict = {"max_norm": 1.0, "error_if_nonfinite": True}
    jobs = [job(0), job(1), job(2, clip_grad_norm=strict, learner="sgd", learning_rate=1e38)]
    ours = together(Runner(""), jobs)
    assert isinstance(ours[2], Failure) and ours[2].kind in (FailureKind.NAN, FailureKind.ERROR)
    for number in (0, 1):
        check_same(ours[number], alone(jobs[:2])[number])


def test_a_fused_trials_resume_file_has_only_its_own_state(job: Callable[..., Job]) -> None:
    def stop(report: Report) -> Decision:
        return Decision.STOP if report.epoch == 2 else Decision.CONTINUE

    sizes = []
    for count in (1, 6):
        jobs = [replace(job(number, seed=number), checkpoint_every=1) for number in range(count)]
        (jobs[0].resume_file or Path()).unlink(missing_ok=True)
        together(Runner(""), jobs, stop)
        assert jobs[0].resume_file is not None
        sizes.append(jobs[0].resume_file.stat().st_size)
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
    (ended,) = alone(jobs[:1]).values()
    assert isinstance(ended, Result) and ended.epochs > 2 and ended.fused == 6


def test_measure_fusion(job: Callable[..., Job]) -> None:
    runner, config = Runner(""), job(0).config
    given = runner.measure_fusion(MeasureFusion(config, "fast", 2, 3, 1.1, fixed=True))
    assert given.ratios.keys() == {3} and given.ratios[3] > 0
    found = runner.measure_fusion(MeasureFusion(config, "fast", 2, 4, 1.1))
    assert found.ratios.keys() <= {2, 4} and 2 in found.ratios and found.stop_reason
    stock = runner.measure_fusion(MeasureFusion(config | {"enable_amp": True}, "fast", 2, 4, 1.1))
    assert stock.ratios == {} and stock.stop_reason == "this engine trains one trial at a time"


@pytest.mark.parametrize(
    ("ratios", "given", "slots", "said"),
    [
        ({2: 0.8}, AUTO_FUSE, 1, "one trial at a time: 2 as one model are 0.8 times"),
        ({}, AUTO_FUSE, 1, "one trial at a time: why"),
        ({2: 1.5, 4: 2.5, 8: 2.6}, AUTO_FUSE, 4, "up to 4 trials of the same shapes as one model: 2.5 times"),
        ({2: 1.05}, AUTO_FUSE, 1, "one trial at a time"),
        ({4: 0.5}, 4, 4, "up to 4 trials of the same shapes as one model: 0.5 times"),
        ({}, 4, 4, "up to 4 trials of the same shapes as one model: why"),
    ],
)
def test_the_number_of_fused_trials_that_is_chosen(
    ratios: dict[int, float], given: int, slots: int, said: str
) -> None:
    fusion = pick_fusion(FusionTiming(ratios, "why"), given)
    assert fusion.slots == slots and said in fusion.text
    assert fusion.speedup == ratios.get(slots, 1.0)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--fuse", "0"], "invalid `--fuse` value '0'"),
        (["--fuse", "many"], "Use auto, or a number from 1 to 64"),
        (["--fuse", "2", "--engine", "recbole"], "RecBole's own trainer trains one trial at a time"),
    ],
)
def test_invalid_values_of_fuse_are_rejected(
    cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, option: list[str], said: str
) -> None:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01, 0.001]\n")
    done = cli("run", "--params-file", "hyper.test", *option)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_a_study_of_fused_trials(
    cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, tiny_yaml: Path
) -> None:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01, 0.003, 0.001]\n")
    command = ["run", "--params-file", "hyper.test", "--config-files", str(tiny_yaml), "--sampler", "grid"]
    rankings = []
    for fuse in ("3", "1"):
        done = cli(*command, "--study", f"fuse-{fuse}", "--fuse", fuse, "--gpus", "none")
        assert done.returncode == 0, done.stderr
        assert ("a worker trains up to 3 trials of the same shapes as one model" in done.stdout) == (
            fuse == "3"
        )
        rows = (tmp_path / "tuning" / f"fuse-{fuse}" / "ranking.csv").read_text().splitlines()
        rankings.append([row.split(",")[:3] for row in rows])
        study = optuna.load_study(
            study_name=f"fuse-{fuse}", storage=f"sqlite:///{tmp_path}/tuning/fuse-{fuse}/study.db"
        )
        assert {trial.user_attrs["fused"] for trial in study.get_trials()} == {int(fuse)}
    assert len(rankings[0]) == 4 and rankings[0] == rankings[1]
