"""Trains one trial from start to end: a pure function of its configuration, the data and the engine."""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sasrecf_tune.engine.recbole import Built, build, log_to_stderr, make_config
from sasrecf_tune.engine.split_merging import merge_splits
from sasrecf_tune.errors import TuneError
from sasrecf_tune.executors.pausable import current_thread
from sasrecf_tune.messages import (
    Config,
    Decision,
    Deployment,
    Failure,
    FailureKind,
    Job,
    Report,
    Result,
    Waiting,
)
from sasrecf_tune.storage.files import disk_error
from sasrecf_tune.training import torch_files
from sasrecf_tune.training.checkpoint import (
    TrialCheckpoint,
    UnusableCheckpointError,
    capture,
    identity,
    no_epoch_left,
    read,
    restore,
)
from sasrecf_tune.training.data_service import DataService, choose_engine, device_name
from sasrecf_tune.training.device_memory import release_memory
from sasrecf_tune.training.evaluation import test_metrics, write_validation
from sasrecf_tune.training.failure_reason import error_text, failure_kind, failure_reason, gpu_is_lost
from sasrecf_tune.training.trained import Trained, Weights

if TYPE_CHECKING:
    from sasrecf_tune.training.fused_epochs import EpochHook, FusedEpochs

_log = logging.getLogger(__name__)

OnReport = Callable[[Report], Decision]


class _StopTraining(Exception):  # noqa: N818  # not an error: carries the decision out of fit()
    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision


@dataclass
class _TrialProgress:
    """The reports of a trial so far, and when it started, moved back by the time of earlier attempts.

    Attributes:
        restart_reason: Why it could not continue an earlier attempt.
        fused: The largest number of trials that trained as one model.
    """

    started: float = field(default_factory=time.perf_counter)
    reports: list[Report] = field(default_factory=list)
    restart_reason: str = ""
    fused: int = 1

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started


def start_runner(
    gpu: str | None, shared: Path | None = None, on_waiting: Callable[[Waiting], None] = lambda _: None
) -> Runner:
    """Create the Runner of a worker process, whose standard error is its log."""
    log_to_stderr()
    return Runner(gpu, shared, on_waiting)


