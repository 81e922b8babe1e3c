"""Pruners by name: their arguments, how the plan describes them, and how to make them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sasrecf_tune.errors import InputError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

    from sasrecf_tune.inputs.search_space import SearchSpace

# Trials that must have completed before any trial is compared with them.
STARTUP_TRIALS = 4
# How many standard deviations the forecast of a pruned trial is below the best (benchmarks/search/replay.py).
_DEVIATIONS = 1.5


@dataclass(frozen=True)
class PrunerPlan:
    """A pruner as the plan prints it and the manifest records it.

    Args:
        name: As of --pruner, but not "auto".
        arguments: Of its class.
        why: Why it is "none" although the user asked for another one.
    """

    name: str
    arguments: dict[str, Any]
    why: str = ""

    @property
    def recorded(self) -> dict[str, Any]:
        """Its entry in the manifest."""
        return {"name": self.name, **self.arguments}

    def __str__(self) -> str:
        get = self.arguments.get
        warmup, startup = get("n_warmup_steps"), get("n_startup_trials")
        waits = f"never before epoch {warmup} is over and {startup} trials are complete"
        match self.name:
            case "none":
                return f"none: every trial runs to its end{self.why and f', since {self.why}'}"
            case "forecast":
                return (
                    "forecast: stops a trial that is not expected to reach the best, judged by what similar "
                    f"trials gained after the same epoch; {waits}"
                )
            case "median" | "percentile":
                share = "half" if self.name == "median" else "three quarters"
                return (
                    f"{self.name}: stops a trial that is worse than {share} of the completed ones at the "
                    f"same epoch; {waits}"
                )
            case "halving":
                return (
                    f"halving: first rung after epoch {get('min_resource')}, each next one "
                    f"{get('reduction_factor')} times later"
                )
            case _:
                return f"hyperband: brackets from {get('min_resource')} to {get('max_resource')} epochs"


def warmup(epochs: int) -> int:
    """Epochs before the pruners of Optuna stop a trial: a fifth of `epochs`, at least 2 and at most 10."""
    return min(10, max(2, math.ceil(epochs / 5)))


def plan_pruner(name: str, epochs: int) -> PrunerPlan:
    """Plan the pruner `name` for trials of at most `epochs` epochs; "auto" is the forecast pruner.

    The plan is "none" if a trial ends before the pruner could stop it.

    Raises:
        InputError: no such pruner.
    """
    plan = _pruner(name, epochs)
    # The forecast pruner may stop a trial after the first epoch that follows the warm-up, Optuna's pruners
    # after the last epoch of it. After the last epoch of all, no trial is pruned.
    first = {"forecast": "n_warmup_steps", "halving": "min_resource", "hyperband": "min_resource"}
    earliest = plan.arguments.get(first.get(plan.name, "n_warmup_steps"), 0) + (plan.name == "forecast")
    if plan.name == "none" or earliest < epochs:
        return plan
    trials = f"trials of {epochs} epoch{'s' * (epochs > 1)}"
    return PrunerPlan("none", {}, f"{trials} are too short for the pruner {plan.name}")


def _pruner(name: str, epochs: int) -> PrunerPlan:
    first = warmup(epochs)
    waits = {"n_startup_trials": STARTUP_TRIALS, "n_warmup_steps": first}
    match name:
        case "none":
            return PrunerPlan("none", {})
        case "auto" | "forecast":
            waits["n_warmup_steps"] = min(10, max(2, epochs // 10))
            return PrunerPlan("forecast", {"deviations": _DEVIATIONS, **waits})
        case "median":
            return PrunerPlan("median", waits)
        case "percentile":
            return PrunerPlan("percentile", {"percentile": 75.0, **waits})
        case "halving":
            return PrunerPlan("halving", {"min_resource": first, "reduction_factor": 3})
        case "hyperband":
            resources = {"min_resource": min(first, epochs), "max_resource": epochs}
            return PrunerPlan("hyperband", {**resources, "reduction_factor": 3})
    raise InputError(f"unknown pruner {name!r}", where="--pruner")


def make_pruner(plan: PrunerPlan, space: SearchSpace) -> BasePruner:
    """Make the pruner of `plan`."""
    from optuna import pruners

    from sasrecf_tune.search.strategies.forecast_pruner import ForecastPruner

    kinds: dict[str, Callable[..., BasePruner]] = {
        "none": pruners.NopPruner,
        "forecast": partial(ForecastPruner, space),
        "median": pruners.MedianPruner,
        "percentile": pruners.PercentilePruner,
        "halving": pruners.SuccessiveHalvingPruner,
        "hyperband": pruners.HyperbandPruner,
    }
    return kinds[plan.name](**plan.arguments)
