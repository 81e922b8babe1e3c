"""Trains a trial with validations: after each of them the coordinator may pause or stop it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sasrecf_tune.engine.recbole import Built, make_config
from sasrecf_tune.errors import TuneError
from sasrecf_tune.executors.pausable import current_thread
from sasrecf_tune.messages import Config, Decision, Job, Report, Result
from sasrecf_tune.storage.files import disk_error
from sasrecf_tune.training import torch_files
from sasrecf_tune.training.checkpoint import no_epoch_left
from sasrecf_tune.training.data_service import DataService, device_name
from sasrecf_tune.training.evaluation import repeats_validation, test_metrics, valid_metrics
from sasrecf_tune.training.progress import TrialProgress
from sasrecf_tune.training.resume_file import ResumeFile
from sasrecf_tune.training.trained import Trained, parameter_count

if TYPE_CHECKING:
    from sasrecf_tune.training.fused_epochs import EpochHook

OnReport = Callable[[Report], Decision]


class _StopTraining(Exception):  # noqa: N818  # not an error: carries the decision out of fit()
    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision


class _Validations:
    """Reports the validations of a trial, writes its resume file, and does what the coordinator decides.

    Attributes:
        saved: The epoch that the resume file continues after.
    """

    def __init__(
        self,
        job: Job,
        built: Built,
        resume_file: ResumeFile,
        progress: TrialProgress,
        on_report: OnReport,
    ) -> None:
        self._job, self._built, self._resume_file = job, built, resume_file
        self._progress, self._on_report = progress, on_report
        self._hook = _add_epoch_hook(built, job.alone)
        self.saved = self._tried_to_save = built.trainer.start_epoch
        self._training_seconds = progress.reports[-1].training_seconds if progress.reports else 0.0
        self._began = time.perf_counter()

    def resend_earlier(self) -> None:
        """Send the last report of an earlier attempt again, and those that the coordinator does not know.

        It may have ended before it stored them.

        Raises:
            _StopTraining: The coordinator's decision.
        """
        reports = self._progress.reports
        after = reports[-1].epoch if reports else 0
        decisions = [
            self._on_report(replace(report, continues_after=after))
            for report in reports
            if report.epoch > min(self._job.known, after - 1)
        ]
        # After all of them, because the trial is in the state of the last one.
        for decision in decisions:
            if decision is not Decision.CONTINUE:
                raise _StopTraining(decision)
        self._began = time.perf_counter()

    def report(self, epoch_index: int, score: float) -> None:
        """Report a validation; the `callback_fn` of RecBole's trainer.

        Raises:
            _StopTraining: The coordinator's decision.
        """
        trainer, progress, every = self._built.trainer, self._progress, self._job.checkpoint_every
        report = Report(
            number=self._job.number,
            epoch=epoch_index + 1,
            score=float(score),
            metrics=dict(trainer.last_valid),
            train_loss=float(trainer.train_loss_dict[epoch_index]),
            seconds=progress.seconds,
            ends=no_epoch_left(trainer, epoch_index + 1),
            training_seconds=self._training_seconds + time.perf_counter() - self._began,
        )
        progress.reports.append(report)
        if self._hook is not None:
            progress.fused = max(progress.fused, self._hook.most_fused)
        first = len(progress.reports) == 1
        decision = self._on_report(replace(report, anew=progress.restart_reason) if first else report)
        due = decision is Decision.CONTINUE and report.epoch - self._tried_to_save >= every
        if decision is Decision.PAUSE or (every and (due or decision is Decision.STOP)):
            self._tried_to_save = report.epoch
            if self._resume_file.write(self._built, progress):
                self.saved = report.epoch
        if decision is not Decision.CONTINUE:
            raise _StopTraining(decision)
        self._training_seconds, self._began = report.training_seconds, time.perf_counter()


def train_trial(data: DataService, job: Job, on_report: OnReport, progress: TrialProgress) -> Trained:
    """Train a job's trial from its beginning or its resume file to its end, or to another decision.

    Args:
        on_report: Decides after each validation whether the trial continues.
        progress: Of a trial without reports; it is kept up to date.

    Raises:
        TuneError: The configuration asks for no validation.
        StorageError: The best weights cannot be written.
        Exception: What RecBole or torch raises.
    """
    config = make_config(job.config | job.local_config, data.gpu)
    resume_file = ResumeFile(data, job, config)
    built, note = resume_file.build(progress)
    validations = _Validations(job, built, resume_file, progress, on_report)
    decision = Decision.CONTINUE
    try:
        validations.resend_earlier()
        _fit(built, validations.report)
    except _StopTraining as stop:
        decision = stop.decision
    trainer, reports = built.trainer, progress.reports
    if not reports:
        raise TuneError("the trial ended without a validation: eval_step or epochs is zero")
    best = next(report for report in reports if report.epoch == trainer.best_epoch)
    test: dict[str, float] = {}
    if decision is Decision.CONTINUE:
        trainer.model.load_state_dict(trainer.best_state)
        test = test_metrics(built, job.per_user)
        if job.per_user is not None and repeats_validation(built):
            valid_metrics(built, job.per_user)  # last, because it may draw random numbers
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
        parameters=parameter_count(trainer.model),
        notes=(note,) if note else (),
        threads=torch.get_num_threads(),
        fused=progress.fused,
        checkpoint=validations.saved if decision is Decision.PAUSE else 0,
        training_seconds=reports[-1].training_seconds,
        losses=[report.train_loss for report in reports],
    )
    return Trained(result, trainer.best_state, built)


def _fit(built: Built, on_validation: Callable[[int, float], None]) -> None:
    trainer = built.trainer
    if no_epoch_left(trainer, trainer.start_epoch):
        trainer.eval_collector.data_collect(built.train)  # as fit() does first
    else:
        trainer.fit(built.train, built.valid, verbose=True, saved=True, callback_fn=on_validation)


def _add_epoch_hook(built: Built, alone: bool) -> EpochHook | None:
    """Make the trainer pause before each epoch if it runs in a PausableThread."""
    thread = current_thread()
    if thread is None:
        return None
    from sasrecf_tune.training.fused_epochs import EpochHook

    return EpochHook(built.trainer, built.train, built.valid, thread.pause, alone)


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
