"""The state that an interrupted trial continues from: all that its next epochs depend on, in one file.

RecBole's resume_checkpoint (recbole/trainer/trainer.py) restores neither the random generators nor the best
weights, so a trial that it resumes ends differently from one that was not interrupted.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map

from sasrecf_tune import __version__
from sasrecf_tune.engine import rng
from sasrecf_tune.engine.fast.model import FastModel
from sasrecf_tune.engine.recbole import Built
from sasrecf_tune.inputs.hyperparameters import PATH_KEYS
from sasrecf_tune.messages import Config, Report
from sasrecf_tune.training import torch_files


class UnusableCheckpointError(Exception):
    """The file is damaged or belongs to another trial."""


@dataclass(frozen=True)
class TrialCheckpoint:
    """A trial after its last report.

    Attributes:
        identity: See `identity`.
        reports: All reports so far.
        seconds: Time that they took.
        state: See `capture`.
        fused: The largest number of trials that trained as one model.
        threads: The number of threads that it was trained with; 0 if it is not known.
    """

    identity: str
    reports: Sequence[Report]
    seconds: float
    state: dict[str, Any]
    fused: int = 1
    threads: int = 0

    def write(self, path: Path) -> None:
        """Write a file that `torch.load(..., weights_only=True)` can read.

        Raises:
            OSError: The file cannot be written; an earlier one is unchanged.
        """
        torch_files.save(path, vars(self) | {"reports": [asdict(report) for report in self.reports]})


def identity(config: Config, engine: str, device: torch.device, data: str) -> str:
    """Return a hash of what a trial's result depends on; `data` is the data set's fingerprint."""
    facts = {
        "config": {key: value for key, value in config.items() if key not in PATH_KEYS},
        "engine": engine,
        "device": device.type,
        "data": data,
        "sasrecf_tune": __version__,
        "versions": _versions(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


@cache
def _versions() -> list[str]:
    return [version(name) for name in ("torch", "recbole", "numpy")]


def read(path: Path, wanted: str) -> TrialCheckpoint:
    """Read the trial in `path`, which must have the identity `wanted`.

    Raises:
        UnusableCheckpointError: The file is damaged, or belongs to another trial.
    """
    if not path.is_file():
        raise UnusableCheckpointError(f"{path.name} is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            # torch compresses nothing: a small file that somebody else has made could fill the memory.
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise UnusableCheckpointError(f"{path.name} is not a file of torch")
            damaged = archive.testzip()  # torch does not verify the checksums that it writes
        if damaged is None:
            content = torch.load(path, map_location="cpu", weights_only=True)
            found = TrialCheckpoint(
                identity=str(content["identity"]),
                reports=[Report(**report) for report in content["reports"]],
                seconds=float(content["seconds"]),
                state=content["state"],
                fused=int(content["fused"]),
                threads=int(content.get("threads", 0)),
            )
    except UnusableCheckpointError:
        raise
    except Exception as error:  # zipfile and torch can raise anything
        raise UnusableCheckpointError(f"{path.name} is damaged ({type(error).__name__})") from error
    if damaged is not None:
        raise UnusableCheckpointError(f"{path.name} is damaged (checksum of {damaged})")
    if found.identity != wanted or not found.reports:
        raise UnusableCheckpointError(
            f"{path.name} belongs to another configuration, data set, device or version"
        )
    return found


def capture(built: Built) -> dict[str, Any]:
    """Return the state that `restore` needs, as tensors and plain values. Call it between two epochs."""
    trainer = built.trainer
    return {
        # Copied, because those of a fused trial are views, and torch saves the whole base of a view.
        "model": tree_map(_copied, dict(trainer.model.state_dict())),
        "optimizer": tree_map(_copied, trainer.optimizer.state_dict()),
        "best_state": trainer.best_state,
        "best_epoch": trainer.best_epoch,
        "best_score": float(trainer.best_valid_score),
        "without_better": trainer.cur_step,
        "random": _random_states(built),
    }


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def restore(built: Built, checkpoint: TrialCheckpoint) -> None:
    """Give a new `built` the state of `checkpoint`.

    Raises:
        UnusableCheckpointError: The state does not fit; `built` must not be used any more.
    """
    trainer, state = built.trainer, checkpoint.state
    try:
        trainer.model.load_state_dict(state["model"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.best_state = state["best_state"]
        trainer.best_epoch = state["best_epoch"]
        trainer.best_valid_score = state["best_score"]
        trainer.cur_step = state["without_better"]
        trainer.start_epoch = checkpoint.reports[-1].epoch
        _set_random_states(built, state["random"])
    except UnusableCheckpointError:
        raise
    except Exception as error:  # torch and numpy can raise anything
        raise UnusableCheckpointError(f"its state does not fit ({type(error).__name__})") from error


def no_epoch_left(trainer: Any, epoch: int) -> bool:
    """Return whether a trainer has no epoch left to train after `epoch`.

    Source: recbole/trainer/trainer.py (fit), recbole/utils/utils.py (early_stopping).
    """
    stopped = trainer.cur_step > 0 and trainer.cur_step > trainer.stopping_step
    return bool(stopped or epoch >= trainer.epochs)


def _random_states(built: Built) -> dict[str, Any]:
    loaders = [loader.generator.get_state() for loader in _loaders(built)]  # the order of samples
    model = built.trainer.model
    if isinstance(model, FastModel):  # its dropout has no generator
        states = rng.rng_states(built.trainer.device, torchs=False) | {"dropout_step": model.dropout_step}
    else:
        states = rng.rng_states(built.trainer.device)
    return states | {"loaders": loaders}


def _set_random_states(built: Built, states: dict[str, Any]) -> None:
    model = built.trainer.model
    if isinstance(model, FastModel):
        if "dropout_step" not in states:
            raise UnusableCheckpointError("it is of a version that drew dropout masks in another way")
        model.dropout_step = int(states["dropout_step"])
    rng.set_rng_states(states, built.trainer.device)
    for loader, state in zip(_loaders(built), states["loaders"], strict=True):
        loader.generator.set_state(state)


def _loaders(built: Built) -> tuple[Any, Any, Any]:
    return built.train, built.valid, built.test
