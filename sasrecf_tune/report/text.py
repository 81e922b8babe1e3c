"""Text that several tables and formats share: numbers, times, and lines of CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.trials import FORMULA, State, TrialRecord, cell_text

if TYPE_CHECKING:
    from sasrecf_tune.analysis.report_data import ReportData

# What json.dumps leaves as it is: 8-bit control characters, changes of direction, halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# Terminals act on control characters, and texts of others can contain them: in data, YAML keys, error texts,
# paths. Characters that change the direction of text can hide what a line says.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Replace control characters, other than line ends and tabs, by escapes such as \\x1b."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def count_text(count: int, noun: str) -> str:
    """Such as "1 trial" and "1,200 trials"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def trials_text(numbers: Sequence[int]) -> str:
    """Such as "trial 3" and "trials 3, 5"; at most ten numbers are listed."""
    more = f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
    return f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:10]))}{more}"


def states_text(data: ReportData) -> str:
    """Such as "24 complete, 14 pruned, 1 running or interrupted"; states without a trial are left out."""
    counts = {State.COMPLETE.value: data.completed}
    counts |= {state.value: data.count(state) for state in (State.PRUNED, State.PAUSED, State.FAILED)}
    counts["running or interrupted"] = data.unfinished
    return ", ".join(f"{n:,} {state}" for state, n in counts.items() if n or state == State.COMPLETE)


def parameter_cells(params: Mapping[str, object], names: Iterable[str]) -> list[str]:
    """The value of each of `names` in a table; empty for a parameter that `params` does not have."""
    return [cell_text(params[name]) if name in params else "" for name in names]


def parameters_text(params: Mapping[str, object], names: Iterable[str]) -> str:
    """Such as "n_layers=2 n_heads=1"; without those of `names` that `params` does not have."""
    return " ".join(f"{name}={cell_text(params[name])}" for name in names if name in params)


def epochs_text(record: TrialRecord) -> str:
    """Epochs trained, and in brackets the best one: "12 (7)"; "-" if an imported trial has none."""
    if record.imported and not record.epochs:
        return "-"
    return f"{record.epochs} ({record.best_epoch})" if record.best_epoch else str(record.epochs)


def percent_text(share: float) -> str:
    """A share (0 to 1) as a whole percentage; "<1%" for a small one that is not 0."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def seconds_text(seconds: float) -> str:
    """A duration of seconds to minutes with two digits: "0.42s", "4.2s", "42s", "1m 05s"."""
    if seconds < 9.95:
        return f"{seconds:.{2 if seconds < 0.995 else 1}f}s"
    return format_duration(seconds)


def timestamp_text(timestamp: object) -> str:
    """An ISO 8601 timestamp in UTC for people: "2026-01-01 10:00:00 UTC"."""
    return str(timestamp).replace("T", " ").replace("+00:00", " UTC")


def json_text(content: Any, indent: int | None = None) -> str:
    """`content` as JSON, which has no NaN or infinity: null in place of these, at any depth.

    Characters that a terminal acts on, or that cannot be encoded, are escaped.
    """
    text = json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False, default=str)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list | tuple) else content


def csv_line(cells: Sequence[object]) -> str:
    """One line of a CSV file; a cell that is None is empty.

    A text that a spreadsheet would evaluate as a formula, such as "=1+1" in the error of a study that came
    from somebody else, has an apostrophe before it.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(
        ["" if cell is None else _no_formula(cell) for cell in cells]
    )
    return text.getvalue()


def _no_formula(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(FORMULA):
        try:
            float(cell)
        except ValueError:
            return f"'{cell}"
    return cell


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] | range = ()
) -> str:
    """A Markdown table; columns whose index is in `left` are aligned left, the others right."""
    rule = ["---" if column in left else "---:" for column in range(len(header))]
    return "".join(_markdown_line(cells) for cells in (header, rule, *rows))


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown_text(cell).replace("|", "\\|") for cell in cells) + " |\n"


def markdown_text(text: str) -> str:
    """One line of Markdown without the meaning of elements, links and images, which a viewer would load.

    Example:
        >>> markdown_text("[class, <b>]"), markdown_text("![](http://example.org)")
        ('[class, &lt;b>]', '![]\\\\(http://example.org)')
    """
    return " ".join(text.replace("<", "&lt;").replace("](", "]\\(").splitlines())
