"""The study of a confirmation: the best configurations of a search, each on several fresh seeds.

It is an Optuna study of its own in the database of the search. Its configurations and seeds may change when
the search goes on or the user asks for more; runs that are not asked for any more stay in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.pruners import NopPruner
from optuna.storages import BaseStorage

from sasrecf_tune.analysis.confirmation import Confirmation, best_configurations, fresh_seeds, without_seed
from sasrecf_tune.errors import StudyNotFoundError, no_completed_trial
from sasrecf_tune.inputs.literals import is_number
from sasrecf_tune.inputs.search_space import Choice, Int, SearchSpace
from sasrecf_tune.search.open_study import load_study, open_study
from sasrecf_tune.search.plan import Plan
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.strategies.grid import GridSampler
from sasrecf_tune.search.strategies.history import History
from sasrecf_tune.search.strategies.pruners import plan_pruner
from sasrecf_tune.search.study import TuneStudy
from sasrecf_tune.storage.database.errors import CorruptStudyError
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.pending_results import replay_pending
from sasrecf_tune.trials import ENDED, State, TrialRecord

# User attributes of the study: the last confirmation asked for, and the last one that was completed.
_ASKED = "sasrecf_tune:asked"
_COMPLETED = "sasrecf_tune:confirmed"
# The error of an interrupted run that is not asked for any more; it may be asked for again.
_DROPPED = "not trained to its end: its configuration is no longer among the best"


@dataclass(frozen=True)
class PlannedConfirmation:
    """A confirmation that can be run; `before` is the last one that was completed, if any."""

    plan: Plan
    study: TuneStudy
    asked: Confirmation
    before: Confirmation | None

    def now(self) -> Confirmation:
        """The confirmation with the runs that have ended by now."""
        return self.asked.filled(self.runs(), self.study.test_metrics())

    def runs(self) -> list[TrialRecord]:
        """All runs that have ended, those included that are not asked for any more."""
        return [record for record in _without_dropped(self.study.records()) if record.state in ENDED]

    def finish(self) -> None:
        """Record that this confirmation is completed."""
        self.study.optuna.set_user_attr(_COMPLETED, _to_json(self.asked))


def confirmation_space(space: SearchSpace) -> SearchSpace:
    """The space with every seed."""
    seed = Int("seed", low=0, high=2**32 - 1)
    return replace(space, parameters=(*(p for p in space if p.name != "seed"), seed))


def greatest_seed(space: SearchSpace, first: int) -> int:
    """The largest seed that the trials of a search may have; `first` is the seed of the search."""
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
    """Plan to train the best configurations of a search on fresh seeds.

    Configurations that already have a run on each of these seeds stay in the comparison, since leaving them
    out would favor the others. Interrupted runs are queued again if they are asked for, and fail otherwise.

    Args:
        plan: Of the search, as `study_dir`, `storage` and `records`.
        top: How many of the best configurations.
        seeds: How many seeds; never fewer than the last completed confirmation had.
        say: Shows a message to the user.

    Raises:
        StudyNotFoundError: no trial has completed.
        StudyMismatchError: the database holds a confirmation of something else.
    """
    ranked = best_configurations(records, plan.settings.metric.maximize, len(records))
    if not ranked:
        raise no_completed_trial(study_dir.name)
    _, before, latest = load_confirmations(study_dir, storage, plan.space, records)
    seeds = max(seeds, len(before.seeds) if before else 0)
    fresh = fresh_seeds(greatest_seed(plan.space, plan.settings.seed), seeds)
    best = Confirmation(dict(list(ranked.items())[:top]), fresh, top)
    study = _join_study(plan, study_dir.confirmation, storage, best, say)
    runs = _without_dropped(study.records())
    known = dict(ranked)
    # A paused trial is ranked no longer when its prediction is outdated, or when it failed as it went on.
    for earlier in (before, latest):
        for trial, own in earlier.configurations.items() if earlier else ():
            if own not in known.values():
                known[trial] = dict(own)
    every = replace(best, configurations=known).filled(runs)
    configurations = {
        trial: params
        for trial, params in known.items()
        if trial in best.configurations or all((trial, seed) in every.runs for seed in best.seeds)
    }
    asked = replace(best, configurations=configurations)
    study.optuna.set_user_attr(_ASKED, _to_json(asked))
    not_asked = sum(record.state in ENDED for record in study.records()) - len(asked.filled(runs).runs)
    # The limits of the search do not apply: a confirmation that is cut off says nothing.
    search = replace(plan.settings.search, trials=None, timeout=None, patience=None)
    confirmation_plan = replace(
        plan,
        settings=replace(plan.settings, search=search),
        space=confirmation_space(plan.space),
        sampler="confirmation",
        pruner=plan_pruner("none", plan.epochs),
        trials=not_asked + len(asked.wanted),
    )
    return PlannedConfirmation(confirmation_plan, study, asked, before)


def _join_study(
    plan: Plan,
    study_dir: StudyDirectory,
    storage: BaseStorage,
    asked: Confirmation,
    say: Callable[[str], None],
) -> TuneStudy:
    """Join the study of the confirmation, with the runs that are asked for in its queue or its sampler."""
    space = confirmation_space(plan.space)
    cells = [space.encode({**asked.configurations[trial], "seed": seed}) for trial, seed in asked.wanted]
    history = History(space)
    study = open_study(
        study_dir,
        storage,
        space,
        plan.identity() | {"space": {parameter.name: parameter.write() for parameter in space}},
        plan.settings.metric.maximize,
        GridSampler(history, distributions(space), cells),
        NopPruner(),
    )
    study.join("confirmation", say)
    replay_pending(study_dir, study.record_pending, say)
    for record in study.records():
        if record.state == State.WAITING and record.params and asked.run_of(record.params) is None:
            study.drop(record.number, _DROPPED)
    study.peers.watch_trials(
        lambda trials: history.add_trials([t for t in trials if t.user_attrs.get("error") != _DROPPED])
    )
    return study


def load_confirmations(
    study_dir: StudyDirectory, storage: BaseStorage, space: SearchSpace, records: Sequence[TrialRecord]
) -> tuple[TuneStudy | None, Confirmation | None, Confirmation | None]:
    """Load the study of the confirmations, the last completed one, and the last one that was asked for.

    Each is None if it does not exist. `space` and `records` are those of the search.
    """
    try:
        study = load_study(study_dir.confirmation, storage, confirmation_space(space))
    except StudyNotFoundError:
        return None, None, None
    runs, tests = _without_dropped(study.records()), study.test_metrics()

    def load(attribute: str) -> Confirmation | None:
        stored = study.optuna.user_attrs.get(attribute)
        return _from_json(stored, records).filled(runs, tests) if stored else None

    return study, load(_COMPLETED), load(_ASKED)


def _without_dropped(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [record for record in records if record.error != _DROPPED]


def _to_json(confirmation: Confirmation) -> dict[str, Any]:
    trials, seeds = list(confirmation.configurations), list(confirmation.seeds)
    return {"trials": trials, "seeds": seeds, "top": confirmation.top}


def _from_json(written: Mapping[str, Any], records: Sequence[TrialRecord]) -> Confirmation:
    params = {record.number: record.params for record in records}
    try:
        configurations = {int(trial): without_seed(params[trial]) for trial in written["trials"]}
        seeds = tuple(int(seed) for seed in written["seeds"])
        return Confirmation(configurations, seeds, int(written["top"]))
    except (LookupError, TypeError, ValueError) as error:
        raise CorruptStudyError(f"a confirmation refers to trials that do not exist: {written}") from error
