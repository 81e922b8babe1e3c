"""A trial that is interrupted after any of its epochs ends with what it would have ended with."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sasrecf_tune.executors.pausable import PausableThread
from sasrecf_tune.messages import Decision, Job, Report, Result
from sasrecf_tune.training.runner import Runner
from tests.support.fused_trials import untimed
from tests.support.synthetic_data import base, data, quiet

__all__ = ["data", "quiet"]


class Killed(BaseException):
    """Nothing in a worker catches it, as nothing catches SIGKILL."""


@dataclass
class Ended:
    """What came of a trial."""

    result: Result
    weights: dict[str, Any]
    reports: list[Report] = field(default_factory=list)

    def same_as(self, other: Ended) -> None:
        """To the last digit; only the times may differ."""
        assert untimed(self.result) == untimed(other.result)
        assert list(map(untimed, self.reports)) == list(map(untimed, other.reports))
        ours, theirs = self.weights.pop("state_dict"), other.weights.pop("state_dict")
        assert self.weights == other.weights and ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        self.weights["state_dict"], other.weights["state_dict"] = ours, theirs


@dataclass
class Trial:
    """One trial, trained in one go or in several; each attempt is made by a worker of its own."""

    job: Job
    attempts: int = 0

    def attempt(self, on_report: Callable[[Report], Decision]) -> Result:
        self.attempts += 1
        # Whatever a worker has done before must not matter.
        random.seed(self.attempts)
        np.random.seed(self.attempts)
        torch.manual_seed(self.attempts)
        result = Runner("").train(self.job, on_report)
        assert isinstance(result, Result), result
        return result

    def whole(self) -> Ended:
        reports: list[Report] = []

        def note(report: Report) -> Decision:
            reports.append(report)
            return Decision.CONTINUE

        result = self.attempt(note)
        return Ended(result, torch.load(self.job.checkpoint, weights_only=True), reports)

    def stopped_after_each_epoch(self) -> Ended:
        """As by Ctrl-C: the coordinator answers STOP."""
        reports: list[Report] = []

        def stop(report: Report) -> Decision:
            if report.continues_after:
                assert report.continues_after == reports[-1].epoch
                assert replace(report, continues_after=0) == reports[report.epoch // reports[0].epoch - 1]
                return Decision.CONTINUE
            reports.append(report)
            return Decision.STOP

        while (result := self.attempt(stop)).decision is Decision.STOP:
            assert result.test == {} and not self.job.checkpoint.exists()
        return Ended(result, torch.load(self.job.checkpoint, weights_only=True), reports)

    def killed_in_each_epoch(self) -> Ended:
        """As by SIGKILL, once the epoch after the last one that was written down has been trained."""
        reports: dict[int, Report] = {}

        def die(report: Report) -> Decision:
            new = report.epoch not in reports
            reports[report.epoch] = replace(report, continues_after=0)
            if new and len(reports) > 1:
                raise Killed
            return Decision.CONTINUE

        while True:
            try:
                result = self.attempt(die)
            except Killed:
                continue
            return Ended(result, torch.load(self.job.checkpoint, weights_only=True), list(reports.values()))

    def paused_at_random(self, draw: random.Random) -> Ended:
        """As by a policy: the coordinator answers PAUSE, and has all reports when the trial goes on."""
        reports: list[Report] = []

        def pause(report: Report) -> Decision:
            if report.continues_after:
                assert replace(report, continues_after=0) == reports[-1]  # the only one that is sent again
                return Decision.CONTINUE
            reports.append(report)
            return Decision.PAUSE if draw.random() < 0.6 and not report.ends else Decision.CONTINUE

        while (result := self.attempt(pause)).decision is Decision.PAUSE:
            assert 0 < result.training_seconds < result.seconds
            assert result.checkpoint == result.epochs == reports[-1].epoch
            assert result.test == {} and not self.job.checkpoint.exists()
            self.job = replace(self.job, known=result.epochs)
        return Ended(result, torch.load(self.job.checkpoint, weights_only=True), reports)


@pytest.fixture
def trial(data: Path, tmp_path: Path) -> Callable[..., Trial]:
    def make(name: str, engine: str, every: int, **changes: Any) -> Trial:
        config = base(data) | {"hidden_dropout_prob": 0.4, "attn_dropout_prob": 0.3, "epochs": 4} | changes
        config |= {"train_batch_size": 128, "n_layers": 1}
        files = (tmp_path / name / file for file in ("log", "trial.pth", "trial.resume"))
        log, checkpoint, unfinished = files
        return Trial(Job(3, config, engine, log, checkpoint, unfinished, every))

    return make


BPR = {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "popularity", "sample_num": 1}}
DYNAMIC = {"distribution": "uniform", "sample_num": 1, "dynamic": True, "candidate_num": 2}
SAMPLED = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni20", "group_by": "user"}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("fast", {"learner": "adamw", "weight_decay": 0.01}),
    ("fast", {"learning_rate": 0.05, "stopping_step": 1, "epochs": 30}),
    ("fast", BPR | {"eval_step": 2, "epochs": 7, "learner": "adagrad"}),
    ("fast", {"loss_type": "BPR", "train_neg_sample_args": DYNAMIC, "eval_args": SAMPLED}),
    ("recbole", {"learning_rate": 0.05, "stopping_step": 1, "epochs": 30, "clip_grad_norm": {"max_norm": 1}}),
    ("recbole", BPR | {"eval_step": 2, "epochs": 7, "learner": "rmsprop"}),
    ("recbole", {"eval_args": SAMPLED, "epochs": 3}),
]


@pytest.mark.parametrize(("engine", "changes"), [CASES[1], CASES[2], CASES[3], CASES[4]])
def test_a_paused_trial_has_the_same_results(
    trial: Callable[..., Trial], engine: str, changes: dict[str, Any]
) -> None:
    whole = trial("whole", engine, 0, **changes).whole()
    assert not any(report.ends for report in whole.reports[:-1])
    assert whole.reports[-1].ends or changes["epochs"] % changes["eval_step"]
    for seed in (1, 3):
        paused = trial(f"paused-{seed}", engine, 0, **changes)
        paused.paused_at_random(random.Random(seed)).same_as(whole)
        assert paused.attempts > 1


@pytest.mark.parametrize(("engine", "changes"), CASES)
def test_an_interrupted_trial_has_the_same_results(
    trial: Callable[..., Trial], engine: str, changes: dict[str, Any]
) -> None:
    whole = trial("whole", engine, 0, **changes).whole()
    epochs = [report.epoch for report in whole.reports]
    assert len(epochs) > 2
    if "stopping_step" in changes:
        assert epochs[-1] < changes["epochs"], "early stopping is to end it"

    stopped = trial("stopped", engine, 1000, **changes)
    stopped.stopped_after_each_epoch().same_as(whole)
    # One more, which has nothing left to train.
    assert stopped.attempts == len(epochs) + 1

    killed = trial("killed", engine, 1, **changes)
    killed.killed_in_each_epoch().same_as(whole)
    assert killed.attempts == len(epochs)


def test_a_trial_continues_with_the_threads_that_it_began_with(trial: Callable[..., Trial]) -> None:
    before = torch.get_num_threads()
    made = trial("x", "fast", 1, epochs=2)
    try:
        torch.set_num_threads(before + 1)
        made.attempt(stop_after(1))
        torch.set_num_threads(before)
        result = made.attempt(lambda _: Decision.CONTINUE)
        assert result.epochs == 2 and result.threads == before + 1
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


def test_a_trial_beside_others_starts_again_with_other_threads(trial: Callable[..., Trial]) -> None:
    made = trial("x", "fast", 1)
    made.attempt(stop_after(2))
    assert made.job.resume_file is not None
    content = torch.load(made.job.resume_file, weights_only=True)
    torch.save(content | {"threads": torch.get_num_threads() + 1}, made.job.resume_file)
    reports: list[Report] = []

    def note(report: Report) -> Decision:
        reports.append(report)
        return Decision.STOP

    runner = Runner("")
    thread = PausableThread(lambda: runner.train(made.job, note))
    request = thread.advance()
    while not thread.finished:
        (answer,) = runner.train_epochs([request])
        request = thread.advance(answer)
    assert [report.epoch for report in reports] == [1] and "began with" in reports[0].anew


def stop_after(epoch: int) -> Callable[[Report], Decision]:
    return lambda report: Decision.STOP if report.epoch == epoch else Decision.CONTINUE


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("touched"),)


def of_another_trial(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    torch.save(content | {"identity": "another"}, path)


def without_a_loader(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    del content["state"]["random"]["loaders"][1:]
    torch.save(content, path)


def of_a_stream_of_masks(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    del content["state"]["random"]["dropout_step"]
    content["state"]["random"] |= {"torch": torch.get_rng_state(), "cuda": None}
    torch.save(content, path)


def one_bit_flipped(path: Path) -> None:
    # In the weights: torch alone would not notice.
    weights = torch.load(path, weights_only=True)["state"]["model"]["item_embedding.weight"]
    content = bytearray(path.read_bytes())
    content[content.index(weights.numpy().tobytes())] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1000]), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (one_bit_flipped, "checksum"),
        (lambda path: torch.save(Harmful(), path), "damaged"),
        (lambda path: torch.save({"identity": "x"}, path), "damaged"),
        (of_another_trial, "another configuration"),
        (without_a_loader, "does not fit"),
        (of_a_stream_of_masks, "drew dropout masks in another way"),
    ],
)
def test_an_unusable_resume_file_is_ignored(
    trial: Callable[..., Trial],
    damage: Callable[[Path], object],
    said: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = trial("whole", "fast", 0).whole()
    other = trial("other", "fast", 1)
    other.attempt(stop_after(2))
    assert other.job.resume_file is not None
    damage(other.job.resume_file)
    again = other.whole()
    first, *rest = again.reports
    assert said in first.anew and not any(report.anew for report in rest)
    again.reports[0] = replace(first, anew="")
    again.same_as(whole)
    assert f"starts from the beginning: {first.anew}" in caplog.text
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "changes",
    [{"config": {"learning_rate": 0.5}}, {"config": {"seed": 1}}, {"engine": "recbole"}],
)
def test_a_resume_file_of_other_settings_is_not_used(
    trial: Callable[..., Trial], changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    made = trial("x", "fast", 1)
    made.attempt(stop_after(2))
    changes["config"] = made.job.config | changes.get("config", {})
    made.job = replace(made.job, **changes)
    assert [report.epoch for report in made.whole().reports] == [1, 2, 3, 4]
    assert "another configuration" in caplog.text


def test_a_resume_file_of_other_data_is_not_used(
    trial: Callable[..., Trial], data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = trial("x", "fast", 1)
    made.attempt(stop_after(2))
    moved = shutil.copytree(data, tmp_path / "moved")
    made.job = replace(made.job, config=made.job.config | {"data_path": str(moved)})
    made.attempt(stop_after(3))
    assert "from the beginning" not in caplog.text, "where the data lies does not matter"
    (moved / "every-kind" / "every-kind.inter").open("a").write("u1\ti1\t99\n")
    made.attempt(stop_after(3))
    assert "another configuration, data set" in caplog.text


def test_the_resume_file_is_written_every_so_many_epochs(trial: Callable[..., Trial]) -> None:
    made = trial("x", "fast", 3, epochs=8)
    path = made.job.resume_file
    assert path is not None
    known: list[int] = []

    def look(report: Report) -> Decision:
        known.append(len(torch.load(path, weights_only=True)["reports"]) if path.exists() else 0)
        return Decision.CONTINUE

    made.attempt(look)
    # Each is asked before the file of its own epoch is written.
    assert known == [0, 0, 0, 3, 3, 3, 6, 6]


def test_a_resume_file_that_cannot_be_written_does_not_affect_the_trial(
    trial: Callable[..., Trial], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = trial("whole", "fast", 0).whole()
    (tmp_path / "file").touch()
    other = trial("other", "fast", 1)
    other.job = replace(other.job, resume_file=tmp_path / "file" / "trial.resume")
    other.whole().same_as(whole)
    assert "its last epochs are lost" in caplog.text


def test_the_coordinator_may_prune_on_a_report_that_is_sent_again(trial: Callable[..., Trial]) -> None:
    made = trial("x", "fast", 1)
    made.attempt(stop_after(3))
    again: list[int] = []

    def prune_second(report: Report) -> Decision:
        again.append(report.epoch)
        return Decision.PRUNE if report.epoch == 2 else Decision.CONTINUE

    result = made.attempt(prune_second)
    assert again == [1, 2, 3]
    assert (result.decision, result.epochs, result.test) == (Decision.PRUNE, 3, {})
