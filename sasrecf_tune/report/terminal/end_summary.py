"""What `run` prints after a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from sasrecf_tune.analysis.bounds import at_bounds
from sasrecf_tune.analysis.search_summary import SearchSummary
from sasrecf_tune.analysis.winner import Winner
from sasrecf_tune.inputs.settings import SearchSettings
from sasrecf_tune.report.choice_text import choice_text, regret_text, untried_text
from sasrecf_tune.report.terminal.console import print_command, print_line, print_table
from sasrecf_tune.report.terminal.tables import print_failures, ranking_table, show_bounds, varied
from sasrecf_tune.report.text import count_text
from sasrecf_tune.search.plan import Plan
from sasrecf_tune.storage.directory import StudyDirectory, relative
from sasrecf_tune.trials import ENDED, Row, State, TrialRecord, cell_text, rank

if TYPE_CHECKING:
    from sasrecf_tune.search.limits import Outcome

_SHOWN_ROWS = 15

# Of a smaller expected regret only the rest of the space is suggested.
_LEAST_REGRET = 0.1


def show_end(
    plan: Plan,
    study_dir: StudyDirectory,
    records: list[TrialRecord],
    outcome: Outcome,
    winner: Winner | None,
    console: Console,
    summary: SearchSummary | None = None,
) -> None:
    """Print the ranked table, why the search ended, and what to do next.

    Args:
        winner: The content of best.yaml.
        summary: What the default search has found.
    """
    search = plan.settings.search
    ended = [record for record in records if record.state in ENDED]
    rows = rank(records, plan.settings.metric.maximize)
    if rows:
        _print_ranking(plan, study_dir, rows, console)
    print_failures(rows, console)
    stopped = outcome.interrupted or outcome.failed
    over = outcome.converged and summary is not None and summary.is_over(search.until)
    _print_reason(plan, study_dir, outcome, summary, over, console)
    # Trials of this run have all ended.
    elsewhere = sum(record.state == State.RUNNING for record in records)
    left = plan.trials - sum(not record.imported for record in ended) - elsewhere
    if left > 0:
        regret = summary.regret if summary is not None and over else None
        _print_continuation(study_dir, records, outcome, left, regret, console)
    if any(record.state == State.COMPLETE for record in ended):
        confirmed = winner is not None and winner.confirmation is not None
        if (over or left <= 0) and not (stopped or elsewhere or confirmed or search.confirm):
            command = f"sasrecf-tune confirm {study_dir.arguments}"
            print_command(console, "Recommended last step, the best again on fresh seeds:", command)
        _print_best(study_dir, winner, console)
        if winner is not None:
            show_bounds(at_bounds(winner.record.params, records, plan.space, plan.base), console)
    elif elsewhere:
        are = "trials are" if elsewhere > 1 else "trial is"
        console.print(
            f"No trial has completed yet; {elsewhere} {are} being trained elsewhere.", highlight=False
        )
    elif ended:
        console.print("No trial completed.", style="red")
    elif rows:
        console.print("No trial has completed yet.")


def _print_ranking(plan: Plan, study_dir: StudyDirectory, rows: list[Row], console: Console) -> None:
    metric, shown = plan.settings.metric, rows[:_SHOWN_ROWS]
    print_table(console, ranking_table(shown, varied(plan.space), metric, console.width))
    if len(rows) > len(shown):
        print_command(
            console,
            f"... and {len(rows) - len(shown)} more:",
            f"sasrecf-tune report {study_dir.arguments} --top 0",
        )
    fixed = [f"{p.name}={cell_text(p.values[0])}" for p in plan.space if p.name not in varied(plan.space)]
    if fixed:
        console.print(Text("the same in all trials: " + " ".join(fixed), style="dim"))
    if why := choice_text(rows, metric):
        console.print(Text(why))
    console.print()


def _print_reason(
    plan: Plan,
    study_dir: StudyDirectory,
    outcome: Outcome,
    summary: SearchSummary | None,
    over: bool,
    console: Console,
) -> None:
    """Print why the search ended; `over`: because little is left to gain."""
    metric, reason = plan.settings.metric, outcome.reason
    if summary is not None:
        regret = regret_text(summary, metric)
        reason = f"{regret}, below {_enough(plan, summary)}" if over else f"{reason}; {regret}"
    place = relative(study_dir.directory)
    print_line(console, f"{reason[:1].upper()}{reason[1:]}. Results: {place}")
    if summary is not None and (untried := untried_text(summary, metric)):
        print_line(console, f"{untried}.")


def _enough(plan: Plan, summary: SearchSummary) -> str:
    until = plan.settings.search.until
    if summary.share >= 1:
        return f"--until {until}"
    complete = count_text(summary.completed, "complete trial")
    return f"{summary.share * until:.2g}, which --until {until} comes to with {complete}"


def _print_continuation(
    study_dir: StudyDirectory,
    records: Sequence[TrialRecord],
    outcome: Outcome,
    left: int,
    regret: float | None,
    console: Console,
) -> None:
    """Print how to train the `left` trials; with a `regret`, how to go on although that is small enough."""
    states = {State.PAUSED: "paused", State.WAITING: "interrupted"}
    counts = [(sum(record.state == state for record in records), name) for state, name in states.items()]
    begun = ", ".join(f"{count} {name}" for count, name in counts if count)
    again = f"{count_text(left, 'trial')} left{f' ({begun})' if begun else ''}. To continue:"
    command = f"sasrecf-tune resume {study_dir.arguments}{outcome.resume_options}"
    if regret is not None:
        trials = "trial" if sum(count for count, _ in counts) == 1 else "trials"
        again = f"{f'{begun} {trials}. ' if begun else ''}A smaller --until continues:"
        # One that is not below it would end again at once.
        command += f" --until {f'{regret / 2:.1g}' if regret >= _LEAST_REGRET else 'never'}"
    print_command(console, again, command)


def _print_best(study_dir: StudyDirectory, winner: Winner | None, console: Console) -> None:
    which = ""
    if winner is not None and winner.record.imported:
        which = f" (trial {winner.trial}, imported from {winner.record.imported}; not trained here)"
    elif winner is not None and winner.confirmation is not None:
        which = f" (trial {winner.trial}, confirmed)"
    for text in (
        f"Best configuration: {relative(study_dir.best)}{which}",
        f"Report: {relative(study_dir.report)}",
    ):
        console.print(text, highlight=False, soft_wrap=True)


def winner_facts(winner: Winner | None) -> dict[str, object] | None:
    """Return the trial or run of best.yaml for a program."""
    if winner is None:
        return None
    record = winner.record
    facts = {"trial": winner.trial, "confirmed": winner.confirmation is not None}
    return facts | {"score": record.score, "seed": record.seed, "params": record.params}


def unconfirmed_text(
    search: SearchSettings, study_dir: StudyDirectory, peers: Sequence[tuple[str, str]]
) -> str:
    """Say that other runs go on, so that this one does not confirm, and who does."""
    names = ", ".join(name for name, _ in peers)
    command = f"sasrecf-tune confirm {study_dir.arguments}"
    return (
        f"not confirmed yet, since other runs still search ({names}): the last of them confirms if it has "
        f"--confirm. Otherwise: {command} --top {search.confirm} --seeds {search.confirm_seeds}"
    )
