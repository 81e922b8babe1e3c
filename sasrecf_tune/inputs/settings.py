"""A run's settings: what the command line and the YAML files become."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.metrics import Metric

Sampler = Literal["auto", "best-first", "grid", "tpe", "gp", "random", "cmaes", "qmc"]
Pruner = Literal["auto", "none", "forecast", "median", "percentile", "halving", "hyperband"]
Engine = Literal["fast", "recbole"]
Where = Literal["local", "ray"]

# Fewer seeds tell hardly any two configurations apart.
SEEDS = 5
# --fuse auto: as many trials a worker as a measurement at the start favours.
AUTO_FUSE = 0
MOST_FUSED = 64
# Slurm and Kubernetes send SIGKILL 30 seconds after SIGTERM, unless told otherwise.
GRACE = 25.0


@dataclass(frozen=True)
class SearchSettings:
    """How to search. `trials` and `timeout` (seconds) are totals of the study, None for the default.

    After `patience` whole trials' worth of epochs without a better result the search ends, None for never.
    `hang_timeout` is how many seconds a worker may be silent, None for ever. `retries` is how often a trial
    whose worker died is tried again; with `fail_fast` the first trial that fails for good ends the search.
    After SIGTERM the running epochs have `grace` seconds to end. Every `checkpoint_every` epochs (0: never) a
    trial writes down what it can continue from. When the search has ended, the best `confirm` configurations
    are trained again on `confirm_seeds` fresh seeds each.
    """

    sampler: Sampler = "auto"
    pruner: Pruner = "auto"
    trials: int | None = None
    timeout: float | None = None
    patience: int | None = None
    hang_timeout: float | None = None
    retries: int = 1
    fail_fast: bool = False
    grace: float = GRACE
    checkpoint_every: int = 0
    confirm: int = 0
    confirm_seeds: int = SEEDS


@dataclass(frozen=True)
class RunSettings:
    """Everything that `sasrecf-tune run` was asked for.

    `base` is the RecBole configuration from config files and --set, before a trial's parameters. `executor`
    says where the workers are, `address` which Ray cluster. `threads` are a worker's, None for the default;
    on a cluster `trials_per_gpu` of them share a card. A worker trains up to `fuse` trials of the same shapes
    as one model.
    """

    params_file: Path
    name: str
    out: Path
    dataset: str
    base: dict[str, Any]
    metric: Metric
    seed: int = 2020
    engine: Engine = "fast"
    model: str = "SASRecF"
    storage: str | None = None
    search: SearchSettings = SearchSettings()
    workers: int = 1
    gpus: tuple[str, ...] = ()
    executor: Where = "local"
    address: str = "auto"
    threads: int | None = None
    trials_per_gpu: int = 1
    fuse: int = 1

    def database(self, given: str | None) -> str | None:
        """Where a study with these settings is: at the address `given`, for one that was put on a server.

        One in its own directory stays there, since the variable that holds the address is for all studies.
        """
        return (given or self.storage) if self.storage else None

    @property
    def unit(self) -> float:
        """What RecBole rounds scores to."""
        return float(10.0 ** -int(self.base.get("metric_decimal_place") or 4))


def parse_duration(text: str, where: str = "--timeout") -> float:
    """Seconds in "90m", "1h30m", "45s", "2d" or "3600"; `where` is the option that says so.

    Raises:
        InputError: it is none of these, or not above zero.
    """
    units = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
    compact = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        seconds = float(compact)
    elif re.fullmatch(r"(\d+(\.\d+)?[dhms])+", compact):
        seconds = sum(float(n) * units[u] for n, _, u in re.findall(r"(\d+(\.\d+)?)([dhms])", compact))
    else:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"{text!r} is no duration", where=where, fix="Write 45s, 90m, 2h or 1h30m.")
    return seconds


def format_duration(seconds: float) -> str:
    """Such as "45s", "12m 05s", "3h 20m" or "2d 04h"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"
