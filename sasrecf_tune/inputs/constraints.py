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

# Counting more combinations than this takes longer than a few seconds.
_MAX_COUNTED = 1_000_000
# RecBole's default for BPR (properties/overall.yaml); RecBole adds the other keys.
_NEGATIVE_SAMPLING: dict[str, Value] = {"distribution": "uniform", "sample_num": 1}


@dataclass(frozen=True)
class Constraint:
    """A rule about the values of `names`.

    Args:
        rule: What is wrong where it is broken, in general.
        is_broken: Takes the values of `names`.
        describe: Says what is wrong with the values that it takes.
    """

    names: tuple[str, ...]
    rule: str
    is_broken: Callable[..., bool]
    describe: Callable[..., str]

    def values(self, config: Configuration) -> list[Value]:
        """The values of `names` in `config`; a missing key has its default."""
        return [config.get(name, TABLE[name].default) for name in self.names]


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
    """How many configurations of a space can exist, and why others cannot; None is infinitely many.

    Args:
        reasons: Broken rules, each with the number of configurations that it excludes. More than a million
            combinations are not counted: `feasible` is `total` then, and each trial is checked.
    """

    total: int | None
    feasible: int | None
    reasons: tuple[tuple[str, int | None], ...]


def resolve(config: Configuration) -> dict[str, Value]:
    """`config` with train_neg_sample_args as RecBole wants it: None for CE, a mapping for BPR."""
    loss = config.get("loss_type", TABLE["loss_type"].default)
    if loss != "BPR":
        return {**config, "train_neg_sample_args": None}
    given = config.get("train_neg_sample_args")
    # RecBole takes "none" for no negatives.
    has_negatives = isinstance(given, dict) and str(given.get("distribution", "uniform")).lower() != "none"
    return {**config, "train_neg_sample_args": given if has_negatives else dict(_NEGATIVE_SAMPLING)}


def violations(config: Configuration) -> tuple[str, ...]:
    """A text for each constraint that `config` breaks; a missing key has its default."""
    values = [(constraint, constraint.values(config)) for constraint in CONSTRAINTS]
    return tuple(one.describe(*given) for one, given in values if one.is_broken(*given))


def feasibility(space: SearchSpace, base: Configuration) -> Feasibility:
    """Count the configurations that can exist; only parameters that a constraint is about are enumerated."""
    constrained = _constrained(space)
    if _combinations(constrained) > _MAX_COUNTED:
        return Feasibility(space.size, space.size, ())
    others = [p.size for p in space if p not in constrained]
    rest = None if None in others else math.prod(size for size in others if size is not None)
    broken: dict[str, int] = {}
    feasible = 0
    for values in itertools.product(*(p.values for p in constrained)):
        config = dict(base) | dict(zip((p.name for p in constrained), values, strict=True))
        rules = [one.rule for one in CONSTRAINTS if one.is_broken(*one.values(config))]
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
    constrained = _constrained(space)
    # The indices of constrained values that a feasible configuration begins with, of any length. They are
    # looked up at each level, so that no time is spent on what cannot be completed.
    feasible: set[tuple[int, ...]] | None = None
    if _combinations(constrained) <= _MAX_COUNTED:
        feasible = set()
        for pairs in itertools.product(*(enumerate(p.values) for p in constrained)):
            values = {p.name: value for p, (_, value) in zip(constrained, pairs, strict=True)}
            if not violations({**base, **values}):
                indices = tuple(index for index, _ in pairs)
                feasible.update(indices[:length] for length in range(len(indices) + 1))

    def complete(
        cell: dict[str, Value], left: Sequence[Parameter], indices: tuple[int, ...]
    ) -> Iterator[dict[str, Value]]:
        if feasible is not None and indices not in feasible:
            return
        if not left:
            if feasible is not None or not violations({**base, **cell}):
                yield cell
            return
        for index, value in enumerate(left[0].values):
            longer = (*indices, index) if left[0] in constrained else indices
            yield from complete({**cell, left[0].name: value}, left[1:], longer)

    return complete({}, tuple(space), ())


def _constrained(space: SearchSpace) -> list[Parameter]:
    """The finite parameters that a constraint is about; infinite ones are checked trial by trial."""
    names = {name for constraint in CONSTRAINTS for name in constraint.names}
    return [p for p in space if p.size is not None and p.name in names]


def _combinations(parameters: Sequence[Parameter]) -> int:
    return math.prod(p.size for p in parameters if p.size is not None)
