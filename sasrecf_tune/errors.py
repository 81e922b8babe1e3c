"""Every error a user can meet, and nothing else.

    TuneError                 exit code 1  failed at run time
    ├── InputError            exit code 2  bad input, found before any work
    │   ├── ParamsFileError                a hyper.test file: file, line, column, caret
    │   ├── ParameterError                 a value or a combination that no model can have
    │   ├── ConfigFileError                a YAML file or a --set option
    │   ├── DataError                      the data set: missing file, column, empty split
    │   ├── StudyMismatchError             the study on disk was made from something else
    │   └── StudyNotFoundError
    ├── StorageError                       the disk or the database
    ├── WorkerError                        a worker process could not be kept alive
    └── Interrupted           exit code 130

An error says what is wrong, where, and what to do. `cli.py` prints it and exits with its code;
a traceback on user error is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class TuneError(Exception):
    """Base of all errors here: `what` is wrong, `where`, and the `fix`.

    `str()` of it is the message for people, one to a few lines.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.what = what
        self.where = where
        self.fix = fix

    @property
    def message(self) -> str:
        """What is wrong and where, without the fix."""
        return f"{self.where}: {self.what}" if self.where else self.what

    def __str__(self) -> str:
        return f"{self.message}\n{self.fix}" if self.fix else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross from workers to the coordinator; keyword arguments do not survive the default way.
        return _rebuild, (type(self), dict(self.__dict__))


def _rebuild(kind: type[TuneError], state: dict[str, object]) -> TuneError:
    error = kind.__new__(kind)
    Exception.__init__(error, state["what"], state["where"], state["fix"])
    error.__dict__.update(state)
    return error


class InputError(TuneError):
    """Bad input, found before any work was done."""

    exit_code = 2


@dataclass(frozen=True)
class Location:
    """A place in a text file: `line` and `column` count from 1, `text` is the whole line."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def caret(self, width: int = 100) -> str:
        """The line with a caret below the column; long lines are cut to `width` around it."""
        start = max(0, self.column - 1 - width // 2) if len(self.text) > width else 0
        shown = self.text[start : start + width]
        visible = "".join(c if c.isprintable() or c == "\t" else "?" for c in shown)
        # Tabs stay tabs in the padding, so the caret lands under its column in any terminal.
        padding = "".join("\t" if c == "\t" else " " for c in visible[: self.column - 1 - start])
        return f"    {visible}\n    {padding}^"


class ParamsFileError(InputError):
    """A mistake in a hyper.test file, shown with its line and a caret."""

    def __init__(self, what: str, *, at: Location | None = None, where: str = "", fix: str = "") -> None:
        super().__init__(what, where=str(at) if at else where, fix=fix)
        self.at = at

    def __str__(self) -> str:
        message = f"{self.where}: {self.what}" if self.where else self.what
        parts = [message, self.at.caret() if self.at else "", self.fix]
        return "\n".join(part for part in parts if part)


class ParameterError(InputError):
    """A value, or a combination of values, that no model can have."""


class ConfigFileError(InputError):
    """A mistake in a YAML config file or in a --set option."""


class DataError(InputError):
    """The data set lacks a file, a column, or enough interactions."""


class StudyMismatchError(InputError):
    """The study on disk was made from another space, data set, metric or seed."""


class StudyNotFoundError(InputError):
    """There is no such study."""


class StorageError(TuneError):
    """The disk or the database refused."""


class WorkerError(TuneError):
    """A worker process could not be started or kept alive."""


class Interrupted(TuneError):  # noqa: N818  # named as Ctrl-C is
    """The user or the system asked to stop."""

    exit_code = 130


def suggest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """': did you mean `x`?' for the nearest of `known`, '' when none is at least `cutoff` (0 to 1) alike."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word[:100].lower(), by_lower, n=1, cutoff=cutoff)
    return f": did you mean `{by_lower[near[0]]}`?" if near else ""