class Runner(DataService):
    """Trains trials on the data of its base class, in this process."""

    _fused_epochs: FusedEpochs | None = None

    def train(self, job: Job, on_report: OnReport) -> Result | Failure:
        """Train the job's configuration; `on_report` decides after each validation whether it continues.

        Every error becomes a Failure: a trial's error must not end the search.
        """
        progress = _TrialProgress()
        threads = torch.get_num_threads()
        try:
            return self._train(job, on_report, progress)
        except Exception as error:  # noqa: BLE001  # RecBole and torch can raise anything
            traceback.print_exc()  # standard error is the trial's log
            lost = bool(self._gpu) and gpu_is_lost(error)
            kind = FailureKind.WORKER_DIED if lost else failure_kind(error)
            epochs = progress.reports[-1].epoch if progress.reports else 0
            reason = failure_reason(error, kind, job.log)
            text = error_text(error, kind)
            failure = Failure(job.number, kind, reason, epochs, progress.seconds, text)
        finally:
            torch.set_num_threads(threads)  # `_use_threads_of` may have changed it
        # Not before the error is gone, which refers to the trial's tensors.
        if failure.kind in (FailureKind.MEMORY, FailureKind.FUSED):
            release_memory()
        return failure

    def train_epochs(self, requests: Sequence[object]) -> Sequence[object]:
        """Train an epoch of those paused trials that can train as one model; return the answer to each."""
        from sasrecf_tune.engine.fused.trainer import EpochRequest
        from sasrecf_tune.training.fused_epochs import FusedEpochs

        if self._fused_epochs is None:
            self._fused_epochs = FusedEpochs()
        return self._fused_epochs.train([trial for trial in requests if isinstance(trial, EpochRequest)])

    def _train(self, job: Job, on_report: OnReport, progress: _TrialProgress) -> Result:
        deployment = job.deployment
        if deployment is None:
            return self._train_trial(job, on_report, progress).result
        train = self._train_trial if deployment.on == "train" else self._train_all_epochs
        if not deployment.seeds:
            trained = train(job, on_report, progress)
            config = trained.built.trainer.config
            self._export(job, deployment, config, [trained.weights], trained.result)
            return trained.result
        from sasrecf_tune.training.ensemble import averaged

        members, weights = [], []
        built: Built | None = None
        for seed in deployment.seeds:
            progress.reports.clear()
            built = None  # a trainer has six times the memory of its model's weights
            release_memory()
            one = replace(job, config=job.config | {"seed": seed}, per_user=None)
            member, own, built = train(one, on_report, progress)
            members.append(member)
            weights.append(own)
        assert built is not None
        result = averaged(built, weights, members, deployment.on, job.per_user)
        self._export(job, deployment, built.trainer.config, weights, result, members)
        return result

    def _train_trial(self, job: Job, on_report: OnReport, progress: _TrialProgress) -> Trained:
        config = make_config(job.config | job.local_config, self._gpu)
        built, note = self._build_or_resume(job, config, progress)
        trainer, reports = built.trainer, progress.reports
        hook = _add_epoch_hook(built, job.alone)
        tried = saved = trainer.start_epoch

        before, began = reports[-1].training_seconds if reports else 0.0, time.perf_counter()

        def callback(epoch_index: int, score: float) -> None:
            nonlocal tried, saved, before, began
            report = Report(
                number=job.number,
                epoch=epoch_index + 1,
                score=float(score),
                metrics=dict(trainer.last_valid),
                train_loss=float(trainer.train_loss_dict[epoch_index]),
                seconds=progress.seconds,
                ends=no_epoch_left(trainer, epoch_index + 1),
                training_seconds=before + time.perf_counter() - began,
            )
            reports.append(report)
            progress.fused = max(progress.fused, hook.most_fused if hook else 1)
            decision = on_report(report if reports[1:] else replace(report, anew=progress.restart_reason))
            every = job.checkpoint_every
            due = decision is Decision.CONTINUE and report.epoch - tried >= every
            if decision is Decision.PAUSE or (every and (due or decision is Decision.STOP)):
                tried = report.epoch
                if self._write_resume_file(job, config, built, progress):
                    saved = report.epoch
            if decision is not Decision.CONTINUE:
                raise _StopTraining(decision)
            before, began = report.training_seconds, time.perf_counter()

        decision = Decision.CONTINUE
        try:
            _resend_reports(reports, job.known, on_report)
            began = time.perf_counter()
            if no_epoch_left(trainer, trainer.start_epoch):
                trainer.eval_collector.data_collect(built.train)  # as fit() does first
            else:
                trainer.fit(built.train, built.valid, verbose=True, saved=True, callback_fn=callback)
        except _StopTraining as stop:
            decision = stop.decision
        if not reports:
            raise TuneError("the trial ended without a validation: eval_step or epochs is zero")
        best = next(report for report in reports if report.epoch == trainer.best_epoch)
        test: dict[str, float] = {}
        if decision is Decision.CONTINUE:
            trainer.model.load_state_dict(trainer.best_state)
            test = test_metrics(built, job.per_user)
            if job.per_user is not None:
                write_validation(built, job.per_user)  # last, because it may draw random numbers
            _save_best_weights(job.checkpoint, job.config, trainer, best)
        result = Result(
            number=job.number,
            decision=decision,
            epochs=reports[-1].epoch,
            best_epoch=best.epoch,
            valid=best.metrics,
            test=test,
            curve={key: [report.metrics[key] for report in reports] for key in best.metrics},
            seconds=progress.seconds,
            device=device_name(config["device"]),
            parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
            notes=(note,) if note else (),
            threads=torch.get_num_threads(),
            fused=progress.fused,
            checkpoint=saved if decision is Decision.PAUSE else 0,
            training_seconds=reports[-1].training_seconds,
            losses=[report.train_loss for report in reports],
        )
        return Trained(result, trainer.best_state, built)

    def _train_all_epochs(self, job: Job, on_report: OnReport, progress: _TrialProgress) -> Trained:
        from sasrecf_tune.training.final_training import train_all_epochs

        config = make_config(job.config | job.local_config, self._gpu)
        engine, note = choose_engine(job.engine, config)
        prepared = self._prepare(config, engine)
        with_test = job.deployment is not None and job.deployment.on == "all"
        built = build(config, merge_splits(prepared, 3 if with_test else 2), engine)

        def callback(epoch: int, loss: float) -> None:
            on_report(Report(job.number, epoch, math.nan, {}, loss, progress.seconds))

        weights = train_all_epochs(built, callback)
        result = Result(
            number=job.number,
            decision=Decision.CONTINUE,
            epochs=int(config["epochs"]),
            best_epoch=int(config["epochs"]),
            valid={},
            test={} if with_test else test_metrics(built, job.per_user),
            curve={},
            seconds=progress.seconds,
            device=device_name(config["device"]),
            parameters=sum(p.numel() for p in built.trainer.model.parameters() if p.requires_grad),
            notes=(note,) if note else (),
            threads=torch.get_num_threads(),
        )
        return Trained(result, weights, built)

    def _export(
        self,
        job: Job,
        deployment: Deployment,
        config: Any,
        weights: Sequence[Weights],
        result: Result,
        members: Sequence[Result] = (),
    ) -> None:
        from sasrecf_tune.engine.fast.build import FAST
        from sasrecf_tune.training.model_export import write_model

        engine = choose_engine(job.engine, config)[0]
        dataset = self._prepare(config, engine).dataset
        if not config["benchmark_filename"]:
            # RecBole's own data set does not keep whole histories.
            dataset = self._prepare(config, FAST).dataset
        write_model(deployment, job.config, config, dataset, weights, result, members)

    def _build_or_resume(self, job: Job, config: Any, progress: _TrialProgress) -> tuple[Built, str]:
        """Build the trainer, restored from the resume file if there is one; return the engine's note, too."""
        if job.resume_file is None or not job.resume_file.exists():
            return self._build(config, job.engine)
        try:
            checkpoint = read(job.resume_file, self._identity(job, config))
            _use_threads_of(checkpoint, config["device"])
            built, note = self._build(config, job.engine)
            restore(built, checkpoint)
        except UnusableCheckpointError as error:
            cause = f": {error.__cause__}" if error.__cause__ else ""
            _log.warning("The trial starts from the beginning: %s%s", error, cause)
            progress.restart_reason = str(error)
            return self._build(config, job.engine)
        progress.started -= checkpoint.seconds
        progress.reports += checkpoint.reports
        progress.fused = checkpoint.fused
        _log.info("The trial continues after epoch %d", built.trainer.start_epoch)
        return built, note

    def _write_resume_file(self, job: Job, config: Any, built: Built, progress: _TrialProgress) -> bool:
        """Save the trial for a later attempt; returns whether that was possible."""
        assert job.resume_file is not None, "only jobs with a file are saved"
        trial = self._identity(job, config)
        try:
            state = capture(built)
            TrialCheckpoint(
                trial, progress.reports, progress.seconds, state, progress.fused, torch.get_num_threads()
            ).write(job.resume_file)
        except OSError as error:
            # Training itself is not affected.
            _log.warning("If the trial is interrupted, its last epochs are lost: %s", error)
            return False
        return True

    def _identity(self, job: Job, config: Any) -> str:
        engine, _ = choose_engine(job.engine, config)
        return identity(job.config, engine.name, config["device"], self._fingerprint(config))


