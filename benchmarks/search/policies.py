"""The policies that are compared, by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.search.curve_table import Table
from benchmarks.search.simulator import Play, Simulator
from sasrecf_tune.errors import InputError
from sasrecf_tune.search.policy import SearchPolicy

MakePolicy = Callable[[Table, int], SearchPolicy]
# A table, the policy's seed, workers.
PlayPolicy = Callable[[Table, int, int], Play]


def _grid(table: Table, seed: int, patience: int | None = None) -> SearchPolicy:
    from benchmarks.search.baseline_policies import RandomOrder

    return RandomOrder(table.cells, table.epochs, seed, patience)


def _asha(table: Table, seed: int) -> SearchPolicy:
    from benchmarks.search.baseline_policies import Asha

    return Asha(table.cells, table.epochs, seed)


def _random_halving(table: Table, seed: int) -> SearchPolicy:
    from optuna.samplers import RandomSampler

    from benchmarks.search.optuna_policies import OptunaPolicy
    from sasrecf_tune.search.strategies.pruners import make_pruner, plan_pruner

    order = np.random.default_rng(seed).permutation(len(table.cells))
    pruner = make_pruner(plan_pruner("halving", table.epochs))
    queue = [table.cells[at] for at in order]
    return OptunaPolicy(table.space, RandomSampler(seed), pruner, len(queue), queue)


def _tpe_median(table: Table, seed: int) -> SearchPolicy:
    from optuna.pruners import MedianPruner
    from optuna.samplers import TPESampler

    from benchmarks.search.optuna_policies import OptunaPolicy

    return OptunaPolicy(table.space, TPESampler(seed=seed), MedianPruner(), len(table.cells))


def _simulated(make: MakePolicy, table: Table, seed: int, workers: int) -> Play:
    return Simulator(table, workers).play(make(table, seed))


def _freeze_thaw(table: Table, seed: int) -> SearchPolicy:
    from benchmarks.search.freeze_thaw import freeze_thaw

    return freeze_thaw(table, seed)


# RecBole's is that of run_hyper.py. The last one has Optuna's defaults, as `hopwise tune`, but as many trials
# as cells, not ten, and its pruner gets the scores with the right sign.
POLICIES: dict[str, PlayPolicy] = {
    "auto": partial(_simulated, _freeze_thaw),
    "grid": partial(_simulated, _grid),
    "RecBole (stops after 10)": partial(_simulated, partial(_grid, patience=10)),
    "random, halving": partial(_simulated, _random_halving),
    "ASHA, resumed": partial(_simulated, _asha),
    "TPE, median": partial(_simulated, _tpe_median),
}


def find_policy(name: str) -> PlayPolicy:
    """Return a policy of POLICIES, or the function MODULE:FUNCTION of a table and a seed, that makes one.

    Raises:
        InputError: there is none.
    """
    if name in POLICIES:
        return POLICIES[name]
    module, _, function = name.partition(":")
    if not function:
        raise InputError(f"no policy {name!r}; there are {', '.join(POLICIES)}", where="--policies")
    return partial(_simulated, getattr(importlib.import_module(module), function))
