"""Trains jobs in a worker: a pure function of their configuration, the data and the engine."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sasrecf_tune.engine.recbole import log_to_stderr
from sasrecf_tune.messages import Failure, FailureKind, Job, Result, Waiting
from sasrecf_tune.training.data_service import DataService
from sasrecf_tune.training.device_memory import release_memory
from sasrecf_tune.training.failure_reason import error_text, failure_kind, failure_reason, gpu_is_lost
from sasrecf_tune.training.progress import TrialProgress
from sasrecf_tune.training.trial import OnReport, train_trial

if TYPE_CHECKING:
    from sasrecf_tune.training.fused_epochs import FusedEpochs


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
        progress = TrialProgress()
        threads = torch.get_num_threads()
        try:
            return self._train(job, on_report, progress)
        except Exception as error:  # noqa: BLE001  # RecBole and torch can raise anything
            traceback.print_exc()  # standard error is the trial's log
            lost = bool(self.gpu) and gpu_is_lost(error)
            kind = FailureKind.WORKER_DIED if lost else failure_kind(error)
            epochs = progress.reports[-1].epoch if progress.reports else 0
            reason = failure_reason(error, kind, job.log)
            text = error_text(error, kind)
            failure = Failure(job.number, kind, reason, epochs, progress.seconds, text)
        finally:
            torch.set_num_threads(threads)  # a resumed trial may have changed it
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

    def _train(self, job: Job, on_report: OnReport, progress: TrialProgress) -> Result:
        if job.deployment is None:
            return train_trial(self, job, on_report, progress).result
        from sasrecf_tune.training.final_training import train_final_model

        return train_final_model(self, job, job.deployment, on_report, progress)
