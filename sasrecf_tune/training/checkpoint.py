"""What an interrupted trial continues from: all that its next epochs depend on, in one file.

RecBole's resume_checkpoint (recbole/trainer/trainer.py) restores neither the random generators nor the best
weights, so that what it continues ends otherwise than what was never interrupted.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sasrecf_tune import __version__
from sasrecf_tune.engine import rng
from sasrecf_tune.engine.recbole import Built
from sasrecf_tune.inputs.hyperparameters import PATH_KEYS
from sasrecf_tune.messages import Config, Report
from sasrecf_tune.training import torch_files


class UnusableError(Exception):
    """The file is damaged or of another trial; the message says so in one line, its cause in many."""


@dataclass(frozen=True)
class TrialCheckpoint:
    """A trial as it stood after its last report: `state` is what `capture` gave.

    `reports` are all so far, `seconds` what they took. Up to `fused` trials trained as one model.
    """

    identity: str
    reports: Sequence[Report]
    seconds: float
    state: dict[str, Any]
    fused: int = 1

    def write(self, path: Path) -> None:
        """Put it in a file that `torch.load(..., weights_only=True)` takes.

        Raises:
            OSError: the disk refused; an earlier file is untouched.
        """
        torch_files.save(path, vars(self) | {"reports": [asdict(report) for report in self.reports]})


def identity(config: Config, engine: str, device: torch.device, data: str) -> str:
    """A hash of what a trial's result depends on; `data` is the data set's fingerprint."""
    facts = {
        "config": {key: value for key, value in config.items() if key not in PATH_KEYS},
        "engine": engine,
        "device": device.type,
        "data": data,
        "sasrecf_tune": __version__,
        "versions": [version(name) for name in ("torch", "recbole", "numpy")],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def read(path: Path, wanted: str) -> TrialCheckpoint:
    """The trial in `path`, whose identity must be `wanted`.

    Raises:
        UnusableError: the file is damaged, or of something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not look at the checksums it writes
        if damaged is None:
            content = torch.load(path, map_location="cpu", weights_only=True)
            found = TrialCheckpoint(
                identity=str(content["identity"]),
                reports=[Report(**report) for report in content["reports"]],
                seconds=float(content["seconds"]),
                state=content["state"],
                fused=int(content["fused"]),
            )
    except Exception as error:  # whatever zipfile and torch stumble on
        raise UnusableError(f"{path.name} is damaged ({type(error).__name__})") from error
    if damaged is not None:
        raise UnusableError(f"{path.name} is damaged (checksum of {damaged})")
    if found.identity != wanted or not found.reports:
        raise UnusableError(f"{path.name} is of another configuration, data set, device or version")
    return found


def capture(built: Built) -> dict[str, Any]:
    """What `restore` needs, taken between two epochs: tensors and plain values alone."""
    trainer = built.trainer
    return {
        # Copied: of trials that train together these are views of all of them, which a file would hold whole.
        "model": {name: value.clone() for name, value in trainer.model.state_dict().items()},
        "optimizer": trainer.optimizer.state_dict(),
        "best_state": trainer.best_state,
        "best_epoch": trainer.best_epoch,
        "best_score": float(trainer.best_valid_score),
        "without_better": trainer.cur_step,
        "random": _random_states(built),
    }


def restore(built: Built, unfinished: TrialCheckpoint) -> None:
    """Make `built`, fresh from `recbole_bridge.build`, what it was when `capture` was called.

    Raises:
        UnusableError: the state does not fit; `built` is of no use any more.
    """
    trainer, state = built.trainer, unfinished.state
    try:
        trainer.model.load_state_dict(state["model"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.best_state = state["best_state"]
        trainer.best_epoch = state["best_epoch"]
        trainer.best_valid_score = state["best_score"]
        trainer.cur_step = state["without_better"]
        trainer.start_epoch = unfinished.reports[-1].epoch
        _set_random_states(built, state["random"])
    except Exception as error:  # whatever torch and numpy stumble on
        raise UnusableError(f"its state does not fit ({type(error).__name__})") from error


def has_ended(trainer: Any) -> bool:
    """Whether a restored trainer has no epoch left, as fit() finds after an epoch (utils.early_stopping)."""
    stopped = trainer.cur_step > 0 and trainer.cur_step > trainer.stopping_step
    return bool(stopped or trainer.start_epoch >= trainer.epochs)


def _random_states(built: Built) -> dict[str, Any]:
    loaders = [loader.generator.get_state() for loader in _loaders(built)]  # the order of samples
    return rng.rng_states(built.trainer.device) | {"loaders": loaders}


def _set_random_states(built: Built, states: dict[str, Any]) -> None:
    rng.set_rng_states(states, built.trainer.device)
    for loader, state in zip(_loaders(built), states["loaders"], strict=True):
        loader.generator.set_state(state)


def _loaders(built: Built) -> tuple[Any, Any, Any]:
    return built.train, built.valid, built.test
