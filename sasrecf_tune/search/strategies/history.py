"""The cells that a study has tried, so that no sampler reads all trials for each proposal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial

from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.search.imported_trials import is_provisional
from sasrecf_tune.storage.database.optuna_internals import QUEUED

Cell = tuple[Scalar, ...]


class History:
    """Knows which trial has which cell of the space."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._numbers: dict[Cell, int] = {}
        self._cells: dict[int, Cell] = {}

    def cell(self, labels: Mapping[str, Scalar]) -> Cell:
        """The values of `labels` in the order of the space.

        They pass through the space, since multiples that Optuna calculates may differ in their last digit.
        """
        return tuple(self._space.encode(self._space.decode(labels)).values())

    def add(self, number: int, labels: Mapping[str, Scalar]) -> None:
        """Add trial `number`, or replace its labels; incomplete labels are ignored."""
        if all(name in labels for name in self._space.names):
            cell = self.cell(labels)
            before = self._cells.get(number, cell)
            if before != cell and self._numbers.get(before) == number:
                del self._numbers[before]  # it was proposed, but the trial could not be written
            self._cells[number] = cell
            self._numbers.setdefault(cell, number)

    def add_trials(self, trials: Sequence[FrozenTrial]) -> None:
        """Add trials in any state; but the configuration of one that is not trusted may be trained here."""
        for trial in trials:
            if not is_provisional(trial):
                self.add(trial.number, trial.params or trial.system_attrs.get(QUEUED, {}))

    def taken(self, labels: Mapping[str, Scalar], number: int) -> bool:
        """Whether a trial other than `number` has this cell."""
        return self._numbers.get(self.cell(labels), number) != number
