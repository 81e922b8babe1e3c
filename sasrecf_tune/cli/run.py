"""`sasrecf-tune run`, from settings to the ranked table."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from sasrecf_tune.analysis.winner import pick_winner
from sasrecf_tune.cli.session import (
    at_work,
    checked_base,
    describe,
    executor_for,
    fused,
    saying,
    status,
    stopping_on_signals,
    view,
)
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.messages import Measure
from sasrecf_tune.report.terminal import progress as views
from sasrecf_tune.report.terminal.plan_summary import estimate, plan_facts, show_end, show_plan, show_timings
from sasrecf_tune.report.terminal.tables import varied
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.plan import Plan, first_configuration, make_plan
from sasrecf_tune.storage.directory import StudyDirectory, study_directory
from sasrecf_tune.storage.files import make_directory
from sasrecf_tune.storage.manifest import read_manifest, settings_content, write_manifest
from sasrecf_tune.trials import ENDED, State

_MEASURED_STEPS = 3


def run(settings: RunSettings, space: SearchSpace, console: Console, *, as_json: bool = False) -> int:
    """Search, show progress, and end with the ranked table; returns the exit code.

    Raises:
        TuneError: see `errors`; bad input is found before any training.
    """
    from sasrecf_tune.cli.confirm import confirm_best
    from sasrecf_tune.report.page.page import write_page
    from sasrecf_tune.report.study_files import ResultFiles
    from sasrecf_tune.search.confirmation_study import load_confirmations
    from sasrecf_tune.search.coordinator import Coordinator
    from sasrecf_tune.search.peers import with_peer_notes
    from sasrecf_tune.search.study_setup import planned_study
    from sasrecf_tune.storage.database.errors import check_begun, display_url, reading_errors
    from sasrecf_tune.storage.database.open import open_storage

    base = checked_base(settings, space)
    study_dir = study_directory(settings.out, settings.name)
    with at_work(settings, study_dir) as executor:
        plan = make_plan(settings, space, base, describe(settings, space, base, executor, console, as_json))
        plan, _ = fused(plan, executor, console, as_json)
        storage = open_storage(study_dir, settings.storage)
        check_begun(study_dir, storage, settings.storage)
        with reading_errors(study_dir, settings.storage):
            study = planned_study(plan, study_dir, storage, saying(console, as_json))
            records = study.records()
            _, confirmed, _ = load_confirmations(study_dir, storage, space, records)
        again = sum(record.state == State.WAITING for record in records)
        plan, earlier = _with_history(plan, study_dir, any(record.state in ENDED for record in records))
        plan = with_peer_notes(plan, study.peers.list_peers())
        write_manifest(
            study_dir,
            settings_content(settings, space, settings.storage and display_url(study_dir, settings.storage))
            | {"identity": plan.identity(), "data": vars(plan.data), "sampler": plan.sampler}
            | {"pruner": plan.pruner.recorded, "planned_trials": plan.trials}
            | {"earlier": earlier},
            trains=sum(record.state in ENDED for record in records) < plan.trials,
        )
        files = ResultFiles(study_dir, plan, study, confirmed=confirmed)
        state = views.make_progress(
            varied(space),
            str(settings.metric),
            study.maximize,
            plan.trials,
            plan.epochs,
            settings.workers,
            records,
        )
        if as_json:
            views.emit({"event": "plan", **plan_facts(plan), "done": len(state.records)})
        else:
            show_plan(plan, study_dir, console, done=len(state.records), again=again)
        with view(state, console, as_json) as display:
            callbacks: list[Callback] = [files, display]
            search = Coordinator(plan, study, study_dir, executor, callbacks)
            with stopping_on_signals(search, settings.search.grace, console, as_json):
                outcome = search.run()
        records = study.records()
        if as_json:
            views.emit(
                {
                    "event": "end",
                    "reason": outcome.reason,
                    "ended": outcome.done,
                    "directory": str(study_dir.directory),
                }
            )
        else:
            chosen = pick_winner(records, confirmed, study.maximize, settings.unit)
            show_end(plan, study_dir, records, outcome, chosen, console)
        if any(record.state in ENDED for record in records):
            # After the table, which must not wait for pictures.
            write_page(study_dir, settings, space)
        last = study.peers.leave(wait_for_silent=bool(settings.search.confirm) and not outcome.interrupted)
        if last and study.peers.met_peers:
            # They may have written to the same directory meanwhile, and have left by now.
            files.again(study.records())
            write_page(study_dir, settings, space)
        if outcome.interrupted:
            return 130
        if outcome.failed:
            return 1
        if not any(record.state == State.COMPLETE for record in records):
            # What others still train may complete yet: they will say.
            return 0 if not last and any(record.state == State.RUNNING for record in records) else 1
        if not settings.search.confirm or not last:
            return 0
        code = confirm_best(plan, study_dir, storage, records, executor, console, as_json=as_json)
        write_page(study_dir, settings, space)
        return code


def dry_run(settings: RunSettings, space: SearchSpace, console: Console, *, as_json: bool = False) -> int:
    """Print the plan and how long it would take, after timing a few steps; writes nothing.

    Raises:
        TuneError: as `run`.
    """
    base = checked_base(settings, space)
    with tempfile.TemporaryDirectory() as scratch:
        study_dir = StudyDirectory(Path(scratch) / settings.name)
        make_directory(study_dir.directory)
        began = time.monotonic()
        with executor_for(settings, study_dir) as executor:
            plan = make_plan(
                settings, space, base, describe(settings, space, base, executor, console, as_json)
            )
            startup = time.monotonic() - began
            plan, gain = fused(plan, executor, console, as_json, measured=True)
            with status(console, as_json, "timing a few steps"):
                timings = [executor.measure(request) for request in _measured(plan, study_dir)]
    display_url = study_directory(settings.out, settings.name)
    in_all = estimate(plan, timings, startup, gain)
    if as_json:
        seconds = [round(timing.epoch_seconds, 3) for timing in timings]
        views.emit(
            {"event": "plan", **plan_facts(plan), "epoch_seconds": seconds, "seconds": round(in_all, 3)}
        )
    else:
        show_plan(plan, display_url, console)
        show_timings(plan, timings, in_all, console)
    return 0


def _with_history(plan: Plan, study_dir: StudyDirectory, begun: bool) -> tuple[Plan, list[Any]]:
    """The plan, with a note where the study was searched otherwise before; and all earlier ways."""
    if not begun or not study_dir.manifest.is_file():
        return plan, []
    last = read_manifest(study_dir)
    earlier = list(last.get("earlier", []))
    if (last["sampler"], last["pruner"]) == (plan.sampler, plan.pruner.recorded):
        return plan, earlier
    earlier.append({"sampler": last["sampler"], "pruner": last["pruner"], "until": last["updated"]})
    note = f"trials up to now were chosen by {last['sampler']} and pruned by {last['pruner']['name']}"
    return replace(plan, notes=(*plan.notes, f"{note}; manifest.json keeps both")), earlier


def _measured(plan: Plan, study_dir: StudyDirectory) -> list[Measure]:
    """Requests for the first, the middle and the last of the cells, which tend to differ in cost."""
    if plan.cells is not None:
        cells = plan.cells()
        some = [cells[i] for i in sorted({0, len(cells) // 2, len(cells) - 1})]
        configs = [plan.config(plan.space.decode(labels)) for labels in some]
    else:
        configs = [first_configuration(plan.space, plan.base) | {"seed": plan.settings.seed}]
    scratch = {"checkpoint_dir": str(study_dir.checkpoints)}
    return [Measure(config | scratch, plan.settings.engine, _MEASURED_STEPS) for config in configs]
