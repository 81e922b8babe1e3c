"""Pruners by name: their arguments, how the plan describes them, and how to make them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sasrecf_tune.errors import InputError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

# Trials that must have completed before any trial is compared with them.
STARTUP_TRIALS = 4


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


def plan_pruner(name: str, epochs: int, sampler: str = "random") -> PrunerPlan:
    """Plan the pruner `name` for trials of at most `epochs` epochs, proposed by `sampler`.

    "auto" is none for freeze-thaw, which pauses trials; else it is the median pruner.

    The plan is "none" if a trial ends before the pruner could stop it.

    Raises:
        InputError: no such pruner.
    """
    if name == "auto" and sampler == "freeze-thaw":
        return PrunerPlan("none", {})
    plan = _pruner("median" if name == "auto" else name, epochs)
    # After the last epoch, no trial is pruned.
    first = {"halving": "min_resource", "hyperband": "min_resource"}
    earliest = plan.arguments.get(first.get(plan.name, "n_warmup_steps"), 0)
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


def make_pruner(plan: PrunerPlan) -> BasePruner:
    """Make the pruner of `plan`."""
    from optuna import pruners

    kinds: dict[str, Callable[..., BasePruner]] = {
        "none": pruners.NopPruner,
        "median": pruners.MedianPruner,
        "percentile": pruners.PercentilePruner,
        "halving": pruners.SuccessiveHalvingPruner,
        "hyperband": pruners.HyperbandPruner,
    }
    return kinds[plan.name](**plan.arguments)
