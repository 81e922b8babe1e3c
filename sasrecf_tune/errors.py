"""The errors that are shown to users.

    TuneError                 exit code 1  a failure at run time
    ├── InputError            exit code 2  invalid input, found before any training
    │   ├── ParamsFileError                a hyper.test file: file, line, column, caret
    │   ├── ParameterError                 a value or a combination that is invalid for every model
    │   ├── ConfigFileError                a YAML file or a `--set` option
    │   ├── DataError                      the data set: missing file, column, empty split
    │   ├── StudyMismatchError             the study exists with other settings
    │   └── StudyNotFoundError
    ├── StorageError                       the disk or the database fails
    ├── WorkerError                        a worker process does not start or crashes repeatedly
    └── Interrupted           exit code 130

An error says what is wrong, where, and what to do. `cli.app.main` prints it and exits with its code.
A traceback for a user error is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class TuneError(Exception):
    """The base of all errors: `what` is wrong, `where`, and the `fix`. `str()` is the message for users."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.what = what
        self.where = where
        self.fix = fix

    @property
    def message(self) -> str:
        """The message without the fix."""
        return f"{self.where}: {self.what}" if self.where else self.what

    def __str__(self) -> str:
        return f"{self.message}\n{self.fix}" if self.fix else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Workers send errors to the coordinator; default pickling loses keyword arguments.
        return _rebuild, (type(self), dict(self.__dict__))


def _rebuild(kind: type[TuneError], state: dict[str, object]) -> TuneError:
    error = kind.__new__(kind)
    Exception.__init__(error, state["what"], state["where"], state["fix"])
    error.__dict__.update(state)
    return error


class InputError(TuneError):
    """Invalid input, found before any training."""

    exit_code = 2


@dataclass(frozen=True)
class Location:
    """A position in a text file. `line` and `column` count from 1; `text` is the whole line."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def caret(self, width: int = 100) -> str:
        """Return the line with a caret below the column; a long line is cut to `width` around it."""
        start = max(0, self.column - 1 - width // 2) if len(self.text) > width else 0
        shown = self.text[start : start + width]
        visible = "".join(c if c.isprintable() or c == "\t" else "?" for c in shown)
        # Tabs remain in the padding, so that the caret is below its column in any terminal.
        padding = "".join("\t" if c == "\t" else " " for c in visible[: self.column - 1 - start])
        return f"    {visible}\n    {padding}^"


class ParamsFileError(InputError):
    """An error in a hyper.test file, shown with its line and a caret."""

    def __init__(self, what: str, *, at: Location | None = None, where: str = "", fix: str = "") -> None:
        super().__init__(what, where=str(at) if at else where, fix=fix)
        self.at = at

    def __str__(self) -> str:
        message = f"{self.where}: {self.what}" if self.where else self.what
        parts = [message, self.at.caret() if self.at else "", self.fix]
        return "\n".join(part for part in parts if part)


class ParameterError(InputError):
    """A value, or a combination of values, that is invalid for every model."""


class ConfigFileError(InputError):
    """An error in a YAML config file or a `--set` option."""


class DataError(InputError):
    """The data set lacks a file, a column, or enough interactions."""


class StudyMismatchError(InputError):
    """The study exists with another space, data set, metric or seed."""


class StudyNotFoundError(InputError):
    """The study does not exist."""


class StorageError(TuneError):
    """The disk or the database failed."""


class WorkerError(TuneError):
    """A worker process did not start or crashed repeatedly."""


class Interrupted(TuneError):  # noqa: N818  # like KeyboardInterrupt
    """The user or the system stopped the run."""

    exit_code = 130


def suggest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ": did you mean `x`?" for the most similar of `known`, "" if none reaches `cutoff`."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word[:100].lower(), by_lower, n=1, cutoff=cutoff)
    return f": did you mean `{by_lower[near[0]]}`?" if near else ""
