"""Combinations of values that cannot exist: found, counted and left out before anything is trained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.search_space import Parameter, SearchSpace

Configuration = Mapping[str, Value]

# RecBole's default for BPR (properties/overall.yaml); the rest of the keys are RecBole's to add.
# More combinations than this are not counted beforehand: it would take longer than a few seconds.
_COUNTED = 1_000_000
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

    `reasons` are rules with the number of configurations each forbids, None in an infinite space. Where a
    rule is about more than a million combinations none is counted: `feasible` is then `total`, and impossible
    ones are met trial by trial.
    """

    total: int | None
    feasible: int | None
    reasons: tuple[tuple[str, int | None], ...]


def resolve(config: Mapping[str, Value]) -> dict[str, Value]:
    """`config` with train_neg_sample_args following loss_type.

    RecBole wants None for CE and raises otherwise; for BPR it wants a mapping.
    """
    loss = config.get("loss_type", TABLE["loss_type"].default)
    if loss != "BPR":
        return {**config, "train_neg_sample_args": None}
    given = config.get("train_neg_sample_args")
    # "none" is RecBole's other way to say that there are no negatives.
    some = isinstance(given, dict) and str(given.get("distribution", "uniform")).lower() != "none"
    return {**config, "train_neg_sample_args": given if some else dict(_NEGATIVES)}


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
    finite = _touched(space)
    if _number(finite) > _COUNTED:
        return Feasibility(space.size, space.size, ())
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
    return Feasibility(
        total=space.size,
        feasible=0 if feasible == 0 else (None if rest is None else feasible * rest),
        reasons=tuple((rule, None if rest is None else count * rest) for rule, count in broken.items()),
    )


def feasible_cells(space: SearchSpace, base: Configuration) -> Iterator[dict[str, Value]]:
    """The configurations of a finite space that can exist, in file order, the last parameter fastest."""
    touched = _touched(space)
    # What can follow is known at each step, so that no time is spent below a dead end.
    alive: set[tuple[int, ...]] | None = None
    if _number(touched) <= _COUNTED:
        alive = set()
        for pairs in itertools.product(*(enumerate(p.values) for p in touched)):
            if not violations({**base, **{p.name: v for p, (_, v) in zip(touched, pairs, strict=True)}}):
                indices = tuple(index for index, _ in pairs)
                alive.update(indices[:length] for length in range(len(indices) + 1))

    def below(
        cell: dict[str, Value], left: Sequence[Parameter], path: tuple[int, ...]
    ) -> Iterator[dict[str, Value]]:
        if alive is not None and path not in alive:
            return
        if not left:
            if alive is not None or not violations({**base, **cell}):
                yield cell
            return
        for index, value in enumerate(left[0].values):
            further = (*path, index) if left[0] in touched else path
            yield from below({**cell, left[0].name: value}, left[1:], further)

    return below({}, tuple(space), ())


def _touched(space: SearchSpace) -> list[Parameter]:
    """Parameters that some rule is about.

    A rule about a parameter with infinitely many values is tested trial by trial instead.
    """
    return [p for p in space if p.size is not None and any(p.name in c.names for c in CONSTRAINTS)]


def _number(parameters: Sequence[Parameter]) -> int:
    return math.prod(p.size for p in parameters if p.size is not None)


def _values(constraint: Constraint, config: Configuration) -> list[Value]:
    return [config.get(name, TABLE[name].default) for name in constraint.names]
