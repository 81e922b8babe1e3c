"""`sasrecf-tune confirm`, and the end of `run --confirm`: the best configurations again, on fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType

from sasrecf_tune.analysis.confirmation import Confirmation, rank_confirmed
from sasrecf_tune.cli.session import at_work, checked_base, describe, fused, saying, stopping_on_signals, view
from sasrecf_tune.errors import StudyNotFoundError
from sasrecf_tune.executors.base import Executor
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import SEEDS, RunSettings
from sasrecf_tune.report.confirmation_text import luck_text, places_table, seeds_text, show_confirmation
from sasrecf_tune.report.formats.confirmation import confirmation_content
from sasrecf_tune.report.terminal import progress
from sasrecf_tune.report.terminal.tables import varied
from sasrecf_tune.search.callbacks import Callback
from sasrecf_tune.search.plan import Plan, make_plan
from sasrecf_tune.storage.directory import StudyDirectory, out_option, relative
from sasrecf_tune.storage.manifest import read_manifest, record_confirmation
from sasrecf_tune.trials import State, TrialRecord, best

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

# Configurations to confirm where nobody has said how many.
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
    """Confirm the best of a study that is at rest; returns the exit code.

    `top` and `seeds` are as before where they are None.

    Raises:
        TuneError: see `errors`.
    """
    from sasrecf_tune.report.page.page import write_page
    from sasrecf_tune.search.open_study import load_study, open_study
    from sasrecf_tune.storage.database.errors import reading_errors
    from sasrecf_tune.storage.database.open import open_storage

    base = checked_base(settings, space)
    before = read_manifest(study_dir).get("confirmation", {})
    top = top or before.get("top") or settings.search.confirm or _TOP
    seeds = seeds or len(before.get("seeds", ())) or settings.search.confirm_seeds or SEEDS
    settings = replace(settings, search=replace(settings.search, confirm=top, confirm_seeds=seeds))
    with at_work(settings, study_dir) as executor:
        storage = open_storage(study_dir, settings.storage)
        with reading_errors(study_dir, settings.storage):
            # Before the data is prepared: where nothing has completed there is nothing to prepare it for.
            _check_completed(study_dir, load_study(study_dir, storage, space).records())
        plan = make_plan(settings, space, base, describe(settings, space, base, executor, console, as_json))
        plan, _ = fused(plan, executor, console, as_json)
        with reading_errors(study_dir, settings.storage):
            study = open_study(study_dir, storage, space, plan.identity(), settings.metric.maximize)
            records = study.records()
        code = confirm_best(plan, study_dir, storage, records, executor, console, as_json=as_json)
        write_page(study_dir, settings, space)
        return code


def confirm_best(
    plan: Plan,
    study_dir: StudyDirectory,
    storage: BaseStorage,
    records: Sequence[TrialRecord],
    executor: Executor,
    console: Console,
    *,
    as_json: bool,
) -> int:
    """Train what the plan's settings ask for and is not there yet; `records` are the search's trials.

    The caller holds the study exclusively. Returns the exit code.

    Raises:
        TuneError: see `errors`.
    """
    from sasrecf_tune.report.confirmation_files import ConfirmationFiles
    from sasrecf_tune.search.confirmation_study import plan_confirmation
    from sasrecf_tune.search.coordinator import Coordinator
    from sasrecf_tune.storage.database.errors import reading_errors

    settings = plan.settings
    with reading_errors(study_dir, settings.storage):
        planned = plan_confirmation(
            plan,
            study_dir,
            storage,
            records,
            settings.search.confirm,
            settings.search.confirm_seeds,
            saying(console, as_json),
        )
    begun = planned.now()
    record_confirmation(
        study_dir,
        {"top": settings.search.confirm, "trials": list(begun.configurations), "seeds": list(begun.seeds)}
        | {"device": plan.data.device, "threads": plan.data.threads},
        trains=not begun.whole,
    )
    files = ConfirmationFiles(study_dir, plan, planned, records)
    if as_json:
        progress.emit({"event": "confirmation", **_facts(begun)})
    else:
        console.print()
        console.print(_announced(begun, study_dir.name), highlight=False, soft_wrap=not console.is_terminal)
    state = _ConfirmationProgress(
        names=plan.space.names,
        metric=str(settings.metric),
        maximize=settings.metric.maximize,
        trials=len(begun.wanted),
        epochs=plan.epochs,
        workers=settings.workers,
        records=list(begun.runs.values()),
        before=len(begun.runs),
        word="run",
        always_counted=(State.COMPLETE,),
        asked=planned.asked,
        plan=plan,
    )
    with view(state, console, as_json) as shown:
        callbacks: list[Callback] = [files, shown]
        search = Coordinator(planned.plan, planned.study, study_dir.confirmation, executor, callbacks)
        with stopping_on_signals(search, settings.search.grace, console, as_json):
            outcome = search.run()
    now = planned.now()
    if now.whole:
        planned.finish()
        files.finish()
    planned.study.peers.leave()
    verdict = rank_confirmed(now, settings.metric.maximize, settings.unit)
    if as_json:
        reason = "all runs have ended" if now.whole else outcome.reason
        progress.emit({"event": "confirmed", "reason": reason, **confirmation_content(now, verdict)})
    else:
        show_confirmation(now, verdict, settings.metric, console, varied(plan.space))
        if luck := luck_text(verdict, records, settings.metric):
            console.print(luck, highlight=False, soft_wrap=not console.is_terminal)
        console.print()
        _show_end(now, study_dir, outcome.reason, console)
    if outcome.interrupted:
        return 130
    return 0 if verdict.places and not outcome.failed else 1


@dataclass
class _ConfirmationProgress(progress.Progress):
    """Runs are known by the trial that they confirm and their seed; what is compared is configurations."""

    asked: Confirmation = field(kw_only=True)
    plan: Plan = field(kw_only=True)

    def leader(self) -> str:
        """None: a run is better than another by its seed too."""
        return ""

    def table(self, width: int, most: int) -> RenderableType | None:
        """The configurations' places so far."""
        settings = self.plan.settings
        now = self.asked.filled(self.records)
        verdict = rank_confirmed(now, self.maximize, settings.unit)
        shown = replace(verdict, places=verdict.places[:most])
        return places_table(now, shown, settings.metric) if verdict.places else None

    def named(self, params: Mapping[str, object]) -> Mapping[str, object]:
        """The trial that the run confirms, and its seed."""
        run = self.asked.run_of(params)
        return {} if run is None else {"trial": run[0], "seed": run[1]}

    def text(self, params: Mapping[str, object]) -> str:
        """Such as "trial 2 on seed 2021"."""
        return " ".join(f"{word} {value}" for word, value in self.named(params).items())


