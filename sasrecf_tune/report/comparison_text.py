"""Studies side by side, for people: the tables on a terminal, and in sentences what they say."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.analysis.comparison import Comparison, Difference, Effort, Entry, unequal
from sasrecf_tune.analysis.confirmation import ALPHA
from sasrecf_tune.inputs.settings import format_duration
from sasrecf_tune.report.confirmation_text import estimate_cells, p_statement
from sasrecf_tune.report.terminal.console import print_table
from sasrecf_tune.trials import cell_text, score_text

_PARTS = {"valid": "validation", "test": "test"}


def show_comparison(found: Comparison, console: Console) -> None:
    """All there is to say."""
    wrap = not console.is_terminal

    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=wrap)

    say(heading(found))
    for headers, rows, confirmed in (
        (*scores(found), [entry.confirmed for entry in found.entries]),
        (*budgets(found), [True] * len(found.entries)),
    ):
        table = Table(pad_edge=False, box=None)
        for header in headers:
            name = header in ("study", "model")
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
        console.print()
    for sentence in sentences(found):
        say(sentence, "bold")
    for warning in warnings(found):
        say(f"warning: {warning}", "yellow")
    for entry in found.entries:
        say(f"{entry.name}: {winner(entry)}", "dim")
    say(note(found), "dim")


def heading(found: Comparison) -> str:
    """What was compared, and on what."""
    return f"{len(found.entries)} studies on {found.data}; by mean {found.metric} on validation"


def scores(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """The headers, and for each study what its best configuration scores."""
    key = found.metric.key
    headers = ["rank", "study", "model", f"valid {found.metric}", "sd", f"test {found.metric}", "sd"]
    rows = []
    for rank, entry in enumerate(found.entries, start=1):
        if entry.confirmed:
            place, valid = str(rank), estimate_cells(entry.on("valid", key))
        else:
            place, valid = "", (f"({score_text(entry.score)})", "-")
        test = estimate_cells(entry.on("test", key))
        rows.append([place, entry.name, model_text(entry), *valid, *test])
    return headers, rows


def budgets(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """The headers, and for each study what it took: its search, and the confirmation of its best trials."""
    headers = ["study", "weights", *(f"search\n{what}" for what in ("trials", "epochs", "time"))]
    headers += [f"confirm\n{what}" for what in ("trials", "seeds", "epochs", "time")]
    rows = []
    for entry in found.entries:
        weights, trials = f"{entry.weights:,}" if entry.weights else "-", str(entry.search.runs)
        if entry.search.runs < entry.planned:
            trials += f" of {entry.planned}"
        confirmed = [str(entry.rivals), str(len(entry.seeds)), *_took(entry.confirmation)]
        rows.append([entry.name, weights, trials, *_took(entry.search), *confirmed])
    return headers, rows


def sentences(found: Comparison) -> list[str]:
    """Which can be told apart, pair by pair, on validation and on test."""
    said = [
        _pair_text(difference, place)
        for part, place in _PARTS.items()
        for difference in found.differences[part]
    ]
    if said:
        return said
    confirmed = [entry for entry in found.entries if entry.confirmed]
    if len(confirmed) < 2:
        return ["Nothing can be told apart: two studies at least must have been confirmed."]
    return ["Nothing can be told apart: one seed says nothing about how much scores vary."]


def warnings(found: Comparison) -> list[str]:
    """What makes the comparison less than fair."""
    said = [
        f"{entry.name} has no rank: {entry.unconfirmed}. Its score, in brackets, is the best of "
        f"{entry.search.runs} trials on one seed, which flatters."
        for entry in found.entries
        if not entry.confirmed
    ]
    for what, least, most in unequal(found.entries):
        said.append(
            f"{least.name} was tuned less than {most.name}: {_amount(least, what)} {what} against "
            f"{_amount(most, what)}. A baseline that is tuned less is no baseline."
        )
    said += [
        f"the search of {entry.name} is not at its end: {entry.search.runs} of {entry.planned} trials"
        for entry in found.entries
        if entry.search.runs < entry.planned
    ]
    rivals = {entry.rivals: entry for entry in found.entries if entry.confirmed}
    if len(rivals) > 1:
        few, many = rivals[min(rivals)], rivals[max(rivals)]
        said.append(
            f"the winner of {many.name} is the best of {many.rivals} confirmed configurations, that of "
            f"{few.name} of {few.rivals}: the best of more has more luck. Give both the same --confirm."
        )
    return said


def winner(entry: Entry) -> str:
    """Such as "trial 3, n_layers=2"."""
    listed = " ".join(f"{name}={cell_text(value)}" for name, value in entry.params.items() if name != "seed")
    return f"trial {entry.trial}" + (f", {listed}" if listed else "")


def model_text(entry: Entry) -> str:
    """The model, and the item columns that it takes."""
    return f"{entry.model} [{', '.join(entry.features)}]" if entry.features else entry.model


def note(found: Comparison) -> str:
    """What the columns are, and what the test assumes."""
    said = ["Places are by validation alone; time: of training, summed over workers."]
    if any(found.differences.values()):
        several = max(map(len, found.differences.values())) > 1
        test = "Games and Howell's test, which is Welch's t-test for all pairs at once and"
        test = f"{test} lets" if several else "Welch's t-test, which lets"
        said.append(
            "±: 95% interval of a mean (Student's t) or of a difference; sd: between seeds. "
            f"p: {test} each study have a spread of its own; runs on the same seed are not taken for pairs, "
            "since a seed draws other numbers for another model. "
            f"A tie: p is above {ALPHA}, which does not say that the two are equal."
        )
    return " ".join(said)


def _pair_text(difference: Difference, place: str) -> str:
    first, second = difference.first.name, difference.second.name
    apart, p = f"{difference.mean:.4f} ± {difference.half:.4f}", p_statement(difference.p)
    if difference.tied:
        return f"On {place} {first} and {second} are a tie: {apart} apart ({p})."
    return f"On {place} {first} is better than {second}, by {apart} ({p})."


def _amount(entry: Entry, what: str) -> str:
    return f"{entry.search.runs if what == 'trials' else entry.search.epochs:,}"


def _took(effort: Effort) -> list[str]:
    return [f"{effort.epochs:,}", format_duration(effort.seconds)]
