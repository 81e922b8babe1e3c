"""The Optuna study of a confirmation: the best configurations times fresh seeds, beside the search's study.

It stands in the same database, under a name of its own. Which configurations and seeds it is about can
change, when the search goes on or more is asked for; runs that are not asked for any more stay in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.pruners import NopPruner
from optuna.storages import BaseStorage

from sasrecf_tune.analysis.confirmation import Confirmation, best_configurations, fresh_seeds, without_seed
from sasrecf_tune.errors import StudyNotFoundError
from sasrecf_tune.inputs.literals import is_number
from sasrecf_tune.inputs.search_space import Choice, Int, SearchSpace
from sasrecf_tune.search.plan import Plan
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.strategies.pruners import plan_pruner
from sasrecf_tune.search.strategies.samplers import GridSampler, History
from sasrecf_tune.search.study import TuneStudy, load_study, open_study
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.pending_results import replay_pending
from sasrecf_tune.trials import ENDED, State, TrialRecord

# Of the study: what was asked for last, and what has last been trained to its end.
_ASKED = "sasrecf_tune:asked"
_WHOLE = "sasrecf_tune:confirmed"
# Why a run has failed that was interrupted and is not asked for any more; it may be asked for again.
_DROPPED = "not trained to its end: its configuration is no longer among the best"


@dataclass(frozen=True)
class PlannedConfirmation:
    """What to train, as a plan of the coordinator's, and the study it goes to.

    `before` is the last confirmation that was trained to its end, None where there is none.
    """

    plan: Plan
    study: TuneStudy
    asked: Confirmation
    before: Confirmation | None

    def now(self) -> Confirmation:
        """What has ended by now."""
        return self.asked.filled(self.runs(), self.study.test_metrics())

    def runs(self) -> list[TrialRecord]:
        """All that have ended, those too that are not asked for any more."""
        return [record for record in _kept(self.study.records()) if record.state in ENDED]

    def finish(self) -> None:
        """Write down that this confirmation has been trained to its end."""
        self.study.optuna.set_user_attr(_WHOLE, _written(self.asked))


def confirmation_space(space: SearchSpace) -> SearchSpace:
    """`space` with any seed."""
    seed = Int("seed", low=0, high=2**32 - 1)
    return replace(space, parameters=(*(p for p in space if p.name != "seed"), seed))


def greatest_seed(space: SearchSpace, first: int) -> int:
    """The greatest seed that a search may train with."""
    if "seed" not in space.names:
        return first
    parameter = space["seed"]
    values = parameter.choices if isinstance(parameter, Choice) else parameter.bounds
    return max([first, *(int(value) for value in values if is_number(value))])


def plan_confirmation(
    plan: Plan,
    study_dir: StudyDirectory,
    storage: BaseStorage,
    records: Sequence[TrialRecord],
    top: int,
    seeds: int,
    say: Callable[[str], None] = lambda _: None,
) -> PlannedConfirmation:
    """The `top` best configurations of `records`, the trials of the search, on `seeds` fresh seeds.

    `say` tells people of trouble. On as many at least as the last confirmation that was trained to its end.

    Those that have all of these runs from before stay in the comparison: to leave out what was seen to be
    good would flatter the rest. Interrupted runs that are asked for are in the queue; the others have failed.

    Raises:
        StudyNotFoundError: no trial has completed.
        StudyMismatchError: the database holds a confirmation of something else.
    """
    maximize = plan.settings.metric.maximize
    ranked = best_configurations(records, maximize, len(records))
    if not ranked:
        raise StudyNotFoundError("no trial of this study has completed", where=study_dir.name)
    first = greatest_seed(plan.space, plan.settings.seed)
    _, before, _ = load_confirmations(study_dir, storage, plan.space, records)
    # Fewer than there were would only say less.
    seeds = max(seeds, len(before.seeds) if before else 0)
    best = Confirmation(dict(list(ranked.items())[:top]), fresh_seeds(first, seeds), top)
    space = confirmation_space(plan.space)
    cells = [space.encode({**best.configurations[trial], "seed": seed}) for trial, seed in best.wanted]
    history = History(space)
    study = open_study(
        study_dir.confirmation,
        storage,
        space,
        plan.identity() | {"space": {parameter.name: parameter.write() for parameter in space}},
        maximize,
        GridSampler(history, distributions(space), cells),
        NopPruner(),
    )
    study.join("confirmation", say)
    replay_pending(study_dir.confirmation, study.kept, say)
    for record in study.records():
        if record.state == State.WAITING and record.params and best.run_of(record.params) is None:
            study.drop(record.number, _DROPPED)
    study.peers.watch_trials(
        lambda trials: history.fill([one for one in trials if one.user_attrs.get("error") != _DROPPED])
    )
    kept = _kept(study.records())
    every = replace(best, configurations=ranked).filled(kept)
    asked = replace(
        best,
        configurations={
            trial: params
            for trial, params in ranked.items()
            if trial in best.configurations or all((trial, seed) in every.runs for seed in best.seeds)
        },
    )
    study.optuna.set_user_attr(_ASKED, _written(asked))
    ended = sum(record.state in ENDED for record in study.records())
    here = len(asked.filled(kept).runs)
    settings = plan.settings
    # A limit of the search's is none of the confirmation's: half of it says nothing.
    search = replace(settings.search, trials=None, timeout=None, patience=None)
    return PlannedConfirmation(
        replace(
            plan,
            settings=replace(settings, search=search),
            space=space,
            sampler="confirmation",
            pruner=plan_pruner("none", plan.epochs),
            trials=ended - here + len(asked.wanted),
        ),
        study,
        asked,
        before,
    )


def load_confirmations(
    study_dir: StudyDirectory, storage: BaseStorage, space: SearchSpace, records: Sequence[TrialRecord]
) -> tuple[TuneStudy | None, Confirmation | None, Confirmation | None]:
    """The confirmation's study, the last that was trained to its end, and the last that was asked for.

    None where there is none. `records` are the trials of the search, whose space is `space`.
    """
    try:
        study = load_study(study_dir.confirmation, storage, confirmation_space(space))
    except StudyNotFoundError:
        return None, None, None
    runs, tests = _kept(study.records()), study.test_metrics()

    def found(attribute: str) -> Confirmation | None:
        written = study.optuna.user_attrs.get(attribute)
        return _read(written, records).filled(runs, tests) if written else None

    return study, found(_WHOLE), found(_ASKED)


def _kept(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [record for record in records if record.error != _DROPPED]


def _written(confirmation: Confirmation) -> dict[str, Any]:
    trials, seeds = list(confirmation.configurations), list(confirmation.seeds)
    return {"trials": trials, "seeds": seeds, "top": confirmation.top}


def _read(written: Mapping[str, Any], records: Sequence[TrialRecord]) -> Confirmation:
    params = {record.number: record.params for record in records}
    try:
        configurations = {int(trial): without_seed(params[trial]) for trial in written["trials"]}
        seeds = tuple(int(seed) for seed in written["seeds"])
        return Confirmation(configurations, seeds, int(written["top"]))
    except (LookupError, TypeError, ValueError) as error:
        raise CorruptStudyError(f"a confirmation of trials that are not there: {written}") from error
