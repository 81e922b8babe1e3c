"""Simulated searches whose effects are known, to count false claims about effects."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sasrecf_tune.analysis.main_effects import main_effects
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.trials import State, TrialRecord

Design = Literal["random", "greedy", "pruned", "greedy and pruned", "tied", "greedy and tied"]
DESIGNS: tuple[Design, ...] = ("random", "greedy", "pruned", "greedy and pruned", "tied", "greedy and tied")
VALUES: Mapping[str, Sequence[float]] = {
    "n_layers": (1, 2, 3),
    "n_heads": (1, 2),
    "hidden_size": (32, 64, 128),
    "hidden_dropout_prob": (0.2, 0.35, 0.5),
}
NOISE = 0.002
METRIC = parse_metric("MRR@10")
# Of n_layers, for each of its values; the other parameters of VALUES are added.
Effects = Mapping[str, Mapping[float, float]]
NONE: Effects = {}
SOME: Effects = {"n_layers": {1: 0.0, 2: 0.008, 3: 0.003}, "hidden_size": {32: 0.0, 64: 0.003, 128: 0.006}}


@dataclass
class Claims:
    """How many studies had a claim about a parameter, and how many a false one."""

    studies: int = 0
    difference: int = 0
    no_difference: int = 0
    false_difference: int = 0
    false_no_difference: int = 0


def final_score(params: Mapping[str, Any], effects: Effects) -> float:
    """The score of a configuration without noise: a learning rate that is too high costs most."""
    x = math.log10(params["learning_rate"] / 2e-3)
    score = 0.06 - 0.015 * max(0.0, -x - 0.3) - 0.04 * max(0.0, x - 0.2)
    return score + sum(of_value[params[name]] for name, of_value in effects.items())


def simulated(design: Design, effects: Effects, count: int, seed: int) -> list[TrialRecord]:
    """A search of `count` trials.

    "greedy" changes the best trial so far, as a sampler that exploits does. "pruned" ends trials that are
    behind the best at half time. "tied" gives n_layers by the learning rate, mostly.
    """
    rng = random.Random(f"{design} {seed}")
    records: list[TrialRecord] = []
    best: TrialRecord | None = None
    for number in range(count):
        params: dict[str, Any] = {name: rng.choice(values) for name, values in VALUES.items()}
        params["learning_rate"] = 10 ** rng.uniform(-4, -2)
        if "greedy" in design and number >= 4 and best is not None and rng.random() < 0.8:
            params = best.params | {
                name: params[name] for name in rng.sample(sorted(params), rng.choice((1, 2)))
            }
            if rng.random() < 0.5:
                params["learning_rate"] = best.params["learning_rate"] * 10 ** rng.gauss(0, 0.2)
        if "tied" in design and rng.random() < 0.95:
            params["n_layers"] = 1 + sum(params["learning_rate"] > bound for bound in (4e-4, 3e-3))
        score = round(final_score(params, effects) + rng.gauss(0, NOISE), 4)
        half_time = score + rng.gauss(0, NOISE)
        pruned = "pruned" in design and best is not None and half_time < float(best.score or 0) - 2 * NOISE
        record = TrialRecord(number, State.PRUNED if pruned else State.COMPLETE, params, score=score)
        records.append(record)
        if not pruned and (best is None or score > float(best.score or 0)):
            best = record
    return records


def count_claims(records: Sequence[TrialRecord], effects: Effects, into: dict[str, Claims]) -> None:
    """Add the claims about the parameters of VALUES in one study."""
    for effect in main_effects(records, [*VALUES, "learning_rate"], METRIC):
        if effect.name not in VALUES:
            continue
        truth = {f"{value:g}": effects.get(effect.name, {}).get(value, 0.0) for value in VALUES[effect.name]}
        claims = into.setdefault(effect.name, Claims())
        claims.studies += 1
        best = truth[effect.levels[0].label]
        worse = [best - truth[level.label] for level in effect.levels if level.is_worse]
        alike = [(best - truth[level.label], level) for level in effect.levels[1:] if level.is_alike]
        claims.difference += bool(worse)
        claims.no_difference += bool(alike)
        claims.false_difference += any(difference <= 0 for difference in worse)
        claims.false_no_difference += any(abs(difference) > level.at_most for difference, level in alike)
