"""`sasrecf-tune run`, from settings to the ranked table."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sasrecf_tune.analysis.bounds import at_bounds
from sasrecf_tune.analysis.winner import pick_winner
from sasrecf_tune.cli.session import (
    Display,
    check_inputs,
    choose_fusion,
    open_scratch,
    open_session,
    prepare_data,
)
from sasrecf_tune.cli.signals import stopping_on_signals
from sasrecf_tune.cli.worker_allocation import allocate_workers
from sasrecf_tune.errors import in_words
from sasrecf_tune.executors.base import Executor
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.messages import Measure
from sasrecf_tune.report.bounds_text import bounds_content
from sasrecf_tune.report.choice_text import summary_content
from sasrecf_tune.report.terminal.end_summary import show_end, unconfirmed_text, winner_facts
from sasrecf_tune.report.terminal.plan_summary import (
    estimate,
    plan_facts,
    show_plan,
    show_timings,
)
from sasrecf_tune.report.terminal.progress import make_progress
from sasrecf_tune.report.terminal.tables import varied
from sasrecf_tune.report.text import count_text
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.plan import Plan, first_configuration, make_plan, with_device_note
from sasrecf_tune.storage.directory import StudyDirectory, study_directory
from sasrecf_tune.storage.manifest import read_manifest, settings_content, write_manifest
from sasrecf_tune.storage.manifest_schema import Planned
from sasrecf_tune.tracking.trackers import check_trackers
from sasrecf_tune.trials import ENDED, LISTED, State, TrialRecord, rank

if TYPE_CHECKING:
    from sasrecf_tune.search.limits import Outcome
    from sasrecf_tune.search.study import TuneStudy

_MEASURED_STEPS = 3


def run(
    settings: RunSettings,
    space: SearchSpace,
    console: Console,
    *,
    as_json: bool = False,
    callbacks: Sequence[Callback] = (),
    fresh: bool = False,
    retry_failed: bool = False,
) -> int:
    """Search, show progress, and print the ranked table.

    Args:
        callbacks: Called after the result files are up to date.
        fresh: Delete an existing study of this name, once the data is prepared.
        retry_failed: Put failed trials back in the queue.

    Returns:
        The exit code.

    Raises:
        TuneError: The search failed; bad input is found before any training.
    """
    from sasrecf_tune.cli.confirm import confirm_best
    from sasrecf_tune.report.page.render import write_page
    from sasrecf_tune.report.study_files import ResultFiles
    from sasrecf_tune.search.confirmation_study import load_confirmations
    from sasrecf_tune.search.earlier.sources import read_sources
    from sasrecf_tune.search.peers import with_peer_notes
    from sasrecf_tune.search.study_setup import planned_study, with_earlier_work, without_imported
    from sasrecf_tune.storage.database import maintenance
    from sasrecf_tune.storage.database.errors import reading_errors
    from sasrecf_tune.storage.database.open import open_storage
    from sasrecf_tune.storage.database.study_name import check_begun, renamed_note
    from sasrecf_tune.tracking.tracking import Tracking

    check_trackers(settings.log)
    checked = check_inputs(settings, space)
    settings = checked.settings
    sources = read_sources(settings)
    study_dir = study_directory(settings.out, settings.name)
    display = Display(console, as_json)
    allocation = allocate_workers(settings, space, checked.base)
    with open_session(settings, study_dir, allocation, fresh) as executor, contextlib.ExitStack() as stack:
        data = prepare_data(checked, space, executor, display)
        plan = make_plan(settings, space, checked.base, data, allocation)
        plan, imports = with_earlier_work(plan, sources)
        plan, _ = choose_fusion(plan, executor, display)
        if fresh:
            maintenance.delete_study(study_dir, settings.storage)
        storage = open_storage(study_dir, settings.storage)
        check_begun(study_dir, storage, settings.storage)
        if retry_failed:
            failed = maintenance.retry_failed(study_dir, storage, settings.storage)
            display.note(f"{count_text(failed, 'failed trial')} to be tried again")
        with reading_errors(study_dir, settings.storage):
            if note := renamed_note(storage, study_dir):
                plan = replace(plan, notes=(*plan.notes, note))
            study = planned_study(plan, study_dir, storage, display.note, imports)
            plan = without_imported(plan, study)
            records = study.records()
            _, confirmed, _ = load_confirmations(study_dir, storage, space, records)
        plan = with_device_note(plan, study.devices())
        plan = with_peer_notes(_record_plan(plan, study_dir, records), study.peers.list_peers())
        files = ResultFiles(study_dir, plan, study, confirmed=confirmed)
        tracking = stack.enter_context(Tracking(plan, study, study_dir, display.note))
        outcome = _search(plan, study, study_dir, executor, [files, tracking, *callbacks], records, display)
        records = study.records()
        winner = pick_winner(records, confirmed, study.maximize, settings.unit)
        found = at_bounds(winner.record.params, records, space, checked.base) if winner is not None else []
        ended = {"reason": outcome.reason, "ended": outcome.done, "directory": str(study_dir.directory)}
        summary = study.current_summary()
        known = summary_content(summary, rank(records, study.maximize), settings.metric)
        display.emit("end", **ended, **bounds_content(found), **known, best=winner_facts(winner))
        if not as_json:
            show_end(plan, study_dir, records, outcome, winner, console, summary)
        if any(record.state in LISTED for record in records):
            write_page(study_dir, settings, space)  # after the table: it takes longer
        last = study.peers.leave(wait_for_silent=bool(settings.search.confirm) and not outcome.interrupted)
        if last and study.peers.met_peers:
            # Other runs, which have left by now, may have written to the same directory.
            records = study.records()
            files.again(records)
            write_page(study_dir, settings, space)
        if last and not outcome.interrupted:  # else other runs, or the next one, may change the order
            files.drop_weights()
        code = _exit_code(outcome, records, last)
        if settings.search.confirm and not code and not last:
            display.note(unconfirmed_text(settings.search, study_dir, study.peers.list_peers()))
        elif settings.search.confirm and not code:
            code = confirm_best(plan, study_dir, storage, records, executor, display)
            write_page(study_dir, settings, space)
            _, confirmed, _ = load_confirmations(study_dir, storage, space, records)
        if settings.log:
            winner = pick_winner(records, confirmed, study.maximize, settings.unit)
            with display.status(f"logging to {in_words(settings.log)}"):
                tracking.finish(records, winner, outcome, last)
        return code


def dry_run(settings: RunSettings, space: SearchSpace, console: Console, *, as_json: bool = False) -> int:
    """Time a few steps, and print the plan and an estimate of the search time; nothing is written.

    Returns:
        The exit code.

    Raises:
        TuneError: As `run`.
    """
    from sasrecf_tune.search.earlier.sources import read_sources
    from sasrecf_tune.search.study_setup import with_earlier_work, without_counted

    check_trackers(settings.log)
    checked = check_inputs(settings, space)
    settings = checked.settings
    sources = read_sources(settings)
    display = Display(console, as_json)
    allocation = allocate_workers(settings, space, checked.base)
    began = time.monotonic()
    with open_scratch(settings, allocation) as (executor, study_dir):
        data = prepare_data(checked, space, executor, display)
        plan = make_plan(settings, space, checked.base, data, allocation)
        plan = without_counted(*with_earlier_work(plan, sources))
        startup = time.monotonic() - began
        plan, gain = choose_fusion(plan, executor, display, measure=True)
        with display.status("timing a few steps"):
            timings = [executor.measure(request) for request in _measurements(plan, study_dir)]
    in_all = estimate(plan, timings, startup, gain)
    seconds = [round(timing.epoch_seconds, 3) for timing in timings]
    display.emit("plan", **plan_facts(plan), epoch_seconds=seconds, seconds=round(in_all, 3))
    if not as_json:
        show_plan(plan, study_directory(settings.out, settings.name), console)
        show_timings(plan, timings, in_all, console)
    return 0


def _record_plan(plan: Plan, study_dir: StudyDirectory, records: Sequence[TrialRecord]) -> Plan:
    """Write the manifest; returns the plan, with a note if earlier trials were searched in another way."""
    from sasrecf_tune.storage.database.errors import display_url

    settings = plan.settings
    begun = sum(record.state in LISTED for record in records)
    imported = sum(bool(record.imported) for record in records)
    ended = sum(record.state in ENDED for record in records) - imported
    earlier: list[Any] = []
    if begun and study_dir.manifest.is_file():
        last = read_manifest(study_dir, Planned)
        earlier = list(last.get("earlier", []))
        sampler, pruner = last["sampler"], last["pruner"]
        if (sampler, pruner) != (plan.sampler, plan.pruner.recorded):
            earlier.append({"sampler": sampler, "pruner": pruner, "until": last["updated"]})
            note = (
                f"earlier trials used sampler {sampler} and pruner {pruner['name']}; manifest.json has both"
            )
            plan = replace(plan, notes=(*plan.notes, note))
    write_manifest(
        study_dir,
        settings_content(settings, plan.space, settings.storage and display_url(study_dir, settings.storage))
        | {
            "identity": plan.identity(),
            "data": vars(plan.data),
            "sampler": plan.sampler,
            "pruner": plan.pruner.recorded,
            "planned_trials": plan.trials + imported,
            "earlier": earlier,
        },
        trains=ended < plan.trials,
    )
    return plan


def _search(
    plan: Plan,
    study: TuneStudy,
    study_dir: StudyDirectory,
    executor: Executor,
    callbacks: Sequence[Callback],
    records: Sequence[TrialRecord],
    display: Display,
) -> Outcome:
    """Show the plan and train its trials; `records` are those of earlier runs."""
    from sasrecf_tune.search import study_setup
    from sasrecf_tune.search.coordinator import Coordinator

    settings = plan.settings
    metric, names, workers = settings.metric, varied(plan.space), plan.allocation.workers
    state = make_progress(names, metric, study.maximize, plan.trials, plan.epochs, workers, records)
    state.summary = study.summary
    done = sum(not record.imported for record in state.records)
    if plan.pauses:
        state.until, state.always_counted = settings.search.until, (State.COMPLETE,)
    display.emit("plan", **plan_facts(plan), done=done)
    if not display.as_json:
        again, paused = (sum(r.state == state for r in records) for state in (State.WAITING, State.PAUSED))
        show_plan(plan, study_dir, display.console, done=done, again=again, paused=paused)
    with display.show_progress(state) as view:
        policy = study_setup.make_policy(plan)
        search = Coordinator(plan, study, study_dir, executor, [*callbacks, view], policy=policy)
        with stopping_on_signals(search, settings.search.grace, display.console, quiet=display.as_json):
            return search.run()


def _exit_code(outcome: Outcome, records: Sequence[TrialRecord], last: bool) -> int:
    """Return the exit code; unless this run is the `last`, other runs may still complete trials."""
    if outcome.interrupted:
        return 130
    good = {State.COMPLETE}
    if not last:
        good |= {State.RUNNING, State.PAUSED, State.WAITING}
    return int(outcome.failed or not any(record.state in good for record in records))


def _measurements(plan: Plan, study_dir: StudyDirectory) -> list[Measure]:
    """Return requests for the first, the middle and the last cell, which tend to differ in cost."""
    if plan.cells is not None:
        cells = plan.cells()
        some = [cells[i] for i in sorted({0, len(cells) // 2, len(cells) - 1})]
        configs = [plan.config(plan.space.decode(labels)) for labels in some]
    else:
        configs = [first_configuration(plan.space, plan.base) | {"seed": plan.settings.seed}]
    scratch = {"checkpoint_dir": str(study_dir.checkpoints)}
    return [Measure(config | scratch, plan.settings.engine, _MEASURED_STEPS) for config in configs]
