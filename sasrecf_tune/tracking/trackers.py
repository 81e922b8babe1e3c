"""Checks and opens the trackers of `--log`. Their libraries are imported here and nowhere else."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable

from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import InputError, MistakeCollector
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.tracking.run_logs import StudyLog, Tracker

_TITLES = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "Weights & Biases"}


def check_trackers(names: Iterable[str]) -> None:
    """Check that the trackers' libraries are installed, and that W&B has a key if it needs one.

    Raises:
        InputError: They are not, or it has none.
    """
    with MistakeCollector() as mistakes:
        for name in dict.fromkeys(names):
            with mistakes.collect():
                _check(name)


def tracker_factory(
    name: str, study: StudyLog, study_dir: StudyDirectory, creates: bool
) -> Callable[[], Tracker]:
    """Return the function that opens a tracker, which may take seconds.

    Args:
        creates: Whether this run makes what all runs of a study share; else another run makes it.
    """

    def make() -> Tracker:
        if name == "tensorboard":
            from sasrecf_tune.tracking.event_files import EventFiles

            return EventFiles(study_dir.tensorboard, study.name, study.shared)
        if name == "mlflow":
            from sasrecf_tune.tracking.mlflow_runs import MlflowRuns

            return MlflowRuns(study, creates)
        from sasrecf_tune.tracking.wandb_runs import WandbRuns

        return WandbRuns(study)

    return make


def _check(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError as error:
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be used: {error}"
        raise InputError(
            f"{_TITLES[name]} {why}",
            where=f"--log {name}",
            fix=f"Install it: {install_command(extra=name)}",
        ) from error
    # Without a key W&B would ask for one, and the search would wait for the answer.
    if name == "wandb":
        from sasrecf_tune.tracking.wandb_runs import accepts_settings, has_api_key, is_offline

        if not accepts_settings():
            raise InputError(
                "a setting of Weights & Biases is invalid",
                where="--log wandb",
                fix="Check its settings file and environment variables, such as WANDB_MODE (online, offline "
                "or disabled) and WANDB_BASE_URL (an address with https://).",
            )
        if is_offline() or has_api_key():
            return
        raise InputError(
            "Weights & Biases has no API key",
            where="--log wandb",
            fix="Enter `wandb login`, or set WANDB_API_KEY; or set WANDB_MODE=offline, and upload later.",
        )
