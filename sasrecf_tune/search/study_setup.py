"""The study of a plan: with the plan's sampler and pruner, joined by this run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from sasrecf_tune.inputs.literals import Scalar
from sasrecf_tune.search.earlier.adding import add_trials
from sasrecf_tune.search.earlier.matching import Counted, Target, match
from sasrecf_tune.search.earlier.sources import Source
from sasrecf_tune.search.open_study import open_study
from sasrecf_tune.search.peers import search_description
from sasrecf_tune.search.plan import Plan, smallest_value
from sasrecf_tune.search.policy import SearchPolicy
from sasrecf_tune.search.strategies.candidate_pool import CandidatePool
from sasrecf_tune.search.strategies.candidates import Candidates
from sasrecf_tune.search.strategies.distributions import distributions
from sasrecf_tune.search.strategies.grid import GridSampler
from sasrecf_tune.search.strategies.history import History
from sasrecf_tune.search.strategies.horizon import Horizon
from sasrecf_tune.search.strategies.optuna_samplers import DedupSampler, import_sampler, optuna_sampler
from sasrecf_tune.search.strategies.paused_search import PausedSearch
from sasrecf_tune.search.strategies.pruners import make_pruner
from sasrecf_tune.search.study import TuneStudy
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.pending_results import replay_pending


def make_sampler(plan: Plan, history: History) -> BaseSampler:
    """The plan's sampler, which proposes only cells that are not in `history`.

    Raises:
        InputError: a package that it needs is not installed.
    """
    space, seed = distributions(plan.space), plan.settings.seed
    if plan.sampler == "grid":
        assert plan.cells is not None
        cells = plan.cells()
        # In random order: when the search stops early, its trials are spread over the grid.
        return GridSampler(history, space, random.Random(seed).sample(cells, len(cells)))
    # With a policy, Optuna's sampler is not asked.
    name = "random" if plan.pauses else plan.sampler
    return DedupSampler(history, space, optuna_sampler(name, seed), plan.feasible, plan.cells, seed)


def make_policy(plan: Plan) -> SearchPolicy | None:
    """The policy of the plan's search; None if its sampler and its pruner decide."""
    if not plan.pauses:
        return None
    search = plan.settings.search
    candidates = Candidates(distributions(plan.space), plan.feasible, plan.cells)
    pool = CandidatePool(plan.space, candidates, plan.cells, plan.settings.seed)
    start = plan.space.encode(plan.start())
    if not plan.feasible(start):
        start = pool.nearest(start)
    every, patience = (smallest_value(plan.space, plan.base, name) for name in ("eval_step", "stopping_step"))
    horizon = Horizon(plan.space, plan.epochs, every, patience * every)
    maximize = plan.settings.metric.maximize
    return PausedSearch(pool, start, horizon, maximize, float(search.until) or None, plan.trials)


def with_earlier_work(plan: Plan, sources: Sequence[Source]) -> tuple[Plan, list[Counted]]:
    """The plan with what is taken from earlier searches, and the trials that count in its study."""
    target = Target(plan.settings, plan.space, plan.base, plan.data.fingerprint)
    found, counted = match(sources, target)
    return replace(plan, earlier=tuple(found)), counted


def without_counted(plan: Plan, counted: Sequence[Counted]) -> Plan:
    """The plan of a new study, with as many trials as its space has configurations that `counted` leaves."""
    if not plan.settings.earlier_work.trust:
        return plan
    return _without_cells(plan, _cells(plan, (one.labels for one in counted)))


def without_imported(plan: Plan, study: TuneStudy) -> Plan:
    """The plan with as many trials as the space has configurations that only trusted imports cover."""
    records = [record for record in study.records() if record.params.keys() >= set(plan.space.names)]
    trusted = [record for record in records if record.imported and not record.provisional]
    here = [record for record in records if not record.imported]
    cells = [_cells(plan, (plan.space.encode(one.params) for one in some)) for some in (trusted, here)]
    return _without_cells(plan, cells[0] - cells[1])


def _cells(plan: Plan, labels: Iterable[Mapping[str, Scalar]]) -> set[tuple[Scalar, ...]]:
    return {tuple(one[name] for name in plan.space.names) for one in labels}


def _without_cells(plan: Plan, cells: set[tuple[Scalar, ...]]) -> Plan:
    finite = plan.feasibility.feasible
    return plan if finite is None else replace(plan, trials=min(plan.trials, finite - len(cells)))


def planned_study(
    plan: Plan,
    study_dir: StudyDirectory,
    storage: BaseStorage,
    say: Callable[[str], None] = lambda _: None,
    imports: Sequence[Counted] = (),
) -> TuneStudy:
    """Create or continue the plan's study, join it, and record the results that earlier runs could not.

    Args:
        say: Shows a message to the user.
        imports: Trials of earlier searches to add.

    Raises:
        InputError: as `make_sampler`.
        StudyMismatchError: as `open_study`.
    """
    history = History(plan.space)
    if plan.settings.storage is not None:
        import_sampler(plan.sampler)  # now, since other runs wait while this one has a proposal made
    study = open_study(
        study_dir,
        storage,
        plan.space,
        plan.identity(),
        plan.settings.metric.maximize,
        make_sampler(plan, history),
        make_pruner(plan.pruner),
    )
    if imports:
        added = add_trials(study, plan.space, imports, plan.settings.earlier_work.trust)
        say(added.text)
    study.peers.watch_trials(history.add_trials)
    study.join(search_description(plan), say)
    replay_pending(study_dir, study.record_pending, say)
    return study
