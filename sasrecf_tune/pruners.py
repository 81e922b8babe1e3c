"""Optuna pruners by name, with a warm-up before which no trial is ever pruned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sasrecf_tune.errors import InputError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

# Trials that must have ended before others are measured against them.
STARTUP_TRIALS = 4


@dataclass(frozen=True)
class PrunerPlan:
    """A pruner's name and arguments, as the plan prints and the manifest records them."""

    name: str
    arguments: dict[str, Any]

    @property
    def recorded(self) -> dict[str, Any]:
        """For the manifest."""
        return {"name": self.name, **self.arguments}

    def __str__(self) -> str:
        match self.name:
            case "none":
                return "none: every trial runs to its end"
            case "median" | "percentile":
                share = "half" if self.name == "median" else "three quarters"
                return (
                    f"{self.name}: stops a trial that {share} of the completed ones have left behind at the "
                    f"same epoch; never before epoch {self.arguments['n_warmup_steps']} is over and "
                    f"{self.arguments['n_startup_trials']} trials are complete"
                )
            case "halving":
                return (
                    f"halving: first rung after epoch {self.arguments['min_resource']}, each next one "
                    f"{self.arguments['reduction_factor']} times later"
                )
            case _:
                return (
                    f"hyperband: brackets from {self.arguments['min_resource']} to "
                    f"{self.arguments['max_resource']} epochs"
                )


def warmup(epochs: int) -> int:
    """Epochs that every trial is given: a fifth of all, ten at most, two at least."""
    return min(10, max(2, math.ceil(epochs / 5)))


def plan_pruner(name: str, epochs: int) -> PrunerPlan:
    """The pruner `name` for trials of at most `epochs` epochs; "auto" is the median pruner.

    Raises:
        InputError: no such pruner.
    """
    first = warmup(epochs)
    match name:
        case "none":
            return PrunerPlan("none", {})
        case "auto" | "median":
            return PrunerPlan("median", {"n_startup_trials": STARTUP_TRIALS, "n_warmup_steps": first})
        case "percentile":
            return PrunerPlan(
                "percentile",
                {"percentile": 75.0, "n_startup_trials": STARTUP_TRIALS, "n_warmup_steps": first},
            )
        case "halving":
            return PrunerPlan("halving", {"min_resource": first, "reduction_factor": 3})
        case "hyperband":
            return PrunerPlan(
                "hyperband",
                {"min_resource": min(first, epochs), "max_resource": epochs, "reduction_factor": 3},
            )
    raise InputError(f"unknown pruner {name!r}", where="--pruner")


def make_pruner(plan: PrunerPlan) -> BasePruner:
    """Optuna's pruner for `plan` (optuna.pruners.*)."""
    from optuna import pruners

    kinds: dict[str, type[BasePruner]] = {
        "none": pruners.NopPruner,
        "median": pruners.MedianPruner,
        "percentile": pruners.PercentilePruner,
        "halving": pruners.SuccessiveHalvingPruner,
        "hyperband": pruners.HyperbandPruner,
    }
    return kinds[plan.name](**plan.arguments)
