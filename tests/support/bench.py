"""One run of a study in SQLite, with a function in place of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage

from sasrecf_tune.analysis.winner import pick_winner
from sasrecf_tune.executors.inline import InlineExecutor
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.settings import EarlierOptions, Pruner, RunSettings, Sampler, SearchSettings
from sasrecf_tune.report.study_files import ResultFiles
from sasrecf_tune.search.coordinator import Coordinator
from sasrecf_tune.search.earlier.sources import read_sources
from sasrecf_tune.search.limits import Outcome
from sasrecf_tune.search.plan import Plan, base_config, make_plan
from sasrecf_tune.search.study import TuneStudy
from sasrecf_tune.search.study_setup import make_policy, planned_study, with_earlier_work, without_imported
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.tracking.tracking import Tracking
from sasrecf_tune.trials import TrialRecord
from tests.support.fake_training import FakeTraining, summary
from tests.support.pausing_policy import HalvingPolicy

GRID = "learning_rate choice [0.1, 0.01, 0.001]\nn_layers choice [1, 2]\nn_heads choice [1, 2, 3]\n"


ENDLESS = "learning_rate log 1e-4,1e-1\nn_layers int 1,3\nn_heads choice [1, 2, 3]\n"


def quality(config: Mapping[str, Any]) -> float:
    return float(config["learning_rate"]) * 2 + float(config["n_layers"]) / 100


@dataclass
class Bench:
    """One run of a study in `directory`; `messages` are those about trackers."""

    search: Coordinator
    study: TuneStudy
    study_dir: StudyDirectory
    storage: RDBStorage
    plan: Plan
    executor: InlineExecutor
    said: list[str]
    tracking: Tracking
    messages: list[str]

    def records(self) -> list[TrialRecord]:
        return self.study.records()

    def search_and_log(self) -> Outcome:
        """Search to the end, as the command `run` does, and wait for the trackers."""
        outcome = self.search.run()
        records = self.records()
        winner = pick_winner(records, None, self.study.maximize, self.plan.settings.unit)
        self.tracking.finish(records, winner, outcome, last=True)
        return outcome


@contextmanager
def bench(
    directory: Path,
    text: str,
    training: FakeTraining | Any,
    sampler: Sampler = "random",
    pruner: Pruner = "none",
    trials: int | None = None,
    timeout: float | None = None,
    seed: int = 1,
    metric: str = "MRR@10",
    clock: Callable[[], float] | None = None,
    pausing: bool = False,
    earlier: EarlierOptions | None = None,
    base: Mapping[str, Any] | None = None,
    log: Sequence[str] = (),
    **more: Any,
) -> Iterator[Bench]:
    space: SearchSpace = parse(text)
    said: list[str] = []
    settings = RunSettings(
        params_file=Path("hyper.test"),
        name="study",
        out=directory,
        dataset="ml-100k",
        base=dict(base or {}),
        metric=parse_metric(metric),
        seed=seed,
        search=SearchSettings(sampler, pruner, trials, timeout, **more),
        earlier_work=earlier or EarlierOptions(),
        log=list(log),
    )
    study_dir = StudyDirectory(directory / "study")
    study_dir.directory.mkdir(parents=True, exist_ok=True)
    plan = make_plan(settings, space, base_config(settings, space), summary(training.epochs))
    plan, imports = with_earlier_work(plan, read_sources(settings))
    storage = open_storage(study_dir, None)
    study = planned_study(plan, study_dir, storage, said.append, imports)
    plan = without_imported(plan, study)
    executor = InlineExecutor(training.train, training.describe)
    extra: dict[str, Any] = {} if clock is None else {"clock": clock}
    files = ResultFiles(study_dir, plan, study, **extra)
    try:
        assert not pausing or plan.cells is not None
        policy = (
            HalvingPolicy(plan.cells(), training.epochs, study.maximize)
            if pausing and plan.cells
            else make_policy(plan)
        )
        messages: list[str] = []
        tracking = Tracking(plan, study, study_dir, messages.append)
        search = Coordinator(plan, study, study_dir, executor, [files, tracking], **extra, policy=policy)
        with tracking:
            yield Bench(search, study, study_dir, storage, plan, executor, said, tracking, messages)
    finally:
        storage.engine.dispose()


def cells(records: list[TrialRecord]) -> list[tuple[object, ...]]:
    return [tuple(record.params.values()) for record in records]
