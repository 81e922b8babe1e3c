"""`sasrecf-tune confirm`, and the end of `run --confirm`: the best configurations again, on fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from typing_extensions import override

from sasrecf_tune.analysis.confirmation import Confirmation, rank_confirmed
from sasrecf_tune.cli.session import (
    Display,
    check_inputs,
    choose_fusion,
    open_session,
    prepare_data,
)
from sasrecf_tune.cli.signals import stopping_on_signals
from sasrecf_tune.cli.worker_allocation import allocate_workers
from sasrecf_tune.errors import no_completed_trial
from sasrecf_tune.executors.base import Executor
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import SEEDS, RunSettings
from sasrecf_tune.report.confirmation_text import luck_text, places_table, seeds_text, show_confirmation
from sasrecf_tune.report.formats.confirmation import confirmation_content
from sasrecf_tune.report.terminal.progress import Progress
from sasrecf_tune.report.terminal.tables import varied
from sasrecf_tune.report.text import count_text, trials_text
from sasrecf_tune.search.plan import Plan, make_plan
from sasrecf_tune.storage.directory import StudyDirectory, relative
from sasrecf_tune.storage.manifest import read_manifest, record_confirmation
from sasrecf_tune.storage.per_user_files import PARTS, per_user_file
from sasrecf_tune.trials import State, TrialRecord, best

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from sasrecf_tune.report.confirmation_files import ConfirmationFiles
    from sasrecf_tune.search.confirmation_study import PlannedConfirmation
    from sasrecf_tune.search.limits import Outcome

# The default number of configurations.
_TOP = 5


def confirm_study(
    study_dir: StudyDirectory,
    settings: RunSettings,
    space: SearchSpace,
    console: Console,
    *,
    top: int | None = None,
    seeds: int | None = None,
    as_json: bool = False,
) -> int:
    """Confirm the best configurations of a study that no run is searching.

    Args:
        top: Number of configurations; None for that of the last confirmation.
        seeds: Number of fresh seeds; None for that of the last confirmation.

    Returns:
        The exit code.

    Raises:
        StudyNotFoundError: No trial has completed.
        TuneError: The confirmation failed.
    """
    from sasrecf_tune.report.page.render import write_page
    from sasrecf_tune.search.open_study import load_study, open_study
    from sasrecf_tune.storage.database.errors import reading_errors
    from sasrecf_tune.storage.database.open import open_storage
    from sasrecf_tune.storage.database.study_name import renamed_note

    checked = check_inputs(settings, space)
    before = read_manifest(study_dir).get("confirmation", {})
    top = top or before.get("top") or settings.search.confirm or _TOP
    seeds = seeds or len(before.get("seeds", ())) or settings.search.confirm_seeds or SEEDS
    search = replace(settings.search, confirm=top, confirm_seeds=seeds)
    settings = replace(checked.settings, search=search)
    display = Display(console, as_json)
    allocation = allocate_workers(settings, space, checked.base, trials=top * seeds)
    with open_session(settings, study_dir, allocation) as executor:
        storage = open_storage(study_dir, settings.storage)
        with reading_errors(study_dir, settings.storage):
            if note := renamed_note(storage, study_dir):
                display.note(note)
            # Before the data is prepared, which takes long.
            if best(load_study(study_dir, storage, space).records(), maximize=True) is None:
                raise no_completed_trial(study_dir.name)
        data = prepare_data(checked, space, executor, display)
        plan = make_plan(settings, space, checked.base, data, allocation)
        plan, _ = choose_fusion(plan, executor, display)
        with reading_errors(study_dir, settings.storage):
            study = open_study(study_dir, storage, space, plan.identity(), settings.metric.maximize)
            records = study.records()
        code = confirm_best(plan, study_dir, storage, records, executor, display)
        write_page(study_dir, settings, space)
        return code


def confirm_best(
    plan: Plan,
    study_dir: StudyDirectory,
    storage: BaseStorage,
    records: Sequence[TrialRecord],
    executor: Executor,
    display: Display,
) -> int:
    """Train the missing runs of the confirmation that the plan's settings ask for.

    The caller holds the lock of the study. `records` are the trials of its search.

    Returns:
        The exit code.

    Raises:
        TuneError: The confirmation failed.
    """
    from sasrecf_tune.report.confirmation_files import ConfirmationFiles
    from sasrecf_tune.search.confirmation_study import plan_confirmation
    from sasrecf_tune.storage.database.errors import reading_errors

    settings = plan.settings
    top, seeds = settings.search.confirm, settings.search.confirm_seeds
    with reading_errors(study_dir, settings.storage):
        planned = plan_confirmation(plan, study_dir, storage, records, top, seeds, display.note)
    begun = planned.now()
    record_confirmation(
        study_dir,
        {"top": top, "trials": list(begun.configurations), "seeds": list(begun.seeds)}
        | {"device": plan.data.device, "threads": plan.data.threads},
        trains=not begun.complete,
    )
    files = ConfirmationFiles(study_dir, plan, planned, records)
    _show_start(begun, study_dir, display)
    for note in _configuration_notes(begun, records, settings.search.until, study_dir):
        display.note(note)
    outcome = _train(plan, planned, study_dir, executor, files, display)
    now = planned.now()
    if now.complete:
        planned.finish()
        files.finish()
    planned.study.peers.leave()
    verdict = rank_confirmed(now, settings.metric.maximize, settings.unit)
    reason = "all runs have ended" if now.complete else outcome.reason
    display.emit("confirmed", reason=reason, **confirmation_content(now, verdict))
    if not display.as_json:
        show_confirmation(now, verdict, settings.metric, display.console, varied(plan.space))
        if luck := luck_text(verdict, records, settings.metric):
            display.line(luck, wrap=True)
        display.line("")
        _show_end(now, study_dir, outcome.reason, display)
    if settings.search.per_user and now.complete:
        _show_users_missing(now, study_dir, display)
    if outcome.interrupted:
        return 130
    return 0 if verdict.places and not outcome.failed else 1


def _train(
    plan: Plan,
    planned: PlannedConfirmation,
    study_dir: StudyDirectory,
    executor: Executor,
    files: ConfirmationFiles,
    display: Display,
) -> Outcome:
    from sasrecf_tune.search.coordinator import Coordinator

    settings, begun = plan.settings, planned.now()
    state = _ConfirmationProgress(
        names=plan.space.names,
        metric=settings.metric,
        maximize=settings.metric.maximize,
        trials=len(begun.wanted),
        epochs=plan.epochs,
        workers=plan.allocation.workers,
        records=list(begun.runs.values()),
        word="run",
        always_counted=(State.COMPLETE,),
        asked=planned.asked,
        plan=plan,
    )
    with display.show_progress(state) as view:
        search = Coordinator(planned.plan, planned.study, study_dir.confirmation, executor, [files, view])
        with stopping_on_signals(search, settings.search.grace, display.console, quiet=display.as_json):
            return search.run()


@dataclass
class _ConfirmationProgress(Progress):
    """The progress of runs, named by trial and seed; the table ranks configurations."""

    asked: Confirmation = field(kw_only=True)
    plan: Plan = field(kw_only=True)

    @override
    def leader(self) -> str:
        return ""  # a run may be better than another because of its seed

    @override
    def table(self, width: int, most: int) -> RenderableType | None:
        settings = self.plan.settings
        now = self.asked.filled(self.records)
        verdict = rank_confirmed(now, self.maximize, settings.unit)
        shown = replace(verdict, places=verdict.places[:most])
        return places_table(now, shown, settings.metric) if verdict.places else None

    @override
    def named(self, params: Mapping[str, object]) -> Mapping[str, object]:
        run = self.asked.run_of(params)
        return {} if run is None else {"trial": run[0], "seed": run[1]}

    @override
    def text(self, params: Mapping[str, object]) -> str:
        return " ".join(f"{word} {value}" for word, value in self.named(params).items())


def _show_start(confirmation: Confirmation, study_dir: StudyDirectory, display: Display) -> None:
    configurations, seeds = list(confirmation.configurations), list(confirmation.seeds)
    runs, done = len(confirmation.wanted), len(confirmation.runs)
    display.emit("confirmation", trials=configurations, seeds=seeds, runs=runs, done=done)
    before = f"; {done} of {count_text(runs, 'run')} {'are' if runs > 1 else 'is'} done" if done else ""
    display.line(
        f"\nconfirming {'trials' if len(configurations) > 1 else 'trial'} "
        f"{', '.join(map(str, configurations))} of {study_dir.name} on {seeds_text(confirmation.seeds)}: "
        f"{count_text(runs, 'run')}, without pruning{before}",
        wrap=True,
    )


def _configuration_notes(
    begun: Confirmation, records: Sequence[TrialRecord], until: float, study_dir: StudyDirectory
) -> list[str]:
    """Say which configurations come from paused trials, and why there are fewer than were requested."""
    notes = []
    paused = [record for record in records if record.state == State.PAUSED]
    if taken := [record.number for record in paused if record.number in begun.configurations]:
        why = "were paused, but predicted" if len(taken) > 1 else "was paused, but is predicted"
        notes.append(f"{trials_text(taken)} {why} to be among the best")
    if len(begun.configurations) < begun.top:
        few = f"only {count_text(len(begun.configurations), 'configuration')}:"
        if any(record.predicted is None for record in paused):
            # A smaller number may already be reached; with it the search would end again at once.
            smaller = " --until never" if until else ""
            notes.append(
                f"{few} paused trials without a predicted score are not confirmed. To train more to their "
                f"end: sasrecf-tune resume {study_dir.arguments}{smaller}"
            )
        else:
            notes.append(f"{few} the search has no others that are complete or paused")
    return notes


def _show_users_missing(now: Confirmation, study_dir: StudyDirectory, display: Display) -> None:
    """Say which runs were trained without --per-user."""
    missing = [
        record.number
        for record in now.runs.values()
        if record.state == State.COMPLETE
        and not any(
            per_user_file(study_dir.confirmation.per_user(record.number), part).exists() for part in PARTS
        )
    ]
    if missing:
        display.note(
            f"{count_text(len(missing), 'run')} ended earlier, without --per-user: no metrics of users. "
            "To train the best one again with them: "
            f"sasrecf-tune reproduce {study_dir.arguments} --per-user"
        )


def _show_end(now: Confirmation, study_dir: StudyDirectory, reason: str, display: Display) -> None:
    left = len(now.wanted) - len(now.runs)
    if left:
        display.line(f"{reason[:1].upper()}{reason[1:]}. {left} run{'s are' if left > 1 else ' is'} left.")
        display.line(f"To continue: sasrecf-tune confirm {study_dir.arguments}")
        return
    display.line(f"All metrics: {relative(study_dir.confirmation_md)}")
    if study_dir.confirmation.per_user_directory.is_dir():
        groups = f"sasrecf-tune report {study_dir.arguments}"
        users = relative(study_dir.confirmation.per_user_directory)
        display.line(f"Metrics of users: {users}; of groups of them: {groups}")
    display.line(f"Best configuration: {relative(study_dir.best)}")
