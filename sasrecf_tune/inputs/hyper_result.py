"""Reads hyper.result, the text file in which RecBole's run_hyper.py writes its results.

    learning_rate:0.001, n_layers:2
    Valid result:
    recall@10 : 0.1021    mrr@10 : 0.0412
    Test result:
    recall@10 : 0.0998    mrr@10 : 0.0402

A blank line follows each trial. Nothing is evaluated. The file has parameters and the metrics of the best
epoch; not the data, the model, the settings that all trials share, the epochs, or which metric the best epoch
was chosen by.

Source: recbole/trainer/hyper_tuning.py, `export_result` and `params2str`; recbole/utils/utils.py, `dict2str`.
"""

from __future__ import annotations

import math
import re

from sasrecf_tune.errors import Location, ResultsFileError
from sasrecf_tune.inputs.earlier_trials import EarlierTrial
from sasrecf_tune.inputs.literals import Value

_VALID, _TEST = "Valid result:", "Test result:"
# A value may contain commas; after this, a name follows.
_BETWEEN = re.compile(r", (?=[A-Za-z_][\w-]*:)", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][\w-]*(?=:)", re.ASCII)
_METRIC = re.compile(r"(?P<key>[A-Za-z]+(?:@\d{1,6})?) : (?P<value>[-+.\w]+)", re.ASCII)
_SPACE = re.compile(r"\s*")
_MOST_TRIALS = 100_000


def is_hyper_result(text: str) -> bool:
    """Whether a line of the text is one that each trial of hyper.result has."""
    return any(line.strip() == _VALID for line in text.splitlines())


def parse_hyper_result(text: str, source: str = "<text>") -> list[EarlierTrial]:
    """The trials in the text of a hyper.result file.

    Raises:
        ResultsFileError: The text has another form.

    Example:
        >>> lines = ["n_layers:2", "Valid result:", "mrr@10 : 0.04", "Test result:", "mrr@10 : 0.03"]
        >>> parse_hyper_result("\\n".join(lines))[0].valid
        {'mrr@10': 0.04}
    """
    lines = _Lines(text, source)
    trials: list[EarlierTrial] = []
    while lines.skip_blank():
        if len(trials) == _MOST_TRIALS:
            raise lines.error(f"more than {_MOST_TRIALS:,} trials")
        params = _parameters(lines)
        lines.expect(_VALID)
        valid = _metrics(lines)
        lines.expect(_TEST)
        trials.append(EarlierTrial(params, valid, _metrics(lines)))
    if not trials:
        raise ResultsFileError("there are no trials", where=source)
    return trials


class _Lines:
    """The lines of a file, of which `at` is the next one."""

    def __init__(self, text: str, source: str) -> None:
        self._lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._source = source
        self._at = 0

    def skip_blank(self) -> bool:
        """Go on to the next line with text; returns whether there is one."""
        while self._at < len(self._lines) and not self.text.strip():
            self._at += 1
        return self._at < len(self._lines)

    @property
    def text(self) -> str:
        """The next line, "" at the end of the file."""
        return self._lines[self._at].rstrip() if self._at < len(self._lines) else ""

    def take(self) -> None:
        """Go on to the line after it."""
        self._at += 1

    def expect(self, title: str) -> None:
        """Go on after a line that is `title`.

        Raises:
            ResultsFileError: The next line is another one.
        """
        if self.text.strip() != title:
            raise self.error(f"expected `{title}`")
        self.take()

    def error(self, what: str, column: int = 0) -> ResultsFileError:
        """The error `what` in the next line, at a column that counts from 0."""
        at = Location(self._source, self._at + 1, column + 1, self.text)
        fix = "Give hyper.result as RecBole's run_hyper.py writes it, trials.csv, or an Optuna database."
        return ResultsFileError(what, at=at, fix=fix)


def _parameters(lines: _Lines) -> dict[str, Value]:
    found: dict[str, Value] = {}
    column = 0
    for part in _BETWEEN.split(lines.text):
        name = _NAME.match(part)
        if name is None:
            raise lines.error("expected NAME:VALUE, NAME:VALUE, ...", column)
        if name[0] in found:
            raise lines.error(f"`{name[0]}` occurs twice", column)
        found[name[0]] = part[name.end() + 1 :]
        column += len(part) + 2
    lines.take()
    return found


def _metrics(lines: _Lines) -> dict[str, float]:
    found: dict[str, float] = {}
    text, at = lines.text, 0
    while (at := _after_space(text, at)) < len(text):
        match = _METRIC.match(text, at)
        value = _number(match["value"]) if match else None
        if match is None or value is None:
            raise lines.error("expected METRIC : NUMBER, such as mrr@10 : 0.0412", at)
        if match["key"].lower() in found:
            raise lines.error(f"`{match['key']}` occurs twice", at)
        found[match["key"].lower()] = value
        at = match.end()
    lines.take()
    return found


def _after_space(text: str, at: int) -> int:
    # No slice of the rest: a line may be long.
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if not math.isinf(value) else None
