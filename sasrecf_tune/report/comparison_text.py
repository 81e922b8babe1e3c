"""A comparison of studies for people: tables on a terminal, and the result in sentences."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.analysis.comparison import Comparison, Difference, Effort, Entry, unequal_budgets
from sasrecf_tune.analysis.confirmation import ALPHA
from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.report.confirmation_text import estimate_cells, p_statement
from sasrecf_tune.report.terminal.console import print_line, print_table
from sasrecf_tune.report.text import count_text, parameters_text
from sasrecf_tune.report.user_differences_text import (
    SEEDS_QUESTION,
    USERS_QUESTION,
    has_users,
    show_user_groups,
    user_sentences,
    user_warnings,
    users_note,
)

# Pairs that are written out: those of the best ten studies.
_MOST_PAIRS = 45
# Columns of names, and the characters that are enough for a folded one.
_NAMES = ("study", "model")
_FOLDED = 10
_PARTS = {"valid": "validation", "test": "test"}


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print both tables, the sentences and the warnings."""
    print_line(console, heading(comparison))
    for headers, rows, confirmed in (
        (*scores(comparison), [entry.confirmed for entry in comparison.entries]),
        (*budgets(comparison), [True] * len(comparison.entries)),
    ):
        if _least_width(headers, rows) > console.width:
            _print_blocks(headers, rows, console)
        else:
            _print_rows(headers, rows, confirmed, console)
        console.print()
    if has_users(comparison):
        print_line(console, SEEDS_QUESTION)
    for sentence in sentences(comparison):
        print_line(console, sentence, "bold")
    if has_users(comparison):
        print_line(console, USERS_QUESTION)
        for sentence in user_sentences(comparison):
            print_line(console, sentence, "bold")
        show_user_groups(comparison, console)
    for warning in warnings(comparison):
        print_line(console, f"warning: {warning}", "yellow")
    for entry in comparison.entries:
        print_line(console, f"{entry.name}: {winner(entry)}", "dim")
    print_line(console, note(comparison), "dim")


def _print_rows(headers: list[str], rows: list[list[str]], confirmed: list[bool], console: Console) -> None:
    table = Table(pad_edge=False, box=None)
    for header in headers:
        name = header in _NAMES
        table.add_column(
            header,
            justify="left" if name else "right",
            no_wrap=not name,
            overflow="fold",
            vertical="bottom",
        )
    for row, plain in zip(rows, confirmed, strict=True):
        table.add_row(*map(Text, row), style="" if plain else "dim")
    print_table(console, table)


def _print_blocks(headers: list[str], rows: list[list[str]], console: Console) -> None:
    """Print a line for each cell, below the name of its study."""
    for row in rows:
        cells = dict(enumerate(row))
        print_line(console, cells.pop(headers.index("study")), "bold")
        grid = Table.grid(padding=(0, 2))
        for column, cell in cells.items():
            if cell:
                grid.add_row(f"  {headers[column]}".replace("\n", " "), Text(cell))
        print_table(console, grid)


def _least_width(headers: list[str], rows: list[list[str]]) -> int:
    """Return the characters that a table of `rows` needs to be readable; names may be folded."""
    width = -2
    for header, cells in zip(headers, zip(*rows, strict=True), strict=True):
        longest = max(map(len, [*header.split("\n"), *cells]))
        width += 2 + (min(longest, _FOLDED) if header in _NAMES else longest)
    return width


def heading(comparison: Comparison) -> str:
    """Say what was compared, and on which data."""
    return (
        f"{len(comparison.entries)} studies on {comparison.data}; by mean {comparison.metric} on validation"
    )


