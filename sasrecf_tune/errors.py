"""The errors that are shown to users.

    TuneError                 exit code 1  a failure at run time
    ├── InputError            exit code 2  invalid input, found before any training
    │   ├── TextFileError                  a mistake in a text file: file, line, column, caret
    │   │   ├── ParamsFileError            a hyper.test file
    │   │   └── ResultsFileError           results of an earlier search
    │   ├── ParameterError                 a value or a combination that is invalid for every model
    │   ├── ConfigFileError                a YAML file or a `--set` option
    │   ├── DataError                      the data set: missing file, column, empty split
    │   ├── UnknownReasonError             RecBole refuses the input, and why is not known
    │   ├── StudyMismatchError             the study exists with other settings
    │   ├── InputErrors                    several of the above, found at once
    │   └── StudyNotFoundError
    ├── StorageError                       the disk or the database fails
    ├── WorkerError                        a worker process does not start or crashes repeatedly
    └── Interrupted           exit code 130

An error says what is wrong, where, and what to do. `cli.app.main` prints it and exits with its code.
A traceback for a user error is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from typing_extensions import override

# Further mistakes are counted.
_MOST_SHOWN = 50
# Characters of a message: it may repeat a value or a name of somebody else's file.
_LONGEST = 5000
# Characters of a line that `Location.caret` shows.
_LINE_WIDTH = 100


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

    @property
    def mistakes(self) -> Sequence[TuneError]:
        """This error, or the errors that it consists of."""
        return (self,)

    @property
    def texts(self) -> list[str]:
        """What to print: a text for each of `mistakes`."""
        return [_shortened(str(self))]

    def __str__(self) -> str:
        return f"{self.message}\n{self.fix}" if self.fix else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Workers send errors to the coordinator; default pickling loses keyword arguments.
        return _rebuild, (type(self), dict(self.__dict__))


def _shortened(text: str) -> str:
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]} ... ({more:,} more characters)"


def _rebuild(kind: type[TuneError], state: dict[str, object]) -> TuneError:
    error = kind.__new__(kind)
    Exception.__init__(error, state["what"], state["where"], state["fix"])
    error.__dict__.update(state)
    return error


class InputError(TuneError):
    """Invalid input, found before any training."""

    exit_code = 2


def long_name_error(error: OSError) -> InputError:
    """Return the error for a path that the file system takes for too long."""
    return InputError("the name of the file or directory is too long", where=_shortened(str(error.filename)))


class InputErrors(InputError):  # noqa: N818  # plural: it has several
    """Several mistakes in the input, found at once."""

    def __init__(self, mistakes: Sequence[TuneError]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self._mistakes = tuple(mistakes)

    @property
    @override
    def mistakes(self) -> Sequence[TuneError]:
        return self._mistakes

    @property
    @override
    def texts(self) -> list[str]:
        more = len(self.mistakes) - _MOST_SHOWN
        rest = [f"{more:,} more mistakes that are not shown"] if more > 0 else []
        return [*(_shortened(str(mistake)) for mistake in self.mistakes[:_MOST_SHOWN]), *rest]

    def __str__(self) -> str:
        return "\n\n".join(self.texts)


class MistakeCollector:
    """Collects mistakes in a `with` block, so that the user sees all at once; its end raises them.

    Example:
        >>> with MistakeCollector() as mistakes:
        ...     for text in ("1", "x", "y"):
        ...         if not text.isdigit():
        ...             mistakes.add(InputError(f"{text} is not a number"))
        Traceback (most recent call last):
        sasrecf_tune.errors.InputErrors: x is not a number
        <BLANKLINE>
        y is not a number
    """

    def __init__(self) -> None:
        self._found: list[TuneError] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, *mistakes: InputError) -> None:
        """Keep these for the end of the block."""
        for mistake in mistakes:
            self._found += mistake.mistakes

    def sort(self, key: Callable[[TuneError], int]) -> None:
        """Put those kept so far in order; equal ones stay as they are."""
        self._found.sort(key=key)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep the mistakes that this inner block raises, and go on after it."""
        try:
            yield
        except InputError as error:
            self.add(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if isinstance(error, InputError):
            self.add(error)
        elif error is not None:
            return
        if self._found:
            raise self._found[0] if len(self._found) == 1 else InputErrors(self._found)


@dataclass(frozen=True)
class Location:
    """A position in a text file. `line` and `column` count from 1; `text` is the whole line."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def caret(self) -> str:
        """Return the line with a caret below the column; a long line is cut around it."""
        start = max(0, self.column - 1 - _LINE_WIDTH // 2) if len(self.text) > _LINE_WIDTH else 0
        shown = self.text[start : start + _LINE_WIDTH]
        visible = "".join(c if c.isprintable() or c == "\t" else "?" for c in shown)
        # Tabs remain in the padding, so that the caret is below its column in any terminal.
        padding = "".join("\t" if c == "\t" else " " for c in visible[: self.column - 1 - start])
        return f"    {visible}\n    {padding}^"


class TextFileError(InputError):
    """An error in a text file, shown with its line and a caret."""

    def __init__(self, what: str, *, at: Location | None = None, where: str = "", fix: str = "") -> None:
        super().__init__(what, where=str(at) if at else where, fix=fix)
        self.at = at

    def __str__(self) -> str:
        message = f"{self.where}: {self.what}" if self.where else self.what
        parts = [message, self.at.caret() if self.at else "", self.fix]
        return "\n".join(part for part in parts if part)


class ParamsFileError(TextFileError):
    """An error in a hyper.test file."""


class ResultsFileError(TextFileError):
    """An error in a file with the results of an earlier search."""


class ParameterError(InputError):
    """A value, or a combination of values, that is invalid for every model."""


class ConfigFileError(InputError):
    """An error in a YAML config file or a `--set` option."""


class DataError(InputError):
    """The data set lacks a file, a column, or enough interactions."""


class UnknownReasonError(InputError):
    """RecBole refuses a configuration or a data set for a reason that is not known here.

    The cause is RecBole's exception. Its text is for a log, not for users.
    """

    def __init__(self, what: str, *, where: str = "") -> None:
        super().__init__(f"{what}; the reason is not known", where=where)


class StudyMismatchError(InputError):
    """The study exists with another space, data set, metric or seed."""


class StudyNotFoundError(InputError):
    """The study does not exist."""


def no_completed_trial(study: str) -> StudyNotFoundError:
    """Return the error that no trial of the study called `study` has completed."""
    return StudyNotFoundError(
        "no trial of this study has completed",
        where=study,
        fix="Wait for one if a run is on, or continue the search with `sasrecf-tune resume`.",
    )


class StorageError(TuneError):
    """The disk or the database failed."""


class WorkerError(TuneError):
    """A worker process did not start or crashed repeatedly."""


class Interrupted(TuneError):  # noqa: N818  # like KeyboardInterrupt
    """The user or the system stopped the run."""

    exit_code = 130


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ": did you mean `x`?" for the most similar of `known`, "" if none is similar."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word[:100].lower(), by_lower, n=1)
    return f": did you mean `{by_lower[near[0]]}`?" if near else ""


def in_words(names: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, what it was raised from or while it was handled, and so on."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__
