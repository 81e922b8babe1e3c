"""Workers on a real Ray cluster of several nodes, some of which are lost."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sasrecf_tune.cli.app import main
from sasrecf_tune.cli.arguments import worker_count
from sasrecf_tune.cli.reproduce import reproduce_study
from sasrecf_tune.cli.run import run
from sasrecf_tune.errors import InputError, WorkerError
from sasrecf_tune.executors.ray import cluster as clusters
from sasrecf_tune.executors.ray import executor as rays
from sasrecf_tune.executors.ray.actor import Worker
from sasrecf_tune.executors.ray.cluster import (
    Head,
    Node,
    Share,
    check_versions,
    connected,
    nodes,
    share_for,
    unused,
    version_difference,
)
from sasrecf_tune.executors.ray.executor import RayExecutor
from sasrecf_tune.executors.ray.waiting import WaitingWorkers, waiting_text
from sasrecf_tune.messages import (
    Decision,
    Describe,
    FailureKind,
    FusionTiming,
    Job,
    MeasureFusion,
    Report,
    Result,
)
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.manifest import read_manifest, settings_from
from tests.support import synthetic_data
from tests.support.bench import GRID, bench, quality
from tests.support.executors import Heard, drive, train
from tests.support.fake_runner import EPOCHS
from tests.support.fake_training import FakeTraining
from tests.support.fused_trials import alone, check_same
from tests.support.ray_cluster import add_node, ray_cluster

DATA = ("--params-file", "s.test", "--dataset", synthetic_data.NAME, "--data-path", ".")
SEARCH = (*DATA, "--config-files", "c.yaml", "--sampler", "grid", "--pruner", "none")

Make = Callable[..., RayExecutor]
Jobs = Callable[..., Job]
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def parent(process: int) -> int:
    """The process that started `process`."""
    stat = Path(f"/proc/{process}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def children(process: int) -> list[int]:
    """The processes that `process` has started and that have not ended."""
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def gone(*processes: int) -> bool:
    """Whether all of these end within half a minute."""
    for process in processes:
        try:
            handle = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        ended, _, _ = select.select([handle], [], [], 30)
        os.close(handle)
        if not ended:
            return False
    return True


def test_a_worker_that_ray_loses_costs_its_job_and_is_replaced(
    on_ray: Make, job: Jobs, study_dir: StudyDirectory
) -> None:
    lost: list[int] = []

    def kill(report: Report) -> Decision:
        if report.number == 0 and report.epoch == 2:
            process = int(report.metrics["process"])
            lost.extend((process, parent(process)))
            os.kill(parent(process), signal.SIGKILL)
        return Decision.CONTINUE

    heard = Heard(kill)
    train(on_ray(), heard, job(0), job(1))
    failure = heard.failure(0)
    assert (failure.kind, failure.epochs, failure.seconds) == ("died", 2, 2.0)
    assert "was lost: its process was ended" in failure.reason
    log = study_dir.log(0).read_text()
    assert log.startswith("trial 0 on card") and log.endswith(f"\n{failure.reason}\n")
    assert isinstance(heard.outcomes[1], Result)
    assert gone(*lost)


def test_killed_between_jobs_costs_none(on_ray: Make, job: Jobs) -> None:
    heard = Heard()
    executor = on_ray()
    train(executor, heard, job(0))
    process = parent(int(heard.reports[0].metrics["process"]))
    os.kill(process, signal.SIGKILL)
    assert gone(process)
    train(executor, heard, job(1))
    assert isinstance(heard.outcomes[1], Result)


def test_idle_workers_are_let_go_of_and_come_back(on_ray: Make, job: Jobs) -> None:
    now = 0.0
    executor, heard, said = on_ray(workers=2, slots=0, clock=lambda: now), Heard(), list[str]()
    executor.say = said.append
    asked = MeasureFusion({}, "fast", 2, 4, 1.1, sharers=50)
    assert executor.measure_fusion(asked) == FusionTiming({2: 1.5}, "1 share")  # a node has one CPU
    executor.submit(job(0, "hang"))
    drive(executor, heard, lambda: heard.epochs(0) and executor.free)
    executor.step(heard, 0)
    for now in (59.0, 61.0):
        executor.step(heard, 0)
        assert len(executor._workers) == (2 if now == 59.0 else 1)
    assert executor.free == 1
    train(executor, heard, job(1))
    assert isinstance(heard.outcomes[1], Result) and len(executor._workers) == 2 and not said


def test_on_a_lost_node_goes_on_elsewhere_from_what_came_home(
    on_ray: Make, study_dir: StudyDirectory, connection: Any
) -> None:
    """The one node that is large enough is removed when two epochs are over, and another takes its place."""
    first = add_node(connection, num_cpus=8)
    added: list[Any] = []

    def lose(report: Report) -> Decision:
        if report.epoch == 2 and not added:
            added.append(add_node(connection, num_cpus=8))
            connection.remove_node(first, allow_graceful=False)
        return Decision.CONTINUE

    def keeping() -> Job:
        unfinished = study_dir.unfinished(0)
        return Job(0, {}, "fast", study_dir.log(0), study_dir.checkpoint(0), unfinished, checkpoint_every=1)

    heard = Heard(lose)
    executor = on_ray("Keeping", share=Share(8))
    train(executor, heard, keeping())
    assert (
        heard.failure(0).kind == FailureKind.WORKER_DIED
        and "was lost, perhaps with the node" in heard.failure(0).reason
    )
    assert study_dir.unfinished(0).read_text() == "epoch 1"
    assert not study_dir.checkpoint(0).exists()
    del heard.outcomes[0]
    train(executor, heard, keeping())
    connection.remove_node(added[0])
    assert isinstance(heard.outcomes[0], Result)
    assert "goes on from epoch 1" in study_dir.log(0).read_text()
    assert study_dir.checkpoint(0).read_text() == "weights of 0"
    assert study_dir.unfinished(0).read_text() == f"epoch {EPOCHS}"


def test_a_failure_in_a_group_on_a_node_is_one_jobs_own(on_ray: Make, job: Jobs) -> None:
    executor, heard = on_ray(slots=3), Heard()
    executor.describe(Describe({}, "fast"))
    assert executor.free == 3
    for one in (job(0), job(1, "error"), job(2)):
        executor.submit(one)
    assert executor.free == 0
    drive(executor, heard, lambda: 1 in heard.outcomes)
    assert heard.failure(1).kind == FailureKind.ERROR
    assert executor.free == 0  # what it left behind must not meet a job that begins now
    drive(executor, heard, lambda: len(heard.outcomes) == 3)
    assert executor.free == 3
    train(executor, heard, job(3))
    processes = [report.metrics["process"] for report in heard.reports if report.epoch == 1]
    assert len(set(processes[:3])) == 1 and processes[3] != processes[0]


def test_a_group_on_a_lost_node_is_trained_elsewhere_with_the_same_results(
    connection: Any, study_dir: StudyDirectory, space: Path
) -> None:
    """The one node that is large enough is removed when each has trained twice; another takes its place."""
    first = add_node(connection, num_cpus=8)
    added: list[Any] = []

    def lose(report: Report) -> Decision:
        if not added and {number for number in range(3) if len(heard.epochs(number)) == 2} == {0, 1, 2}:
            added.append(add_node(connection, num_cpus=8))
            connection.remove_node(first, allow_graceful=False)
        return Decision.CONTINUE

    def group(where: StudyDirectory) -> list[Job]:
        config = synthetic_data.base(space) | {"epochs": 5, "hidden_dropout_prob": 0.2}
        return [Job(n, config | {"seed": n}, "fast", where.log(n), where.checkpoint(n)) for n in (0, 1, 2)]

    heard = Heard(lose)
    study_dir.directory.mkdir()
    executor = RayExecutor(study_dir, 1, Share(8), slots=3)
    try:
        executor.describe(Describe(synthetic_data.base(space), "fast"))
        train(executor, heard, *group(study_dir))
        assert {heard.failure(number).kind for number in range(3)} == {"died"}
        assert all("perhaps with the node" in study_dir.log(number).read_text() for number in range(3))
        again = Heard()
        train(executor, again, *group(study_dir))
    finally:
        executor.close()
    connection.remove_node(added[0])
    apart = StudyDirectory(study_dir.directory / "alone")
    apart.directory.mkdir()
    for number, outcome in alone(group(apart)).items():
        check_same(again.outcomes[number], outcome)
        ended = again.outcomes[number]
        assert isinstance(ended, Result) and ended.fused == 3


def test_workers_that_wait_for_a_node_hold_up_nobody(on_ray: Make, job: Jobs) -> None:
    heard = Heard()
    executor = on_ray(workers=50)
    (note,) = executor.describe(Describe({}, "fast")).notes
    assert re.fullmatch(r"there is room for \d+ of 50 workers \(1 CPU each\); the others wait for more", note)
    assert 1 <= executor.free < 50
    train(executor, heard, *map(job, range(4)))
    assert all(isinstance(outcome, Result) for outcome in heard.outcomes.values())


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_search_that_is_stopped_does_not_wait_for_a_node(
    on_ray: Make, tmp_path: Path, timeout: float | None
) -> None:
    now = itertools.count()
    later, said = 0.0, list[str]()

    def stop(text: str) -> None:
        nonlocal later
        said.append(text)
        if timeout:
            later = timeout
        else:
            one.search.stop("stopped by Ctrl-C")

    def clock() -> float:
        steps = next(now)
        assert steps < 200, "it waits"
        return steps / 100 + later

    training = FakeTraining(quality)
    with bench(tmp_path, GRID, training, timeout=timeout, clock=clock) as one:
        executor = on_ray(share=Share(64), workers=2)
        executor.say = stop
        one.search._executor = executor
        outcome = one.search.run()
        states = [record.state for record in one.records()]
    assert outcome.reason == ("the time limit (--timeout) is reached" if timeout else "stopped by Ctrl-C")
    assert outcome.interrupted == (timeout is None) and outcome.done == 0
    assert len(said) == 1 and said[0].startswith("waiting for 2 of 2 workers (64 CPUs each): ")
    assert states == ["waiting"] and not executor._waiting


def test_jobs_that_were_placed_and_not_sent_are_taken_back_and_others_go_on(on_ray: Make, job: Jobs) -> None:
    executor, heard = on_ray(slots=2), Heard()
    executor.describe(Describe({}, "fast"))
    executor.submit(job(0))
    drive(executor, heard, lambda: heard.reports)
    for number in (1, 2):
        executor.submit(job(number))
    executor._hand_out()
    assert [len(worker.given) for worker in executor._workers] == [1]
    assert sorted(executor.withdraw()) == [1, 2]
    drive(executor, heard, lambda: heard.outcomes)
    assert set(heard.outcomes) == {0} and executor.free == 2


def test_people_are_told_of_workers_that_wait() -> None:
    now, some, told = 0.0, [Node("a", "10.0.0.1", 3, 0), Node("b", "10.0.0.2", 2, 0)], list[object]()
    waits = WaitingWorkers(room=True, clock=lambda: now)
    assert WaitingWorkers(room=False).news(3, lambda: "told") == "told"
    assert not waits.news(0, lambda: "told")
    # When, how many wait, how many nodes there are, and for how many workers nobody uses what is there.
    for now, waiting, up, left in (
        *((0, 3, 1, 1), (9, 3, 1, 1), (10, 3, 1, 1), (15, 2, 1, 0), (30, 2, 2, 1), (30, 1, 2, 0)),
        *((41, 1, 2, 0), (49, 1, 1, 0), (51, 1, 1, 0), (62, 1, 1, 0), (63, 0, 2, 0), (64, 0, 2, 0)),
    ):
        text = partial(waiting_text, waiting, 3, Share(2), some[:up], left)
        if said := waits.news(waiting, text):
            told.append((now, said.removesuffix(" is free").removeprefix("waiting for ")))
    each = "of 3 workers (2 CPUs each): the cluster has"
    assert told == [
        (10, f"3 {each} 1 node with room for 1"),
        (30, f"2 {each} 2 nodes with room for 2, of which 1"),
        (41, f"1 {each} 2 nodes with room for 2, of which none"),
        (51, f"1 {each} 1 node with room for 1, of which none"),
        (63, "all 3 workers are up"),
    ]


def test_what_is_said_of_room_counts_what_is_in_use(on_ray: Make, job: Jobs) -> None:
    now, said = 0.0, list[str]()
    executor, heard = on_ray(workers=4, clock=lambda: now), Heard()
    executor.say = said.append
    executor.describe(Describe({}, "fast"))
    drive(executor, heard, lambda: executor.free == 3 and unused(Share(1)) == 0)
    for _ in range(2):
        now += 10
        executor.step(heard, 0)
    (text,) = said
    assert text.startswith("waiting for 1 of 4 workers (1 CPU each): ")
    assert text.endswith(", of which none is free")


def test_a_late_node_with_other_versions_costs_a_worker_and_not_the_search(
    on_ray: Make, job: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, heard, said = on_ray(workers=3), Heard(), list[str]()
    executor.say = said.append
    executor.submit(job(0, "hang"))
    drive(executor, heard, lambda: heard.reports and executor.free == 2)
    ours = clusters.versions() | {"torch": "1.0"}
    monkeypatch.setattr(rays, "versions", lambda: ours)
    executor._end([worker for worker in executor._workers if not worker.jobs][:1])
    drive(executor, heard, lambda: said)
    assert re.match(
        r"nothing is trained where versions differ: node \S+ has torch \S+, not 1\.0; pip", said[0]
    )
    assert len(executor._workers) == 2 and executor.free == 1
    executor.step(heard, 0)
    assert len(executor._workers) == 2 and not heard.outcomes
    executor._end(executor._workers)
    with pytest.raises(WorkerError, match=r"node \S+ has torch \S+, not 1\.0"):
        train(executor, heard, job(1))


def test_nodes_are_asked_again_only_where_a_worker_could_not_begin(
    on_ray: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.exceptions import RayActorError, RayError

    executor, asked, said = on_ray(workers=3), list[float](), list[str]()
    executor.say = said.append

    def differences(found: list[Node], seconds: float) -> list[str]:
        asked.append(seconds)
        return ["node a has no torch"]

    def lost(node: str, error: Exception) -> None:
        worker = Worker(0, None, node=node)
        executor._workers.append(worker)
        executor._lost(worker, error, None)

    monkeypatch.setattr(rays, "differences", differences)
    lost("a", RayActorError())  # it may have gone with the node, which Ray may yet take to be there
    lost("", RayActorError())
    lost("a", RayError("its process was ended"))
    assert not asked
    with pytest.raises(WorkerError, match="differ from this machine: node a has no torch"):
        lost("", RayError("no such module"))
    executor._workers.append(Worker(1, None, node="b"))
    lost("", RayError("no such module"))
    lost("", RayError("no such module"))
    executor._workers.clear()
    assert max(asked) <= 5 and executor.free == 1 and len(said) == 1


SIGNALLED = """
import os, signal, sys
from sasrecf_tune.executors import cluster

