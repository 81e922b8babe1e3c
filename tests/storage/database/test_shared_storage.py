"""Several coordinators on one study, on a real PostgreSQL; where it may differ, also on a real MariaDB."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from rich.console import Console
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from sasrecf_tune.cli.signals import stopping_on_signals
from sasrecf_tune.errors import Interrupted, StudyMismatchError
from sasrecf_tune.executors.base import Handler
from sasrecf_tune.executors.inline import InlineExecutor
from sasrecf_tune.inputs.earlier_trials import EarlierTrial
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import Sampler
from sasrecf_tune.messages import Failure, FailureKind
from sasrecf_tune.report.terminal.end_summary import show_end
from sasrecf_tune.search.coordinator import Coordinator
from sasrecf_tune.search.earlier.matching import Counted
from sasrecf_tune.search.limits import Outcome
from sasrecf_tune.search.open_study import load_study
from sasrecf_tune.search.peers import with_peer_notes
from sasrecf_tune.search.running_trials import RunningTrial
from sasrecf_tune.search.study import TrialLost
from sasrecf_tune.storage.database import coordination, heartbeats, reconnect
from sasrecf_tune.storage.database.coordination import DatabaseCoordination
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.pending_results import PendingResult, replay_pending
from sasrecf_tune.trials import State, TrialRecord
from tests.support.database_servers import Server
from tests.support.fake_training import FakeTraining
from tests.support.paths import ROOT
from tests.support.peer import CELLS, SPACE, Peer, result

on_both = pytest.mark.parametrize("server", ["postgresql", "mariadb"], indirect=True)


class Process:
    """A coordinator in a process of its own; `events` are those that it has printed so far."""

    def __init__(
        self, directory: Path, out: str, url: str | None, *options: str, seconds: float = 0.03
    ) -> None:
        (directory / "hyper.test").write_text(SPACE)
        self.directory = directory / out / "study"
        self.events: list[dict[str, Any]] = []
        self._errors = (directory / f"{uuid.uuid4().hex}.err").open("w+")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.peer_process", str(seconds), "run", "--json"),
                *("--params-file", "hyper.test", "--study", "study", "--out", out, "--gpus", "none"),
                *("--sampler", "grid", "--pruner", "none"),
                *(("--storage", url) if url else ()),
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=directory,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def hear(self, done: Callable[[dict[str, Any]], bool] = lambda _: False) -> bool:
        """Read events until one for which `done`, or the end; returns whether there was one."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events.append(json.loads(line))
            if done(self.events[-1]):
                return True
        return False

    def until(self, kind: str, times: int = 1) -> None:
        """Read events until so many of this kind."""
        for _ in range(times):
            assert self.hear(lambda event: event["event"] == kind), self.errors()

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def runs(self) -> bool:
        return self._process.poll() is None

    def end(self) -> int:
        """Read events until it ends; returns its exit code."""
        self.hear()
        return self._process.wait()

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def said(self, kind: str) -> list[Any]:
        return [event for event in self.events if event["event"] == kind]

    def table(self) -> tuple[str, str]:
        """The files that are equal for equal studies, whenever their trials were trained."""
        return (self.directory / "hyper.result").read_text(), (self.directory / "best.yaml").read_text()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def begin(out: str, url: str | None, *options: str, **more: float) -> Process:
        started.append(Process(tmp_path, out, url, *options, **more))
        return started[-1]

    yield begin
    for process in started:
        process.send(signal.SIGKILL)
        process.end()


def records(url: str, directory: Path) -> list[TrialRecord]:
    storage = open_storage(StudyDirectory(directory), url)
    try:
        return load_study(StudyDirectory(directory), storage, parse(SPACE)).records()
    finally:
        storage.engine.dispose()


