"""A confirmation for people: the table on a terminal, and its result in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from sasrecf_tune.analysis.confirmation import ALPHA, Confirmation, Estimate, Verdict, on_test
from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.inputs.metrics import Metric
from sasrecf_tune.report.terminal.console import print_line, print_table
from sasrecf_tune.report.text import count_text, parameters_text, trials_text
from sasrecf_tune.trials import State, TrialRecord


def show_confirmation(
    confirmation: Confirmation,
    verdict: Verdict,
    metric: Metric,
    console: Console,
    names: Sequence[str] = (),
) -> None:
    """Print the table and what it says, then the parameters `names` of each configuration."""
    print_line(console, heading(confirmation, str(metric)))
    if verdict.places:
        print_table(console, places_table(confirmation, verdict, metric))
    for sentence in sentences(confirmation, verdict):
        print_line(console, sentence, "bold")
    for place in verdict.places if names else ():
        params = confirmation.configurations[place.trial]
        print_line(console, f"trial {place.trial}: {parameters_text(params, names)}", "dim")
    print_line(console, note(verdict), "dim")


def note(verdict: Verdict) -> str:
    """Explain the columns and what the test assumes."""
    parts = ["Ranks are by validation only."]
    if len(verdict.seeds) > 1:
        parts.append("±: 95% interval of the mean (Student's t); sd: between seeds.")
    if verdict.tested:
        parts.append(
            "p: comparison with the first, by Tukey's HSD with the seeds as blocks, which corrects for all "
            "comparisons and for the choice of the first; it assumes that a seed shifts the scores of all "
            f"configurations alike. Tied: p is above {ALPHA}."
        )
    return " ".join(parts)


def heading(confirmation: Confirmation, metric: str) -> str:
    """Say what was confirmed, and on which seeds."""
    configurations = count_text(len(confirmation.configurations), "configuration")
    ended = sum(run in confirmation.runs for run in confirmation.wanted)
    so_far = (
        "" if confirmation.complete else f"; {ended} of {count_text(len(confirmation.wanted), 'run')} so far"
    )
    return (
        f"Confirmation of {configurations} on {seeds_text(confirmation.seeds)}, "
        f"by mean {metric} on validation{so_far}"
    )


def places_table(confirmation: Confirmation, verdict: Verdict, metric: Metric) -> Table:
    """Return the table, best first, in 80 columns; test metrics, if any, are on the right."""
    table = Table(pad_edge=False, box=None)
    headers, *rows = place_cells(confirmation, verdict, metric)
    for number, header in enumerate(headers):
        table.add_column(header, justify="right", style="bold" if number == 2 else None)
    for index, (place, cells) in enumerate(zip(verdict.places, rows, strict=True)):
        table.add_row(*cells, style="bold green" if index == 0 else "" if place.tied else "dim")
    return table


def place_cells(confirmation: Confirmation, verdict: Verdict, metric: Metric) -> list[list[str]]:
    """Return the headers, then a row for each place; with test metrics if there are any."""
    tested = [f"test {metric}", "sd"] if confirmation.tests else []
    table = [["rank", "trial", f"valid {metric}", "sd", "p", *tested, "time"]]
    for rank, place in enumerate(verdict.places, start=1):
        test = on_test(confirmation, verdict, place.trial).get(metric.key)
        cells = [str(rank), str(place.trial), *estimate_cells(place.score, metric), p_text(verdict.p(place))]
        cells += estimate_cells(test, metric) if tested else ()
        table.append([*cells, format_duration(place.seconds)])
    return table


def sentences(confirmation: Confirmation, verdict: Verdict) -> list[str]:
    """Say what follows about the order, and what was excluded."""
    lines = [_order_text(verdict, confirmation)]
    for seed, trials in verdict.failed_on.items():
        lines.append(f"Seed {seed} is excluded because {trials_text(trials)} failed on it.")
    if verdict.unreliable:
        failed = trials_text(verdict.unreliable)
        lines.append(f"Not compared because at least half of their runs failed: {failed}.")
    reasons = {
        record.error: f"trial {trial} on seed {seed} failed: {record.error}"
        for (trial, seed), record in confirmation.runs.items()
        if record.state == State.FAILED
    }
    return [*lines, *reasons.values()]


def luck_text(verdict: Verdict, records: Sequence[TrialRecord], metric: Metric) -> str:
    """Give the score that the first had in the search, if its mean is worse; else ""."""
    for place in verdict.places[:1]:
        score = next((record.score for record in records if record.number == place.trial), None)
        if score is not None and (score > place.score.mean if metric.maximize else score < place.score.mean):
            return (
                f"In the search trial {place.trial} had {metric.text(score)}. The best of many scores is "
                "partly luck: report its mean here."
            )
    return ""


def p_text(p: float | None) -> str:
    """A p value with three decimals; a dash where nothing was tested."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def p_statement(p: float | None) -> str:
    """Such as "p = 0.012" or "p < 0.001"."""
    text = p_text(p)
    return f"p {text[0]} {text[1:]}" if text[0] == "<" else f"p = {text}"


def seeds_text(seeds: Sequence[int]) -> str:
    """Such as "5 fresh seeds (2021 to 2025)"."""
    span = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    return f"{count_text(len(seeds), 'fresh seed')} ({span})"


def interval_text(estimate: Estimate, metric: Metric) -> str:
    """Such as "0.0530 ± 0.0012"."""
    half = estimate.half_interval
    return metric.text(estimate.mean) + ("" if half is None else f" ± {metric.text(half)}")


def estimate_cells(estimate: Estimate | None, metric: Metric) -> tuple[str, str]:
    """The mean with its interval, and the standard deviation."""
    return ("-", "-") if estimate is None else (interval_text(estimate, metric), metric.text(estimate.sd))


def _order_text(verdict: Verdict, confirmation: Confirmation) -> str:
    places = verdict.places
    if not places:
        return "No run has completed."
    if len(verdict.seeds) < 2 and not confirmation.complete:
        return "The order is not tested yet: every configuration needs completed runs on two seeds or more."
    if len(places) == 1:
        return "There is no other configuration to compare it with."
    if not verdict.tested and len(confirmation.seeds) > 1:
        return "The order is not tested: fewer than two seeds have a score of every configuration."
    if not verdict.tested:
        return (
            "The order is not tested: one seed does not show how much scores vary. "
            "For more seeds: sasrecf-tune confirm --seeds 5"
        )
    first, tied = places[0], verdict.tied
    if tied == 1:
        p = p_statement(verdict.p(places[1]))
        if len(places) == 2:
            return f"Trial {first.trial} is better than trial {places[1].trial} ({p})."
        return (
            f"Trial {first.trial} is better than the other {len(places) - 1} configurations "
            f"({p} against the second)."
        )
    rest = "" if tied == len(places) else " The others are worse than the first."
    return f"Ranks 1 {'and' if tied == 2 else 'to'} {tied} are tied.{rest}"
