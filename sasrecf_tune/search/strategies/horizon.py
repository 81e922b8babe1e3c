"""How long trials train, and where they may pause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.strategies.curve_scores import rungs


@dataclass(frozen=True)
class Horizon:
    """The epochs of a study's trials.

    Args:
        epochs: The most that a trial trains; a searched `epochs` has its own.
        eval_step: Epochs from one validation to the next.
        patience: Epochs without a better score, after which the next one ends a trial; None for never.
    """

    space: SearchSpace
    epochs: int
    eval_step: int = 1
    patience: int | None = None

    def last(self, labels: Mapping[str, Scalar]) -> int:
        """The last epoch of a configuration."""
        if "epochs" not in labels:
            return self.epochs
        return int(str(self.space["epochs"].value(labels["epochs"])))

    def steps(self, last: int) -> list[int]:
        """The epochs at which a trial that ends with `last` may pause, and `last`."""
        return [epoch for epoch in self._rungs if epoch < last] + [last]

    @cached_property
    def _rungs(self) -> list[int]:
        return rungs(self.epochs, self.eval_step)