def scores(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return the headers, and for each study the scores of its best configuration."""
    metric = comparison.metric
    headers = ["rank", "study", "model", f"valid {metric}", "sd", f"test {metric}", "sd"]
    rows = []
    for rank, entry in enumerate(comparison.entries, start=1):
        if entry.confirmed:
            place, valid = str(rank), estimate_cells(entry.on("valid", metric.key), metric)
        else:
            place, valid = "", (f"({metric.text(entry.score)})", "-")
        test = estimate_cells(entry.on("test", metric.key), metric)
        rows.append([place, entry.name, model_text(entry), *valid, *test])
    return headers, rows


def budgets(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return the headers, and for each study what its search and its confirmation took."""
    headers = ["study", "weights", *(f"search\n{what}" for what in ("trials", "epochs", "time"))]
    headers += [f"confirm\n{what}" for what in ("trials", "seeds", "epochs", "time")]
    rows = []
    for entry in comparison.entries:
        weights, trials = f"{entry.weights:,}" if entry.weights else "-", str(entry.search.runs)
        if entry.finished < entry.planned:
            trials += f" of {entry.planned}"
        if entry.imported:
            trials += f", {entry.imported} imported"
        confirmed = [str(entry.rivals), str(len(entry.seeds)), *_effort_cells(entry.confirmation)]
        rows.append([entry.name, weights, trials, *_effort_cells(entry.search), *confirmed])
    return headers, rows


def sentences(comparison: Comparison) -> list[str]:
    """Say for each pair which study is better, on validation and on test; for many studies not for all."""
    lines: list[str] = []
    for part, place in _PARTS.items():
        differences = comparison.differences[part]
        shown = differences[:_MOST_PAIRS]
        lines += [_pair_text(difference, place, comparison.metric) for difference in shown]
        if len(differences) > _MOST_PAIRS:
            more = len(differences) - _MOST_PAIRS
            lines.append(f"... and {more:,} more pairs on {place}: --format json has all.")
    if lines:
        return lines
    if sum(entry.confirmed for entry in comparison.entries) < 2:
        return ["No test: at least two studies must be confirmed."]
    return ["No test: one seed does not show how much scores vary."]


def warnings(comparison: Comparison) -> list[str]:
    """Say what makes the comparison less fair."""
    lines = [
        f"{entry.name} has no rank: {entry.unconfirmed}. Its score, in brackets, is the best of "
        f"{count_text(entry.finished, 'trial')} on one seed, which is too optimistic."
        for entry in comparison.entries
        if not entry.confirmed
    ]
    for what, least, most in unequal_budgets(comparison.entries):
        amount = count_text(_amount(least, what), what[:-1])
        lines.append(
            f"{least.name} was tuned less than {most.name}: {amount} against "
            f"{_amount(most, what):,}. Compare with a baseline that is tuned as much."
        )
    lines += [
        f"the search of {entry.name} is not finished: {entry.finished} of "
        f"{count_text(entry.planned, 'trial')}"
        for entry in comparison.entries
        if entry.finished < entry.planned
    ]
    lines += [
        f"{entry.name} has {count_text(entry.imported, 'imported trial')}, which the budget does not count: "
        "they were trained in an earlier search."
        for entry in comparison.entries
        if entry.imported
    ]
    lines += user_warnings(comparison)
    rivals = {entry.rivals: entry for entry in comparison.entries if entry.confirmed}
    if len(rivals) > 1:
        few, many = rivals[min(rivals)], rivals[max(rivals)]
        lines.append(
            f"the winner of {many.name} is the best of {many.rivals} confirmed configurations, that of "
            f"{few.name} of {few.rivals}, which favours {many.name}. Use the same --confirm for both."
        )
    return lines


def winner(entry: Entry) -> str:
    """Such as "trial 3, n_layers=2"."""
    listed = parameters_text(entry.params, (name for name in entry.params if name != "seed"))
    return f"trial {entry.trial}" + (f", {listed}" if listed else "")


def model_text(entry: Entry) -> str:
    """Such as "SASRecF [class]": the model and its item features."""
    return f"{entry.model} [{', '.join(entry.features)}]" if entry.features else entry.model


def note(comparison: Comparison) -> str:
    """Explain the columns and what the test assumes."""
    parts = ["Ranks are by validation only; time: training time, summed over workers."]
    if any(comparison.differences.values()):
        several = max(map(len, comparison.differences.values())) > 1
        test = "the Games-Howell test (Welch's t-test for all pairs at once)" if several else "Welch's t-test"
        parts.append(
            "±: 95% interval of a mean (Student's t) or of a difference; sd: between seeds. "
            f"p: {test}, which allows each study its own spread; runs on the same seed are not treated as "
            "pairs, because a seed draws different numbers for different models. "
            f"Tied: p is above {ALPHA}, which does not mean that the two are equal."
        )
    if has_users(comparison):
        parts.append(users_note(comparison))
    return " ".join(parts)


def _pair_text(difference: Difference, place: str, metric: Metric) -> str:
    first, second = difference.first.name, difference.second.name
    size = f"{metric.text(difference.mean)} ± {metric.text(difference.half_interval)}"
    p = p_statement(difference.p)
    if difference.tied:
        return f"On {place} {first} and {second} are tied: difference {size} ({p})."
    return f"On {place} {first} is better than {second} by {size} ({p})."


def _amount(entry: Entry, what: str) -> int:
    return entry.search.runs if what == "trials" else entry.search.epochs


def _effort_cells(effort: Effort) -> list[str]:
    return [f"{effort.epochs:,}", format_duration(effort.seconds)]