def ours(*_):
    print("ours")

signal.signal(signal.SIGTERM, ours)
with cluster.connected(sys.argv[1]):
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_sigterm_stays_ours_where_ray_is_imported(cluster: Any) -> None:
    """In a process of its own: here Ray has been imported."""
    command = [sys.executable, "-c", SIGNALLED, cluster.address]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "ours\n")


def test_workers_share_a_card(
    on_ray: Make, job: Jobs, study_dir: StudyDirectory, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RecBole leaves it behind in a process that has trained on the CPU: no node would have the card.
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    node = add_node(connection, num_cpus=2, num_gpus=1)
    executor = on_ray(workers=2, share=Share(1, of_gpu=2))
    heard = Heard()
    executor.submit(job(0, "hang"))
    drive(executor, heard, lambda: heard.epochs(0) and executor.free)
    train(executor, heard, job(1))  # while the first has not ended
    connection.remove_node(node)
    assert study_dir.log(1).read_text() == "trial 1 on card 0\n"


def test_what_no_node_has_is_not_waited_for(connection: Any) -> None:
    plain, cards = Node("a", "10.0.0.1", 4, 0), Node("b", "10.0.0.2", 4, 2)
    assert share_for((), 1, None, [plain]) == Share(1)
    assert share_for((), 1, 2, [plain, cards]) == Share(2, of_gpu=1)
    assert share_for(("",), 1, 3, [plain, cards]) == Share(3)
    assert share_for((), 4, None, [plain, cards]) == Share(1, of_gpu=4)
    with pytest.raises(InputError, match=r"no node .* has 1 CPU and a share \(1/2\) of a GPU"):
        share_for((), 2, None, [plain])
    with pytest.raises(InputError, match=r"no node .* has 5 CPUs and a GPU for a worker"):
        share_for((), 1, 5, [plain, cards])


def test_where_no_worker_comes_up_it_says_so(on_ray: Make, job: Jobs, study_dir: StudyDirectory) -> None:
    with pytest.raises(WorkerError, match=r"no such library \(on node") as caught:
        on_ray("cannot_be_made").describe(Describe({}, "fast"))
    with pytest.raises(WorkerError, match=r"SIGKILL.* before it was ready \(on node") as caught:
        train(on_ray("always_dies"), Heard(), job(0))
    assert caught.value.fix == f"Its log: {study_dir.worker_log(0)}"


def test_nodes_must_have_the_same_versions(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    check_versions(nodes())
    ours = clusters.versions() | {"torch": "1.0"}
    monkeypatch.setattr(clusters, "versions", lambda: ours)
    with pytest.raises(WorkerError, match=r"node \S+ has torch \S+, not 1\.0"):
        check_versions(nodes())
    assert version_difference({"ray": "2"}, {"ray": None}, "a") == ["node a has no ray"]


COORDINATOR = """
import sys
from pathlib import Path
from sasrecf_tune.executors.ray.cluster import Share, connected
from sasrecf_tune.executors.ray.executor import RayExecutor
from sasrecf_tune.executors.ray.waiting import Waits, waiting_text
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.messages import Decision, Job

class Told:
    def reported(self, report):
        print(int(report.metrics["process"]), flush=True)
        return Decision.CONTINUE

layout = StudyDirectory(Path(sys.argv[2]))
layout.directory.mkdir()
with connected(sys.argv[1]):
    executor = RayExecutor(layout, 1, Share(1), runner="tests.support.fake_runner:StandIn")
    executor.submit(Job(0, {"act": "hang"}, "fast", layout.log(0), layout.checkpoint(0)))
    while True:
        executor.step(Told(), 1)
"""


def test_workers_end_with_a_coordinator_that_is_killed(cluster: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", COORDINATOR, cluster.address, str(tmp_path / "study")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as coordinator:
        assert coordinator.stdout is not None
        process = int(coordinator.stdout.readline())
        actor = parent(process)
        coordinator.kill()
    assert gone(process, actor)


def test_what_is_no_cluster_is_an_error_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(address: str) -> None:
        with connected(address):
            raise AssertionError("there is no such cluster")

    with pytest.raises(InputError, match="is no address of a cluster"):
        said("somewhere")
    with pytest.raises(WorkerError, match=r"nobody answers there: .* refused"):
        said("127.0.0.1:1")
    with pytest.raises(InputError, match="how many workers"):
        worker_count(None, (), 1, "ray")
    with pytest.raises(InputError, match="Ray chooses the cards"):
        worker_count(2, ("0", "1"), 1, "ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkerError, match="Ray cannot be used here"):
        said("auto")


def test_a_head_that_does_not_answer_is_waited_for_a_while() -> None:
    now = 0.0
    head = Head("127.0.0.1:1", lambda: now)
    for now in (1.0, 6.0, 12.0, 20.0):
        head.look()
        assert head.answers == (now == 1.0)
    now = 26.0
    with pytest.raises(WorkerError, match=r"the cluster has gone: its head does not answer \(.*refused"):
        head.look()


def test_a_head_that_goes_while_the_data_is_prepared_is_no_end_in_rays_words(on_ray: Make) -> None:
    now = itertools.count(step=10.0)
    executor = on_ray(head=Head("127.0.0.1:1", now.__next__))
    with pytest.raises(WorkerError, match="the cluster has gone"):
        executor.describe(Describe({}, "fast"))
    assert not executor._workers


def test_room() -> None:
    some = [Node("a", "10.0.0.1", 4, 0), Node("b", "10.0.0.2", 5, 2)]
    assert [Share(cpus).room(some) for cpus in (1, 2, 5, 6)] == [9, 4, 1, 0]
    assert [Share(1, of_gpu).room(some) for of_gpu in (1, 2, 3)] == [2, 4, 5]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a data set that no node has, and a space of 6 configurations."""
    directory = tmp_path_factory.mktemp("space")
    synthetic_data.write_data_set(directory)
    (directory / "s.test").write_text("learning_rate choice [0.01,0.001]\nhidden_size choice [4,8,16]\n")
    settings = synthetic_data.base(directory) | {"epochs": 20, "stopping_step": 20}
    left_out = ("model", "dataset", "data_path", "seed")
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in settings.items() if key not in left_out]
    (directory / "c.yaml").write_text("".join(lines))
    return directory


def ranked(study: Path) -> list[dict[str, str]]:
    """The ranked table, without what chance decides: a trial's number and how long it took."""
    with (study / "ranking.csv").open() as file:
        rows = [
            {name: value for name, value in row.items() if name not in ("trial", "number", "seconds")}
            for row in csv.DictReader(file)
        ]
    return sorted(rows, key=lambda row: json.dumps(row))


@pytest.fixture(scope="module")
def study(space: Path, cluster: Any) -> Path:
    """Searched on three nodes, of which one is lost while each of them trains a trial."""
    command = [sys.executable, "-m", "sasrecf_tune", "run", *SEARCH, "--executor", "ray"]
    command += ["--address", cluster.address, "--workers", "3", "--json"]
    events: list[dict[str, Any]] = []
    lost: list[Any] = []
    with subprocess.Popen(
        command, cwd=space, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as coordinator:
        assert coordinator.stdout is not None and coordinator.stderr is not None
        for line in coordinator.stdout:
            events.append(json.loads(line))
            reported, ended = (
                {event["trial"] for event in events if event["event"] == kind}
                for kind in ("reported", "ended")
            )
            if not lost and len(reported - ended) == 3:
                lost.append(next(iter(cluster.worker_nodes)))
                cluster.remove_node(lost[0], allow_graceful=False)
        said = coordinator.stderr.read()
    add_node(cluster)
    assert (coordinator.returncode, said) == (0, "")
    again = [event for event in events if event["event"] == "retrying"]
    assert len(again) == 1 and "was lost" in again[0]["reason"]
    return space / "tuning" / f"{synthetic_data.NAME}-s"


@pytest.fixture(scope="module")
def here(study: Path, space: Path) -> list[dict[str, str]]:
    """The table of the same search by one worker of this machine."""
    settings, searched = settings_from(StudyDirectory(study))
    here = replace(settings, executor="local", workers=1, threads=1, out=space / "local")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(space)
        assert run(here, searched, Console(file=io.StringIO())) == 0
    return ranked(space / "local" / study.name)


def test_three_nodes_and_one_worker_here_give_the_same_table(study: Path, here: list[dict[str, str]]) -> None:
    ours = ranked(study)
    assert len(ours) == 6 and all(row["state"] == "complete" for row in ours)
    assert ours == here


def test_a_cluster_grows_for_a_search_and_shrinks_after_it(
    space: Path, here: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's autoscaler starts up to two nodes; the head has no CPU for workers."""
    from tests.support import autoscaling_ray  # imports Ray, which warns when it is imported first

    scaling = tmp_path / "scaling.json"
    scaling.write_text(json.dumps(autoscaling_ray.config(idle_seconds=2, cpus=1, most=2)))
    monkeypatch.setenv("AUTOSCALER_UPDATE_INTERVAL_S", "1")
    events: list[dict[str, Any]] = []
    started: list[int] = []
    with ray_cluster(num_cpus=0, autoscaling_config=str(scaling)) as cluster:
        (monitor,) = cluster.head_node.all_processes["monitor"]
        command = [sys.executable, "-m", "sasrecf_tune", "run", *SEARCH, "--study", "grown"]
        command += ["--executor", "ray", "--address", cluster.address, "--workers", "2", "--json"]
        with subprocess.Popen(command, cwd=space, stdout=subprocess.PIPE, text=True) as coordinator:
            assert coordinator.stdout is not None
            for line in coordinator.stdout:
                events.append(json.loads(line))
                if events[-1]["event"] == "reported" and not started:
                    started = children(monitor.process.pid)
        assert coordinator.returncode == 0
        assert started and gone(*started)
    note = "waiting for 2 of 2 workers (1 CPU each): the cluster has 1 node with room for 0"
    assert events[0] == {"event": "note", "text": note}
    assert ranked(space / "tuning" / "grown") == here


def test_logs_and_checkpoints_have_come_home(study: Path) -> None:
    logs = sorted(path.name for path in (study / "logs").glob("trial-*"))
    assert logs == [f"trial-{number:04d}.log" for number in range(6)]
    assert all("epoch 19 training" in (study / "logs" / name).read_text() for name in logs)
    weights = list((study / "checkpoints").iterdir())
    assert len(weights) == 3
    for path in weights:
        content = torch.load(path, weights_only=True)
        assert content["config"]["data_path"] == "."
        assert content["config"]["checkpoint_dir"] == str(study / "checkpoints")


def test_the_study_is_confirmed_and_reproduced(
    study: Path, space: Path, cluster: Any, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(StudyDirectory(study))
    assert (manifest["executor"], manifest["address"]) == ("ray", cluster.address)
    assert manifest["data"]["place"] == "ray, 3 nodes"
    confirmed = cli("confirm", study.name, "--top", "1", "--seeds", "2", "--workers", "1", cwd=space)
    assert confirmed.returncode == 0, confirmed.stderr
    logs = {path.name for path in (study / "logs").glob("confirm-*")}
    assert logs == {"confirm-0000.log", "confirm-0001.log"}
    monkeypatch.chdir(space)
    said = io.StringIO()
    assert reproduce_study(StudyDirectory(study), Console(file=said)) == 0, said.getvalue()
    assert "The same to the last digit." in said.getvalue()


def test_a_cluster_that_has_gone_is_no_traceback(
    study: Path, space: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(space)
    monkeypatch.setattr(sys, "argv", ["sasrecf-tune", "resume", study.name, "--address", "127.0.0.1:1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: --address 127.0.0.1:1: nobody answers there")
