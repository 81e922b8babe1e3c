"""The file that the trial of a job continues from after an interruption or a pause."""

from __future__ import annotations

import logging
from typing import Any

import torch

from sasrecf_tune.engine.recbole import Built
from sasrecf_tune.executors.pausable import current_thread
from sasrecf_tune.messages import Job
from sasrecf_tune.training.checkpoint import (
    TrialCheckpoint,
    UnusableCheckpointError,
    capture,
    identity,
    read,
    restore,
)
from sasrecf_tune.training.data_service import DataService, choose_engine
from sasrecf_tune.training.progress import TrialProgress

_log = logging.getLogger(__name__)


class ResumeFile:
    """Reads and writes the checkpoint of a job's trial.

    Args:
        config: RecBole's complete configuration of the job.
    """

    def __init__(self, data: DataService, job: Job, config: Any) -> None:
        self._data, self._job, self._config = data, job, config

    def build(self, progress: TrialProgress) -> tuple[Built, str]:
        """Build the trainer, restored from the file if there is one; return the engine's note, too.

        What the earlier attempts came to is added to `progress`.
        """
        path, config, engine = self._job.resume_file, self._config, self._job.engine
        if path is None or not path.exists():
            return self._data.build(config, engine)
        try:
            checkpoint = read(path, self._identity())
            _use_threads_of(checkpoint, config["device"])
            built, note = self._data.build(config, engine)
            restore(built, checkpoint)
        except UnusableCheckpointError as error:
            cause = f": {error.__cause__}" if error.__cause__ else ""
            _log.warning("The trial starts from the beginning: %s%s", error, cause)
            progress.restart_reason = str(error)
            return self._data.build(config, engine)
        progress.started -= checkpoint.seconds
        progress.reports += checkpoint.reports
        progress.fused = checkpoint.fused
        _log.info("The trial continues after epoch %d", built.trainer.start_epoch)
        return built, note

    def write(self, built: Built, progress: TrialProgress) -> bool:
        """Save the trial for a later attempt; return whether that was possible."""
        path = self._job.resume_file
        assert path is not None, "only jobs with a file are saved"
        trial = self._identity()
        try:
            state = capture(built)
            TrialCheckpoint(
                trial, progress.reports, progress.seconds, state, progress.fused, torch.get_num_threads()
            ).write(path)
        except OSError as error:
            # Training itself is not affected.
            _log.warning("If the trial is interrupted, its last epochs are lost: %s", error)
            return False
        return True

    def _identity(self) -> str:
        engine, _ = choose_engine(self._job.engine, self._config)
        data = self._data.fingerprint(self._config)
        return identity(self._job.config, engine.name, self._config["device"], data)


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
