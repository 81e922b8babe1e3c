"""What `run` prints before a search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.inputs.settings import FREEZE_THAW, SearchSettings
from sasrecf_tune.messages import Timing
from sasrecf_tune.report.earlier_text import earlier_content, earlier_lines
from sasrecf_tune.report.terminal.console import print_table
from sasrecf_tune.report.text import count_text, parameters_text
from sasrecf_tune.search.plan import Plan
from sasrecf_tune.storage.directory import StudyDirectory, relative

_SHOWN_ROWS = 15


def plan_facts(plan: Plan) -> dict[str, object]:
    """Return the plan for a program."""
    return {
        "study": plan.settings.name,
        "model": plan.settings.model,
        "dataset": plan.data.dataset,
        "users": plan.data.users,
        "items": plan.data.items,
        "interactions": plan.data.interactions,
        "train_samples": plan.data.train_samples,
        "space": plan.settings.params_file.name,
        "configurations": plan.feasibility.total,
        "possible": plan.feasibility.feasible,
        "sampler": plan.sampler,
        "pruner": plan.pruner.name,
        "trials": plan.trials,
        "epochs": plan.epochs,
        "metric": str(plan.settings.metric),
        "seed": plan.settings.seed,
        "engine": plan.settings.engine,
        "executor": plan.settings.executor,
        "device": plan.data.device,
        "workers": plan.allocation.workers,
        "threads": plan.data.threads,
        "earlier": earlier_content(plan.earlier),
        "notes": plan.notes,
    }


def show_plan(
    plan: Plan, study_dir: StudyDirectory, console: Console, done: int = 0, again: int = 0, paused: int = 0
) -> None:
    """Print the plan for a person.

    Args:
        done: Trials that have ended before.
        again: Trials that were interrupted.
        paused: Trials that were paused.
    """
    data, counted = plan.data, plan.feasibility
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("study", Text(f"{study_dir.name} in {relative(study_dir.directory)}"))
    grid.add_row("model", plan.settings.model)
    grid.add_row(
        "data",
        Text(
            f"{data.dataset}: {data.users:,} users, {data.items:,} items, "
            f"{data.interactions:,} interactions; {data.train_samples:,} training sequences"
        ),
    )
    grid.add_row("space", Text(space_text(plan)))
    for reason, count in counted.reasons:
        grid.add_row("", f"{'some' if count is None else f'{count:,}'} cannot exist: {reason}")
    trials = count_text(plan.trials, "trial")
    what = {
        "grid": f"{_each(plan.trials)} once, in random order",
        FREEZE_THAW: f"at most {trials}, paused and resumed; the most promising one goes on",
    }.get(plan.sampler, f"{trials}, no duplicates")
    grid.add_row("search", f"{plan.sampler}: {what}; up to {count_text(plan.epochs, 'epoch')} each")
    if not plan.pauses or plan.pruner.name != "none":
        grid.add_row("pruner", str(plan.pruner))
    grid.add_row(
        "metric", f"{plan.settings.metric} on the validation set; nothing is selected on the test set"
    )
    if plan.pauses and plan.settings.search.until:
        until = plan.settings.search.until
        regret = f"{until} standard deviation{'s' if float(until) != 1 else ''} between seeds"
        grid.add_row("until", Text(f"the expected regret of the best trial is below {regret}"))
    if limits := _limits(plan.settings.search):
        grid.add_row("ends", Text(f"earlier {limits}"))
    if count := plan.settings.search.confirm:
        seeds = count_text(plan.settings.search.confirm_seeds, "fresh seed")
        grid.add_row("then", f"the best {count} again on {seeds} each, without pruning")
    if plan.settings.search.per_user:
        if plan.settings.search.confirm:
            when = "after each confirmation run"
        else:
            command = f"sasrecf-tune confirm {study_dir.arguments} --per-user"
            when = (
                f"by a confirmation, not by the trials of the search: add --confirm, or later run {command}"
            )
        grid.add_row("users", Text(f"the metrics of each user are written to per-user/ {when}"))
    if every := plan.settings.search.checkpoint_every:
        grid.add_row(
            "saves",
            f"a checkpoint of each running trial every {'epoch' if every == 1 else f'{every} epochs'}",
        )
    for number, text in enumerate(settings_lines(plan.fixed, plan.settings.sources)):
        grid.add_row("" if number else "set", Text(text))
    place = f"{data.place}: " if data.place else ""
    grid.add_row("device", f"{place}{data.device}, engine {plan.settings.engine}; {plan.allocation}")
    if done or again or paused:
        interrupted = f", {paused} paused" if paused else ""
        interrupted += f", {again} interrupted and to be run again" if again else ""
        total = f"{done} of {plan.trials}" if done <= plan.trials else f"{done}"
        trials = "trial" if max(done, plan.trials) == 1 else "trials"
        have = "has" if done == 1 else "have"
        grid.add_row("continues", f"{total} {trials} {have} ended{interrupted}")
    for work in plan.earlier:
        for number, text in enumerate(earlier_lines(work)):
            grid.add_row("" if number else "earlier", Text(text))
    for note in plan.notes:
        grid.add_row("note", Text(note))  # as Text, since it quotes values with brackets
    print_table(console, grid)
    console.print()


def settings_lines(config: Mapping[str, Any], sources: Mapping[str, str]) -> list[str]:
    """The settings of each config file and of `--set`, such as "base.yaml: epochs=50 n_layers=1".

    Settings without a source, from a manifest that does not have it, are on a line without a name.
    """
    found: dict[str, list[str]] = {}
    for key in config:
        found.setdefault(sources.get(key, ""), []).append(key)
    return [f"{source}: " * bool(source) + parameters_text(config, keys) for source, keys in found.items()]


def space_text(plan: Plan) -> str:
    """Such as "hyper.test: 120 configurations"."""
    counted, name = plan.feasibility, plan.settings.params_file.name
    if counted.total is None:
        return f"{name}: infinitely many configurations of {count_text(len(plan.space), 'parameter')}"
    if counted.feasible == counted.total:
        return f"{name}: {count_text(counted.total, 'configuration')}"
    return f"{name}: {counted.feasible:,} of {counted.total:,} configurations are possible"


def estimate(plan: Plan, timings: list[Timing], startup: float, gain: float = 1.0) -> float:
    """Estimate the seconds that all trials and runs of --confirm take if each trains all its epochs.

    Args:
        startup: Seconds until the first trial starts.
        gain: How many times as fast trials train when they are fused.
    """
    seconds = [
        timing.trial_seconds(plan.epochs) - plan.epochs * timing.train_seconds * (1 - 1 / gain)
        for timing in timings
    ]
    trial = sum(seconds) / len(seconds)
    # How many trials each worker trains; more workers than cores, or than trials, do not help.
    workers = plan.allocation.at_once or plan.allocation.workers
    turns = sum(math.ceil(count / workers) for count in (plan.trials, _confirming(plan)))
    return startup + trial * turns


def show_timings(plan: Plan, timings: list[Timing], in_all: float, console: Console) -> None:
    """Print how long an epoch takes, and the estimate for all trials (`in_all`, in seconds)."""
    seconds = sorted(timing.epoch_seconds for timing in timings)
    ends = [format_duration(seconds[0]), format_duration(seconds[-1])]
    span = " to ".join(dict.fromkeys(ends))
    again = f" and {count_text(_confirming(plan), 'confirmation run')}" if _confirming(plan) else ""
    prunes = plan.pruner.name != "none"
    shortened = "early stopping and pruning shorten it" if prunes else "early stopping shortens it"
    console.print(
        f"estimated from {count_text(timings[0].steps, 'step')} of "
        f"{count_text(len(seconds), 'configuration')}: {span} per epoch, about "
        f"{format_duration(in_all)} for {count_text(plan.trials, 'full trial')}{again}, including start-up "
        f"and tests; {shortened}",
        highlight=False,
        soft_wrap=True,
    )


def _confirming(plan: Plan) -> int:
    """Return how many runs of --confirm follow the search."""
    return min(plan.settings.search.confirm, plan.trials) * plan.settings.search.confirm_seeds


def _each(trials: int) -> str:
    return "the only configuration" if trials == 1 else f"each of the {trials:,} configurations"


def _limits(search: SearchSettings) -> str:
    limits = []
    if search.timeout is not None:
        limits.append(f"after {format_duration(search.timeout)}")
    if search.patience is not None:
        limits.append(
            f"after the epochs of {count_text(search.patience, 'full trial')} without a better result"
        )
    if search.fail_fast:
        limits.append("when a trial fails")
    return ", or ".join(limits)