def whole(found: list[TrialRecord]) -> bool:
    """Every cell has one result."""
    cells = {(record.params["learning_rate"], record.params["n_layers"]) for record in found}
    return (
        len(found) == len(cells) == CELLS
        and [record.number for record in found] == list(range(CELLS))
        and all(record.state == State.COMPLETE for record in found)
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The files of the same study with a single coordinator, in SQLite."""
    run = Process(tmp_path_factory.mktemp("alone"), "alone", None, seconds=0)
    assert run.end() == 0, run.errors()
    return run.table()


@on_both
def test_survivors_finish_the_trials_of_killed_coordinators(
    start: Callable[..., Process], url: str, alone: tuple[str, str]
) -> None:
    draw = random.Random(os.environ.get("SASRECF_TUNE_TESTS_SEED", "1"))
    runs = [start(out, url, seconds=0.15) for out in ("shared", "shared", "third", "fourth")]
    for run in runs:
        run.until("started")
    for killed in runs[1:3]:
        killed.until(draw.choice(("reported", "started", "ended")), draw.randint(1, 2))
        killed.send(signal.SIGKILL)
    for survivor in (runs[0], runs[3]):
        assert survivor.end() == 0, survivor.errors()
        assert len(survivor.said("ended")) == len({event["trial"] for event in survivor.said("ended")})
    assert whole(records(url, runs[0].directory))
    # The last one has all results; the other may have left while the last trials were running.
    last = [run for run in (runs[0], runs[3]) if run.said("end")[0]["ended"] == CELLS]
    assert last and all(run.table() == alone for run in last)


def test_a_suspended_coordinator_does_not_overwrite_reassigned_trials(
    start: Callable[..., Process], url: str
) -> None:
    sleeper = start("one", url, seconds=0.1)
    sleeper.until("reported")
    sleeper.send(signal.SIGSTOP)
    taken = sleeper.said("started")[-1]["trial"]
    other = start("two", url)
    assert other.end() == 0, other.errors()
    assert taken in [event["trial"] for event in other.said("started")]
    before = records(url, other.directory)
    sleeper.send(signal.SIGCONT)
    assert sleeper.end() == 0, sleeper.errors()
    assert f"trial {taken} was reassigned to another run" in sleeper.said("note")[-1]["text"]
    assert [event["trial"] for event in sleeper.said("lost")] == [taken] and not sleeper.said("returned")
    assert whole(before) and records(url, other.directory) == before
    assert sleeper.table() == other.table()


@on_both
def test_a_server_restart_loses_nothing(start: Callable[..., Process], server: Server, url: str) -> None:
    runs = [start(out, url, "--confirm", "1", "--confirm-seeds", "2") for out in ("one", "two")]
    for run in runs:
        run.until("ended", 2)
    server.stop()
    try:
        runs[0].until("note")
    finally:
        server.start()
    assert [run.end() for run in runs] == [0, 0], runs[0].errors() + runs[1].errors()
    assert whole(records(url, runs[0].directory))
    begun = [event["trial"] for run in runs for event in run.said("started") if "params" in event]
    assert len(set(begun)) == CELLS
    # Only the last coordinator confirms, when the other has left.
    assert sorted(len(run.said("confirmed")) for run in runs) == [0, 1]
    for run in runs:
        notes = [event["text"] for event in run.said("note") if "not confirmed yet" in event["text"]]
        assert len(notes) == 1 - len(run.said("confirmed"))
        assert run.said("end")[0]["best"]["params"]["n_layers"] in (1, 2, 3, 4)


def test_a_pending_result_is_recorded_when_the_database_is_back(
    start: Callable[..., Process], server: Server, url: str
) -> None:
    first = start("one", url, seconds=0.5)
    first.until("started")
    server.stop()
    try:
        assert first.end() == 1
    finally:
        server.start()
    assert "Traceback" not in first.errors()
    assert "database error: " in first.errors()
    (kept,) = StudyDirectory(first.directory).pending_results()
    again = start("one", url)
    assert again.end() == 0, again.errors()
    assert "pending from an earlier run" in again.said("note")[0]["text"]
    assert not kept.exists() and whole(records(url, first.directory))
    assert kept.name not in [
        StudyDirectory(first.directory).pending_result(event["trial"]).name for event in again.said("started")
    ]


def test_two_runs_with_real_training(tmp_path: Path, tiny_yaml: Path, url: str) -> None:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01, 0.003, 0.001]\n")

    def begin(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "sasrecf_tune", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"SASRECF_TUNE_STORAGE": url, "PYTHONPATH": str(ROOT)},
        )

    options = ["--config-files", str(tiny_yaml), "--pruner", "none", "--json"]
    command: list[str] = ["run", "--params-file", "hyper.test", *options]
    runs = [begin(*command), begin(*command)]
    said = [[json.loads(line) for line in run.communicate(timeout=240)[0].splitlines()] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    begun = [event["trial"] for events in said for event in events if event["event"] == "started"]
    assert sorted(begun) == [0, 1, 2]
    study = tmp_path / "tuning" / "ml-100k-hyper"
    assert len((study / "trials.csv").read_text().splitlines()) == 4
    assert {path.stem for path in (study / "logs").glob("trial-*")} == {f"trial-{n:04d}" for n in range(3)}
    assert not list(study.glob(".*")) and (study / "report.html").exists()
    report = begin("report", "--format", "json")
    ranked = json.loads(report.communicate(timeout=240)[0])
    assert report.returncode == 0 and ranked["ended"] == 3
    scores = [row["score"] for row in ranked["trials"]]
    assert scores == sorted(scores, reverse=True) and all(score > 0 for score in scores)


# ---- Coordinators in this process ----


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_no_configuration_is_given_out_twice(join: Callable[..., Peer], sampler: Sampler) -> None:
    first, second = join(sampler), join(sampler)
    turns = [first, second, second, first, second, first, first, first]
    trials = [one.begin() for one in turns]
    assert [trial.number for trial in trials] == list(range(8))
    assert len({tuple(trial.params.items()) for trial in trials}) == 8
    for one, trial in zip(turns, trials, strict=True):
        one.report(trial, 0.1, 0.2)
        one.tell(trial)
    # Samplers and pruners see the results of others.
    first.look()
    assert len(first.study.optuna.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) == 8
    assert [record.number for record in first.study.take_finished_by_peers()] == [1, 2, 4]
    assert first.study.take_finished_by_peers() == []


def test_another_study_of_this_name_is_refused(join: Callable[..., Peer]) -> None:
    join(seed=1)
    with pytest.raises(StudyMismatchError, match="seed: was 1, now 7"):
        join(seed=7)


@on_both
def test_trials_that_several_coordinators_import_are_added_once(join: Callable[..., Peer]) -> None:
    earlier = EarlierTrial({}, {"mrr@10": 0.4}, epochs=4)
    imports = [
        Counted("first", {"learning_rate": rate, "n_layers": 1}, 0.4, 4, earlier) for rate in (0.1, 0.01)
    ]
    watching, first, second = join(), join(imports=imports), join(imports=imports)
    assert first.said == ["imported 2 trials"]
    assert second.said == ["imported 0 trials; the study has 2 already"]
    watching.look()
    assert [record.imported for record in watching.study.take_finished_by_peers()] == ["first"] * 2
    for one in (first, second):
        one.look()
        assert one.study.take_finished_by_peers() == []
        assert [record.imported for record in one.study.records()] == ["first"] * 2
    # They count towards no limit, and a trial that begins has the next number.
    assert first.ask(limit=1) is not None and second.ask(limit=1) is None
    assert [record.number for record in first.study.records()] == [0, 1, 2]


@on_both
def test_totals_count_the_trials_and_time_of_all_coordinators(join: Callable[..., Peer]) -> None:
    first, second = join(), join()
    trials = [first.begin(), second.begin()]
    assert first.ask(limit=2) is None and second.ask(limit=2) is None
    first.tell(trials[0])
    assert second.ask(limit=2) is None
    second.study.requeue(trials[1].number)
    again = first.ask(limit=2)
    assert again is not None and again.number == trials[1].number
    # Time that two work at once counts once.
    for one in (first, second, first, second):
        one.study.add_seconds(100.0)
    assert 100.0 <= first.study.seconds_spent() < 150.0


@on_both
def test_a_silent_coordinator_loses_its_trials(
    join: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = join()
    lost, kept = silent.begin(), silent.begin()
    silent.report(kept, 0.25)
    monkeypatch.setattr(heartbeats, "SILENT_SECONDS", 0.0)
    other = join()
    taken = other.begin()
    assert taken.number == lost.number
    # A waiting trial is continued; a reassigned one is neither recorded nor queued again.
    silent.look()
    assert silent.study.owns(kept) and not silent.study.owns(lost)
    with pytest.raises(TrialLost):
        silent.tell(lost, 0.9)
    silent.study.requeue(lost.number)
    assert other.study.owns(taken)
    assert other.tell(taken, 0.1).score == 0.1
    assert silent.tell(kept, 0.3).score == 0.3
    silent.look()
    assert [record.score for record in silent.study.records()] == [0.1, 0.3]
    with pytest.raises(TrialLost):
        silent.study.retry(lost, Failure(lost.number, FailureKind.WORKER_DIED, "its worker died"))


def test_a_process_of_this_machine_that_has_exited_is_dead_at_once(join: Callable[..., Peer]) -> None:
    dead, alive = join(), join()
    trial = dead.begin()
    alive.look()
    assert alive.peers.count_elsewhere() == 1
    assert dead.peers._heartbeat.me is not None
    dead.peers._heartbeat.me = replace(dead.peers._heartbeat.me, begun="another time")
    dead.look()
    alive.look()
    assert alive.peers.count_elsewhere() == 0 and alive.begin().number == trial.number


def test_an_idle_coordinator_takes_over_the_trials_of_a_dead_one(join: Callable[..., Peer]) -> None:
    dead, alive = join(), join()
    trial = dead.begin()
    alive.look()
    assert dead.peers._heartbeat.me is not None
    dead.peers._heartbeat.me = replace(dead.peers._heartbeat.me, begun="another time")
    dead.look()
    # An idle coordinator looks at the others long before its next heartbeat is due.
    assert heartbeats.BEAT_SECONDS > coordination._LOOK_SECONDS
    assert alive.peers.count_elsewhere() == 1 and alive.peers.has_silent_peers()
    assert alive.begin().number == trial.number
    assert not alive.peers.has_silent_peers()


def test_a_trial_that_ends_during_a_join_is_counted_once(
    join: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = join()
    trial, later = first.begin(), first.begin()
    joins = DatabaseCoordination.join

    def late(self: DatabaseCoordination, about: str, say: Callable[[str], None]) -> None:
        first.tell(trial)
        joins(self, about, say)

    monkeypatch.setattr(DatabaseCoordination, "join", late)
    second = join()
    search = searching(second)
    search._take_finished_by_peers()
    assert search._limits.done == 1
    first.tell(later)
    second.look()
    search._take_finished_by_peers()
    assert search._limits.done == 2


@on_both
def test_a_coordinator_that_was_disconnected_does_not_declare_others_dead(
    join: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = join(), join()
    first.begin()
    clock = heartbeats.database_time
    for heard, left in ((0.0, 1), (0.4, 1), (0.8, 1), (1.2, 0)):
        later = 1000 + heard * heartbeats.SILENT_SECONDS
        monkeypatch.setattr(heartbeats, "database_time", lambda session, later=later: clock(session) + later)
        second.look()
        assert second.peers.count_elsewhere() == len(second.peers.list_peers()) == left


def test_leave_tells_the_last_coordinator(join: Callable[..., Peer]) -> None:
    first, second = join(), join("random")
    second.look()
    plan = with_peer_notes(second.plan, second.peers.list_peers())
    assert (
        "another search by" in plan.notes[-1]
        and "(grid, pruner none); this run uses random" in plan.notes[-1]
    )
    assert not first.peers.leave()
    assert second.peers.leave()


@on_both
def test_a_connection_lost_at_any_statement_changes_nothing(join: Callable[..., Peer]) -> None:
    first, second = join(), join()
    first.peers.reconnect._pause = lambda _: None
    statements = cut_at = 0

    def cut(connection: Any, *_: object) -> None:
        nonlocal statements
        statements += 1
        if statements == cut_at:
            connection.connection.driver_connection.close()

    event.listen(first.storage.engine, "before_cursor_execute", cut)
    numbers: list[int] = []
    while statements >= cut_at and len(numbers) < CELLS - 1:
        statements, cut_at = 0, cut_at + 7
        trial = first.begin()
        first.report(trial, 0.1, 0.2)
        first.tell(trial)
        numbers.append(trial.number)
        if len(numbers) % 2:
            second.tell(second.begin())
    event.remove(first.storage.engine, "before_cursor_execute", cut)
    assert first.said and len(numbers) > 5
    second.look()
    found = second.study.records()
    assert [record.number for record in found] == list(range(len(found)))
    assert len({tuple(record.params.values()) for record in found}) == len(found)
    assert all(record.state == State.COMPLETE for record in found)
    assert all(len(second.study.curves()[number]) == 2 for number in numbers)


@on_both
def test_reports_need_four_statements_in_all(join: Callable[..., Peer]) -> None:
    one = join()
    trials = [one.begin() for _ in range(4)]
    statements: list[str] = []
    event.listen(one.storage.engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    for trial in trials:
        one.report(trial, 0.1, 0.2, 0.3)
    assert statements == []
    one.now += 1
    one.study.flush_if_due()
    # The lock, the changes of others, the values that exist, and all new values in one statement.
    assert len(statements) == 4


def searching(
    one: Peer, *trials: optuna.Trial, executor: type[InlineExecutor] = InlineExecutor
) -> Coordinator:
    """A search that is training `trials`."""
    training = FakeTraining(lambda _: 0.5)
    made = executor(training.train, training.describe)
    search = Coordinator(one.plan, one.study, one.study_dir, made, [])
    search._running.trials.update({trial.number: RunningTrial(trial, 4) for trial in trials})
    return search


@contextlib.contextmanager
def refusing(one: Peer) -> Iterator[None]:
    """Cut all connections of `one` to the database."""

    def cut(connection: Any, *_: object) -> None:
        connection.connection.driver_connection.close()

    event.listen(one.storage.engine, "before_cursor_execute", cut)
    try:
        yield
    finally:
        event.remove(one.storage.engine, "before_cursor_execute", cut)


def test_a_result_is_kept_as_soon_as_the_database_refuses_it(join: Callable[..., Peer]) -> None:
    one = join()
    trial = one.begin()
    search = searching(one, trial)

    def killed(_: float) -> None:
        raise KeyboardInterrupt

    one.peers.reconnect._pause = killed
    with refusing(one), pytest.raises(KeyboardInterrupt):
        search.on_outcome(result(trial.number, 0.7))
    assert one.study_dir.pending_results() == [one.study_dir.pending_result(trial.number)]
    again = Peer(one.study_dir.directory.parent, str(one.plan.settings.storage))
    again.storage.engine.dispose()
    assert [record.score for record in again.study.records()] == [0.7]
    assert not again.study_dir.pending_results()
    assert again.study.curves() == {trial.number: [(4, 0.7)]}  # samplers need it


def test_a_pending_result_is_removed_when_a_retry_succeeds(join: Callable[..., Peer]) -> None:
    one = join()
    trial = one.begin()
    search = searching(one, trial)
    kept: list[Path] = []
    with contextlib.ExitStack() as away:
        away.enter_context(refusing(one))

        def back(_: float) -> None:
            kept.extend(one.study_dir.pending_results())
            away.close()

        one.peers.reconnect._pause = back
        search.on_outcome(result(trial.number))
    assert kept and search._limits.done == 1 and not one.study_dir.pending_results()


@pytest.mark.parametrize("asked", [False, True])
def test_results_of_other_workers_are_kept_too(join: Callable[..., Peer], asked: bool) -> None:
    """When time is up, and as soon as the run is asked to stop."""
    one = join()
    reconnect = one.peers.reconnect
    waits = 0
    with contextlib.ExitStack() as away:

        def wait(_: float) -> None:
            nonlocal waits
            waits += 1
            if asked:
                search.stop("stopped by Ctrl-C")
            else:
                one.now += 200

        reconnect._pause, reconnect._clock = wait, lambda: one.now

        class Workers(InlineExecutor):
            """All trials end while the database is unavailable."""

            free = property(lambda self: 3 - len(self._waiting))

            def step(self, handler: Handler, timeout: float) -> None:
                if len(self._waiting) == 3:
                    away.enter_context(refusing(one))
                if self._waiting:
                    number = self._waiting.popleft().number
                    handler.on_outcome(result(number, number / 10))

        search = searching(one, executor=Workers)
        with pytest.raises(Interrupted if asked else StorageInternalError):
            search.run()
    assert waits == 1
    assert len(one.study_dir.pending_results()) == 3
    again = Peer(one.study_dir.directory.parent, str(one.plan.settings.storage))
    again.storage.engine.dispose()
    assert [record.score for record in again.study.records()] == [0.0, 0.1, 0.2]


def test_a_stop_while_the_database_is_unavailable_is_an_interruption(
    join: Callable[..., Peer],
) -> None:
    one = join()
    one.peers.reconnect._pause = lambda _: None
    trials = [one.begin(), one.begin()]

    class Workers(InlineExecutor):
        """One trial has ended, but this is not known yet."""

        def step(self, handler: Handler, timeout: float) -> None:
            if ended:
                handler.on_outcome(ended.pop())

    ended = [result(trials[0].number, 0.7)]
    search = searching(one, *trials, executor=Workers)
    search.stop("stopped by SIGTERM", 0.0)
    with (
        refusing(one),
        pytest.raises(Interrupted, match="stopped by SIGTERM; the study's database was unreachable"),
    ):
        search.run()
    assert one.study_dir.pending_results() == [one.study_dir.pending_result(trials[0].number)]


@on_both
def test_a_hanging_database_does_not_prevent_a_stop(
    join: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconnect, "HANG_SECONDS", 0.0)
    one, other = join(), join()
    trial = one.begin()
    search = searching(one, trial)
    console = Console(file=io.StringIO())
    # The other locks the study and idles: no statement is answered, and none fails.
    with other.shared.transaction(), stopping_on_signals(search, 0.0, console, quiet=True):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SQLAlchemyError, match="does not answer"):
            search.on_outcome(result(trial.number, 0.7))
        with pytest.raises(Interrupted, match="stopped by SIGTERM; the study's database was unreachable"):
            search.run()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert one.study_dir.pending_results() == [one.study_dir.pending_result(trial.number)]
    other.look()
    assert other.study.trials()[trial.number].state == optuna.trial.TrialState.RUNNING


def test_pending_results_that_another_run_removes_are_skipped(join: Callable[..., Peer]) -> None:
    one = join()
    trials = [one.begin() for _ in range(2)]
    for trial in trials:
        PendingResult(one.study_dir, result(trial.number), one.peers.token).keep()

    def told(number: int, *_: object) -> bool:
        for path in one.study_dir.pending_results():
            path.unlink()  # as another run does
        return True

    replay_pending(one.study_dir, told, one.said.append)
    assert len(one.said) == 1


def test_a_pending_result_stays_until_the_retrained_trial_has_ended(join: Callable[..., Peer]) -> None:
    one, other = join(), join()
    trial = other.begin()
    PendingResult(one.study_dir, result(trial.number), "of an earlier run").keep()
    replay_pending(one.study_dir, one.study.record_pending, one.said.append)
    assert len(one.study_dir.pending_results()) == 1
    other.tell(trial, 0.9)
    replay_pending(one.study_dir, one.study.record_pending, one.said.append)
    assert not one.study_dir.pending_results() and not one.said
    assert [record.score for record in other.study.records()] == [0.9]


def test_a_run_that_finds_all_trials_taken_succeeds(
    join: Callable[..., Peer], start: Callable[..., Process], url: str
) -> None:
    one = join()
    trial = one.begin()
    other = start("late", url, "--trials", "1", "--seed", "1")
    while other.runs():
        one.look()
    assert other.end() == 0, other.errors()
    assert other.said("end")[0]["reason"].startswith("no trial is left to start; other runs still train")
    said = io.StringIO()
    outcome = Outcome("no trial is left to start", 0)
    show_end(one.plan, one.study_dir, one.study.records(), outcome, None, Console(file=said))
    assert "No trial has completed yet; 1 trial is being trained elsewhere." in said.getvalue()
    assert one.study.owns(trial)