def _add_epoch_hook(built: Built, alone: bool) -> EpochHook | None:
    """Make the trainer pause before each epoch if it runs in a PausableThread."""
    thread = current_thread()
    if thread is None:
        return None
    from sasrecf_tune.training.fused_epochs import EpochHook

    return EpochHook(built.trainer, built.train, built.valid, thread.pause, alone)


def _use_threads_of(checkpoint: TrialCheckpoint, device: torch.device) -> None:
    """Continue a trial with the number of threads that it began with, on which its result depends.

    Raises:
        UnusableCheckpointError: The worker trains other trials at the same time, with other threads.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or checkpoint.threads in (0, threads):
        return
    if current_thread() is not None:
        raise UnusableCheckpointError(f"it began with {checkpoint.threads} threads, not {threads}")
    torch.set_num_threads(checkpoint.threads)


def _resend_reports(reports: list[Report], known: int, on_report: OnReport) -> None:
    """Send the last report of an earlier attempt again, and those after the epoch `known`.

    The coordinator may have ended before it stored them.

    Raises:
        _StopTraining: The coordinator's decision.
    """
    after = reports[-1].epoch if reports else 0
    decisions = [
        on_report(replace(report, continues_after=after))
        for report in reports
        if report.epoch > min(known, after - 1)
    ]
    # After all of them, because the trial is in the state of the last one.
    for decision in decisions:
        if decision is not Decision.CONTINUE:
            raise _StopTraining(decision)


def _save_best_weights(path: Path, config: Config, trainer: Any, best: Report) -> None:
    """Write only tensors and plain values, as `torch.load(..., weights_only=True)` requires.

    Raises:
        StorageError: The file cannot be written.
    """
    content = {
        "config": config,
        "epoch": best.epoch - 1,  # RecBole counts from 0
        "best_valid_score": best.score,
        "state_dict": trainer.best_state,
    }
    try:
        torch_files.save(path, content)
    except OSError as error:
        raise disk_error(path, error) from error
