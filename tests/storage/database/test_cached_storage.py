"""A study in memory and its database never differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event

from sasrecf_tune.storage.database.cached_storage import WriteThroughStorage
from sasrecf_tune.storage.database.errors import CorruptStudyError

DISTRIBUTIONS = {
    "n_layers": optuna.distributions.IntDistribution(1, 3),
    "learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Subject:
    """A study in memory, and its database as another program sees it."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self.backend = RDBStorage(self.url)
        optuna.create_study(storage=self.backend, study_name="study", direction="maximize")
        self.clock = Clock()
        self.memory = WriteThroughStorage(self.backend, "study", self.clock)
        self.study = optuna.load_study(
            study_name="study", storage=self.memory, sampler=optuna.samplers.RandomSampler(seed=1)
        )
        self.commits = 0
        event.listen(self.backend.engine, "commit", self._count)

    def _count(self, _: object) -> None:
        self.commits += 1

    def seen(self) -> list[FrozenTrial]:
        return optuna.load_study(study_name="study", storage=self.url).get_trials()

    def agrees(self) -> bool:
        def plain(trial: FrozenTrial) -> tuple[object, ...]:
            return (
                trial.number,
                trial.state,
                trial.values,
                trial.params,
                trial.distributions,
                trial.user_attrs,
                trial.system_attrs,
                trial.intermediate_values,
                trial.datetime_complete is None,
            )

        return [plain(trial) for trial in self.study.get_trials()] == [plain(trial) for trial in self.seen()]


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    yield Subject(tmp_path / "study.db")


def test_the_database_holds_what_memory_holds(subject: Subject) -> None:
    subject.study.set_user_attr("about", {"metric": "MRR@10"})
    first, second, third = (subject.study.ask(DISTRIBUTIONS) for _ in range(3))
    first.report(0.5, 1)
    second.report(0.25, 1)
    first.set_user_attr("valid", {"mrr@10": 0.5})
    subject.study.tell(first, 0.5)
    subject.study.tell(third, state=TrialState.FAIL)
    subject.clock.now = 1.0
    subject.memory.flush_if_due()
    assert subject.agrees()
    again = WriteThroughStorage(subject.backend, "study")
    assert again.get_study_user_attrs(0) == {"about": {"metric": "MRR@10"}}
    assert [trial.state for trial in again.get_all_trials(0)] == [
        TrialState.COMPLETE,
        TrialState.RUNNING,
        TrialState.FAIL,
    ]


def test_a_requeued_trial_is_asked_for_first_with_its_parameters(subject: Subject) -> None:
    first = subject.study.ask(DISTRIBUTIONS)
    subject.study.tell(subject.study.ask(DISTRIBUTIONS), 0.5)
    # InMemoryStorage has looked for waiting trials by now, and remembers that there are none up to here.
    subject.memory.set_trial_state_values(first._trial_id, TrialState.WAITING)
    again = subject.study.ask(DISTRIBUTIONS)
    assert (again.number, again.params) == (first.number, first.params)
    assert subject.agrees()


def test_intermediate_values_are_written_late_but_before_the_end(subject: Subject) -> None:
    trial = subject.study.ask(DISTRIBUTIONS)
    before = subject.commits
    for epoch in range(1, 11):
        trial.report(epoch / 10, epoch)
    subject.memory.flush_if_due()
    assert subject.commits == before
    subject.clock.now = 1.0
    subject.memory.flush_if_due()
    assert subject.commits == before + 1
    assert subject.seen()[0].intermediate_values == {epoch: epoch / 10 for epoch in range(1, 11)}
    trial.report(1.1, 11)
    subject.study.tell(trial, 1.1)
    assert subject.seen()[0].last_step == 11


def test_a_transaction_block_is_one_transaction(subject: Subject) -> None:
    before = subject.commits
    with subject.memory.transaction():
        trial = subject.study.ask(DISTRIBUTIONS)
        trial.set_user_attr("seed", 2020)
        assert subject.seen() == []
    assert subject.commits == before + 1
    assert subject.agrees()


@settings(max_examples=20, deadline=None)
@given(fails_at=st.integers(min_value=0, max_value=30))
def test_the_end_of_a_trial_is_written_completely_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, fails_at: int
) -> None:
    subject = Subject(tmp_path_factory.mktemp("study") / "study.db")
    trial = subject.study.ask(DISTRIBUTIONS)
    trial.report(0.5, 1)
    statements = 0

    def refuse(*_: object) -> None:
        nonlocal statements
        statements += 1
        if statements > fails_at:
            raise OSError("the disk is full")

    # SQLAlchemy treats exceptions of this function like those of the driver.
    event.listen(subject.backend.engine, "before_cursor_execute", refuse)
    failed = False
    try:
        with subject.memory.transaction():
            trial.set_user_attr("valid", {"mrr@10": 0.5})
            trial.set_user_attr("epochs", 1)
            subject.study.tell(trial, 0.5)
    except (StorageInternalError, OSError):
        failed = True
    event.remove(subject.backend.engine, "before_cursor_execute", refuse)
    (seen,) = subject.seen()
    if failed:
        assert (seen.state, seen.user_attrs, seen.values) == (TrialState.RUNNING, {}, None)
    else:
        assert subject.agrees()
        assert seen.state is TrialState.COMPLETE


def test_the_study_must_exist(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        WriteThroughStorage(RDBStorage(f"sqlite:///{tmp_path}/study.db"), "study")


def test_an_interrupted_transaction_leaves_nothing(subject: Subject) -> None:
    with pytest.raises(KeyboardInterrupt), subject.memory.transaction():
        subject.study.ask().suggest_int("n_layers", 1, 3)
        raise KeyboardInterrupt
    assert subject.seen() == []


def test_a_study_from_which_trials_were_removed_is_refused(subject: Subject) -> None:
    for _ in range(2):
        subject.study.tell(subject.study.ask(DISTRIBUTIONS), 0.5)
    with subject.backend.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trials SET number = 7 WHERE number = 1")
    with pytest.raises(CorruptStudyError, match="removed"):
        WriteThroughStorage(subject.backend, "study")