def _check_completed(study_dir: StudyDirectory, records: Sequence[TrialRecord]) -> None:
    """Check that there is something to confirm.

    Raises:
        StudyNotFoundError: no trial has completed.
    """
    if best(records, maximize=True) is None:
        raise StudyNotFoundError("no trial of this study has completed", where=study_dir.name)


def _facts(confirmation: Confirmation) -> dict[str, Any]:
    return {
        "trials": list(confirmation.configurations),
        "seeds": list(confirmation.seeds),
        "runs": len(confirmation.wanted),
        "done": len(confirmation.runs),
    }


def _announced(confirmation: Confirmation, study: str) -> str:
    count, done = len(confirmation.configurations), len(confirmation.runs)
    trials = ", ".join(map(str, confirmation.configurations))
    before = f"; {done} of {len(confirmation.wanted)} runs are done" if done else ""
    return (
        f"confirming {'trials' if count > 1 else 'trial'} {trials} of {study} on "
        f"{seeds_text(confirmation.seeds)}: {len(confirmation.wanted)} runs, none is pruned{before}"
    )


def _show_end(now: Confirmation, study_dir: StudyDirectory, reason: str, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    left = len(now.wanted) - len(now.runs)
    if left:
        say(f"{reason[:1].upper()}{reason[1:]}. {left} run{'s are' if left > 1 else ' is'} left.")
        say(f"To go on: sasrecf-tune confirm {study_dir.name}{out_option(study_dir)}")
        return
    say(f"All metrics: {relative(study_dir.confirmation_md)}")
    say(f"Best configuration: {relative(study_dir.best)}")
