"""A confirmation for people: the table on a terminal, and in sentences what it says."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.analysis.confirmation import ALPHA, Confirmation, Estimate, Place, Verdict, on_test
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.inputs.settings import format_duration
from sasrecf_tune.report.terminal.console import print_table
from sasrecf_tune.trials import State, TrialRecord, cell_text, score_text

# Of the first's time: what is nearer to it is not said to be cheaper.
_CHEAPER = 0.9


def show_confirmation(
    confirmation: Confirmation,
    verdict: Verdict,
    metric: Metric,
    console: Console,
    names: Sequence[str] = (),
) -> None:
    """The table and what it says; `names` are parameters to list below it."""
    wrap = not console.is_terminal

    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=wrap)

    say(heading(confirmation, str(metric)))
    if verdict.places:
        print_table(console, places_table(confirmation, verdict, metric))
    for sentence in sentences(confirmation, verdict):
        say(sentence, "bold")
    for place in verdict.places if names else ():
        params = confirmation.configurations[place.trial]
        listed = " ".join(f"{name}={cell_text(params[name])}" for name in names if name in params)
        say(f"trial {place.trial}: {listed}", "dim")
    say(note(verdict), "dim")


def note(verdict: Verdict) -> str:
    """What the columns are, and what the test assumes."""
    said = ["Places are by validation alone."]
    if len(verdict.seeds) > 1:
        said.append("±: 95% interval of the mean (Student's t); sd: between seeds.")
    if verdict.tested:
        said.append(
            "p: against the first, by Tukey's HSD with the seeds as blocks, which allows for all comparisons "
            "and for the first being chosen; it assumes that scores vary from seed to seed alike in all "
            f"configurations. A tie: p is above {ALPHA}."
        )
    return " ".join(said)


def heading(confirmation: Confirmation, metric: str) -> str:
    """What was confirmed, and on what."""
    count, seeds = len(confirmation.configurations), confirmation.seeds
    ended = sum(run in confirmation.runs for run in confirmation.wanted)
    so_far = "" if confirmation.complete else f"; {ended} of {len(confirmation.wanted)} runs so far"
    return (
        f"Confirmation of {_count(count, 'configuration')} on {seeds_text(seeds)}, "
        f"by mean {metric} on validation{so_far}"
    )


def places_table(confirmation: Confirmation, verdict: Verdict, metric: Metric) -> Table:
    """Best first, in 80 columns; test metrics on the right, where there are any."""
    table = Table(pad_edge=False, box=None)
    headers, *rows = place_cells(confirmation, verdict, metric)
    for number, header in enumerate(headers):
        table.add_column(header, justify="right", style="bold" if number == 2 else None)
    for index, (place, cells) in enumerate(zip(verdict.places, rows, strict=True)):
        table.add_row(*cells, style="bold green" if index == 0 else "" if place.tied else "dim")
    return table


def place_cells(confirmation: Confirmation, verdict: Verdict, metric: Metric) -> list[list[str]]:
    """The headers, then a row for each place; test metrics where there are any."""
    tested = [f"test {metric}", "sd"] if confirmation.tests else []
    found = [["rank", "trial", f"valid {metric}", "sd", "p", *tested, "time"]]
    for rank, place in enumerate(verdict.places, start=1):
        test = on_test(confirmation, verdict, place.trial).get(metric.key)
        cells = [str(rank), str(place.trial), *estimate_cells(place.score), p_text(verdict, place)]
        cells += estimate_cells(test) if tested else ()
        found.append([*cells, format_duration(place.seconds)])
    return found


def sentences(confirmation: Confirmation, verdict: Verdict) -> list[str]:
    """What can be said about the order, and what was left out."""
    said = [_order_text(verdict, confirmation)]
    for seed, trials in verdict.failed_on.items():
        said.append(f"Seed {seed} is left out, since {_trials(trials)} failed on it.")
    if verdict.unreliable:
        failed = _trials(verdict.unreliable)
        said.append(f"Not compared, since half of its seeds or more failed: {failed}.")
    reasons = {
        record.error: f"trial {trial} on seed {seed} failed: {record.error}"
        for (trial, seed), record in confirmation.runs.items()
        if record.state == State.FAILED
    }
    return [*said, *reasons.values()]


def luck_text(verdict: Verdict, records: Sequence[TrialRecord], metric: Metric) -> str:
    """What the search had seen of the first, where its mean is worse; "" where not."""
    for place in verdict.places[:1]:
        seen = next((record.score for record in records if record.number == place.trial), None)
        if seen is not None and (seen > place.score.mean if metric.maximize else seen < place.score.mean):
            return (
                f"In the search trial {place.trial} had {score_text(seen)}. The best of many scores is "
                "partly luck: its mean here is the one to report."
            )
    return ""


def p_text(verdict: Verdict, place: Place) -> str:
    """Three decimals; a dash where nothing was tested."""
    return _digits(verdict.p(place))


def p_statement(p: float | None) -> str:
    """Such as "p = 0.012" or "p < 0.001"."""
    text = _digits(p)
    return f"p {text[0]} {text[1:]}" if text[0] == "<" else f"p = {text}"


def seeds_text(seeds: Sequence[int]) -> str:
    """Such as "5 fresh seeds (2021 to 2025)"."""
    if len(seeds) == 1:
        return f"one fresh seed ({seeds[0]})"
    return f"{len(seeds)} fresh seeds ({seeds[0]} to {seeds[-1]})"


def interval_text(estimate: Estimate) -> str:
    """Such as "0.0530 ± 0.0012"."""
    return " ".join(cell for cell in (score_text(estimate.mean), _half_text(estimate)) if cell)


def _order_text(verdict: Verdict, confirmation: Confirmation) -> str:
    places = verdict.places
    if not places:
        return "No run has completed."
    if len(verdict.seeds) < 2 and not confirmation.complete:
        return "Nothing can be said yet: all of them must have been trained on two seeds at least."
    if len(places) == 1:
        return "There is nothing to compare it with."
    if not verdict.tested and len(confirmation.seeds) > 1:
        return "Nothing can be said about the order: fewer than two seeds have a score of each of them."
    if not verdict.tested:
        return (
            "One seed says nothing about how much scores vary, so nothing can be said about the order. "
            "More seeds: sasrecf-tune confirm --seeds 5"
        )
    first, tied = places[0], verdict.tied
    if tied == 1:
        return (
            f"Trial {first.trial} is better than the other{_others(places)} confirmed here "
            f"({p_statement(verdict.p(places[1]))} against the second)."
        )
    cheapest = min(range(tied), key=lambda index: places[index].seconds)
    if places[cheapest].seconds > _CHEAPER * first.seconds:
        which = f"the first is about as cheap as any, {format_duration(first.seconds)} a run"
    else:
        took, against = (format_duration(each.seconds) for each in (places[cheapest], first))
        where = f"place {cheapest + 1}, trial {places[cheapest].trial}"
        which = f"the cheapest is {where}: {took} a run, not {against}"
    rest = "" if tied == len(places) else " The others are worse than the first."
    return f"Places 1 {'and' if tied == 2 else 'to'} {tied} are a tie; {which}.{rest}"


def _others(places: Sequence[Place]) -> str:
    return f", trial {places[1].trial}," if len(places) == 2 else f" {len(places) - 1}"


def _digits(p: float | None) -> str:
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def estimate_cells(estimate: Estimate | None) -> tuple[str, str]:
    """The mean with its interval, and the standard deviation."""
    if estimate is None:
        return "-", "-"
    return interval_text(estimate), score_text(estimate.sd)


def _half_text(estimate: Estimate) -> str:
    return "" if estimate.half is None else f"± {estimate.half:.4f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}s" if number > 1 else f"one {noun}"


def _trials(numbers: Sequence[int]) -> str:
    return f"trial{'s' * (len(numbers) > 1)} " + ", ".join(map(str, numbers))
