"""Combinations of values that cannot exist: found, counted and left out before anything is trained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sasrecf_tune.literals import Value
from sasrecf_tune.parameters import TABLE
from sasrecf_tune.space import SearchSpace

Configuration = Mapping[str, Value]

# RecBole's default for BPR (properties/overall.yaml); the rest of the keys are RecBole's to add.
_NEGATIVES: dict[str, Value] = {"distribution": "uniform", "sample_num": 1}


@dataclass(frozen=True)
class Constraint:
    """`broken` gets values of `names` and says what is wrong with them; `rule` says it in general."""

    names: tuple[str, ...]
    rule: str
    broken: Callable[..., bool]
    instance: Callable[..., str]


CONSTRAINTS = (
    Constraint(
        ("hidden_size", "n_heads"),
        "hidden_size is not divisible by n_heads",
        lambda hidden_size, n_heads: hidden_size % n_heads != 0,
        lambda hidden_size, n_heads: f"hidden_size {hidden_size} is not divisible by n_heads {n_heads}",
    ),
)


@dataclass(frozen=True)
class Feasibility:
    """How many configurations there are, how many can exist (None: infinitely many), and why others cannot.

    `reasons` are rules with the number of configurations each forbids; in an infinite space, the
    number of combinations of the parameters that the rule is about.
    """

    total: int | None
    feasible: int | None
    reasons: tuple[tuple[str, int], ...]


def resolve(config: Mapping[str, Value]) -> dict[str, Value]:
    """`config` with train_neg_sample_args following loss_type.

    RecBole wants None for CE and raises otherwise; for BPR it wants a mapping.
    """
    loss = config.get("loss_type", TABLE["loss_type"].default)
    if loss != "BPR":
        return {**config, "train_neg_sample_args": None}
    return {**config, "train_neg_sample_args": config.get("train_neg_sample_args") or dict(_NEGATIVES)}


def violations(config: Configuration) -> tuple[str, ...]:
    """What forbids `config`, one text for each broken rule; missing keys take their defaults."""
    found: list[str] = []
    for constraint in CONSTRAINTS:
        values = _values(constraint, config)
        if constraint.broken(*values):
            found.append(constraint.instance(*values))
    return tuple(found)


def feasibility(space: SearchSpace, base: Configuration) -> Feasibility:
    """Count without listing the whole product: only parameters that some rule is about are enumerated."""
    touched = [p for p in space if any(p.name in c.names for c in CONSTRAINTS)]
    # A rule about a parameter with infinitely many values is tested trial by trial instead.
    finite = [p for p in touched if p.size is not None]
    others = [p.size for p in space if p not in finite]
    rest = None if None in others else math.prod(size for size in others if size is not None)
    broken: dict[str, int] = {}
    feasible = 0
    for values in itertools.product(*(p.values for p in finite)):
        config = dict(base) | dict(zip((p.name for p in finite), values, strict=True))
        rules = [c.rule for c in CONSTRAINTS if c.broken(*_values(c, config))]
        feasible += not rules
        for rule in rules:
            broken[rule] = broken.get(rule, 0) + 1
    scale = 1 if rest is None else rest
    return Feasibility(
        total=space.size,
        feasible=0 if feasible == 0 else (None if rest is None else feasible * rest),
        reasons=tuple((rule, count * scale) for rule, count in broken.items()),
    )


def feasible_cells(space: SearchSpace, base: Configuration) -> Iterator[dict[str, Value]]:
    """The configurations of a finite space that can exist, in file order, the last parameter fastest."""
    for values in itertools.product(*(p.values for p in space)):
        cell = dict(zip(space.names, values, strict=True))
        if not violations({**base, **cell}):
            yield cell


def _values(constraint: Constraint, config: Configuration) -> list[Value]:
    return [config.get(name, TABLE[name].default) for name in constraint.names]
