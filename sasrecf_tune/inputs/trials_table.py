"""Reads trials.csv and ranking.csv, the tables of trials that `run` writes."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sasrecf_tune.errors import Location, ResultsFileError
from sasrecf_tune.inputs.earlier_trials import EarlierTrial
from sasrecf_tune.inputs.literals import MOST
from sasrecf_tune.trials import FORMULA, State

# The columns around those of the parameters.
_BEFORE = ("number", "state")
_AFTER = ("trial_seed", "trained_epochs", "best_epoch", "seconds")
_VALID, _TEST = "valid ", "test "
_FIX = "Give trials.csv or ranking.csv as `sasrecf-tune run` writes them."


def is_trials_table(text: str) -> bool:
    """Whether the text begins as trials.csv or ranking.csv does."""
    first = text[:40].removeprefix("\ufeff").removeprefix("rank,")
    return first.startswith(",".join(_BEFORE) + ",")


def parse_trials_table(text: str, source: str = "<text>") -> tuple[list[EarlierTrial], Mapping[str, int]]:
    """Read the text of trials.csv or ranking.csv.

    Returns:
        The completed trials, and how many others there are in each state.

    Raises:
        ResultsFileError: The text is no such table.
    """
    text = text.removeprefix("\ufeff")
    lines = text.split("\n")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    trials: list[EarlierTrial] = []
    others: Counter[str] = Counter()
    header: list[str] | None = None
    while True:
        at = Location(source, reader.line_num + 1, 1, "")
        if at.line <= len(lines):
            at = Location(source, at.line, 1, lines[at.line - 1].rstrip("\r"))
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ResultsFileError("a quote is missing or in the wrong place", at=at, fix=_FIX) from error
        if cells is None:
            return trials, others
        if header is None:
            header = _checked_header(cells, at)
        elif cells:
            row = _Row(header, cells, at)
            trial = row.trial()
            if trial is None:
                others[row.state] += 1
            else:
                trials.append(trial)


def _checked_header(cells: list[str], at: Location) -> list[str]:
    missing = [name for name in (*_BEFORE, *_AFTER) if name not in cells]
    what = ""
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        what = f"there {'is no column' if len(missing) == 1 else 'are no columns'} {names}"
    elif len(set(cells)) < len(cells):
        what = "two columns have the same name"
    elif tuple(cells[cells[0] == "rank" :][:2]) != _BEFORE:  # the columns of parameters follow these
        what = "`number` and `state` are not the first columns"
    if what:
        raise ResultsFileError(what, at=at, fix=_FIX)
    return cells


@dataclass(frozen=True)
class _Row:
    """A line of the table."""

    header: list[str]
    cells: list[str]
    at: Location

    @property
    def state(self) -> str:
        """The state of the trial."""
        return self.cells[self.header.index("state")]

    def trial(self) -> EarlierTrial | None:
        """The trial, None if it did not complete.

        Raises:
            ResultsFileError: A value is invalid.
        """
        if len(self.cells) != len(self.header):
            raise self._error(f"{len(self.cells)} columns, not {len(self.header)} as in the first line", 0)
        state = self.header.index("state")
        if self.cells[state] not in [one.value for one in State]:
            raise self._error("no state of a trial", state)
        if self.cells[state] != State.COMPLETE:
            return None
        names = self.header[state + 1 : self.header.index(_AFTER[0])]
        return EarlierTrial(
            params={name: _plain(self._text(name)) for name in names},
            valid=self._metrics(_VALID),
            test=self._metrics(_TEST),
            seed=self._count("trial_seed") if self._text("trial_seed") else None,
            epochs=self._count("trained_epochs"),
            best_epoch=self._count("best_epoch"),
            seconds=max(0.0, self._number("seconds")),
        )

    def _text(self, name: str) -> str:
        return self.cells[self.header.index(name)]

    def _metrics(self, start: str) -> dict[str, float]:
        names = [name for name in self.header if name.startswith(start) and self._text(name)]
        return {name.removeprefix(start): self._number(name) for name in names}

    def _count(self, name: str) -> int:
        value = self._number(name)
        if not (value.is_integer() and 0 <= value <= MOST):
            raise self._error("not a whole number from 0", self.header.index(name))
        return int(value)

    def _number(self, name: str) -> float:
        try:
            value = float(self._text(name))
        except ValueError:
            value = math.inf
        if math.isinf(value) or abs(value) > 1e12:
            raise self._error("not a number", self.header.index(name))
        return value

    def _error(self, what: str, index: int) -> ResultsFileError:
        # The cells before it are as long as they are written, unless one has quotes.
        column = sum(len(cell) + 1 for cell in self.cells[:index])
        at = Location(self.at.file, self.at.line, min(column, len(self.at.text)) + 1, self.at.text)
        name = self.header[index]
        return ResultsFileError(f"`{name}`: {what}" if index else what, at=at, fix=_FIX)


def _plain(cell: str) -> str:
    # `csv_line` writes an apostrophe before it.
    plain = cell.removeprefix("'")
    return plain if plain.startswith(FORMULA) else cell
