"""Workers on a real Ray cluster of several nodes, some of which are lost."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from rich.console import Console

from sasrecf_tune.cli.app import main
from sasrecf_tune.cli.build_settings import check_workers
from sasrecf_tune.cli.reproduce import reproduce_study
from sasrecf_tune.cli.run import run
from sasrecf_tune.environment import OWN_RAY
from sasrecf_tune.errors import InputError, WorkerError
from sasrecf_tune.executors.ray import versions, worker_pool
from sasrecf_tune.executors.ray.actor import Worker
from sasrecf_tune.executors.ray.cluster import (
    Head,
    Node,
    WorkerResources,
    choose_resources,
    connected,
    free_capacity,
    running_nodes,
)
from sasrecf_tune.executors.ray.executor import RayExecutor
from sasrecf_tune.executors.ray.ray_api import are_started_on_demand
from sasrecf_tune.executors.ray.versions import check_versions, compare_versions
from sasrecf_tune.executors.ray.waiting import WaitingWorkers, waiting_message
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
from tests.support.executors import RecordingHandler, drive, train
from tests.support.fake_runner import EPOCHS
from tests.support.fake_training import FakeTraining
from tests.support.fused_trials import alone, check_same
from tests.support.ray_cluster import RayCluster, RayNode, ray_cluster

DATA = ("--params-file", "s.test", "--dataset", synthetic_data.NAME, "--data-path", ".")
SEARCH = (*DATA, "--config-files", "c.yaml", "--sampler", "grid", "--pruner", "none")

Make = Callable[..., RayExecutor]
Jobs = Callable[..., Job]
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def parent(process: int) -> int:
    """The process that started `process`."""
    return int(psutil.Process(process).ppid())


def gone(*processes: int) -> bool:
    """Whether all of these end within half a minute."""
    running = [psutil.Process(process) for process in processes if psutil.pid_exists(process)]
    return not psutil.wait_procs(running, timeout=30)[1]


def lose_node(cluster: RayCluster, executor: RayExecutor, nodes: list[RayNode]) -> None:
    """Remove that of `nodes` which has the executor's worker, as if its machine had been lost."""
    address = executor._pool.running[0].node.rpartition("-")[0]
    (lost,) = (node for node in nodes if node.address == address)
    nodes.remove(lost)
    cluster.remove(lost)


def test_a_worker_lost_by_ray_fails_its_job_and_is_replaced(
    on_ray: Make, job: Jobs, study_dir: StudyDirectory
) -> None:
    lost: list[int] = []

    def kill(report: Report) -> Decision:
        if report.number == 0 and report.epoch == 2:
            process = int(report.metrics["process"])
            lost.extend((process, parent(process)))
            os.kill(parent(process), signal.SIGKILL)
        return Decision.CONTINUE

    handler = RecordingHandler(kill)
    train(on_ray(), handler, job(0), job(1))
    failure = handler.failure(0)
    assert (failure.kind, failure.epochs, failure.seconds) == ("died", 2, 2.0)
    assert "was lost: its process was ended" in failure.reason
    log = study_dir.log(0).read_text()
    assert log.startswith("trial 0 on card") and log.endswith(f"\n{failure.reason}\n")
    assert isinstance(handler.outcomes[1], Result)
    assert gone(*lost)


def test_a_worker_killed_between_jobs_fails_none(on_ray: Make, job: Jobs) -> None:
    handler = RecordingHandler()
    executor = on_ray()
    train(executor, handler, job(0))
    process = parent(int(handler.reports[0].metrics["process"]))
    os.kill(process, signal.SIGKILL)
    assert gone(process)
    train(executor, handler, job(1))
    assert isinstance(handler.outcomes[1], Result)


def test_idle_workers_are_released_and_requested_again(on_ray: Make, job: Jobs) -> None:
    now = 0.0
    executor, handler = on_ray(workers=2, slots=0, clock=lambda: now), RecordingHandler()
    messages: list[str] = []
    executor.notify = messages.append
    asked = MeasureFusion({}, "fast", 2, 4, 1.1, sharers=50)
    assert executor.measure_fusion(asked) == FusionTiming({2: 1.5}, "1 share")  # a node has one CPU
    executor.submit(job(0, "hang"))
    drive(executor, handler, lambda: handler.epochs(0) and executor.free)
    executor.step(handler, 0)
    for now in (59.0, 61.0):
        executor.step(handler, 0)
        assert len(executor._pool.workers) == (2 if now == 59.0 else 1)
    assert executor.free == 1
    train(executor, handler, job(1))
    assert isinstance(handler.outcomes[1], Result) and len(executor._pool.workers) == 2 and not messages


def test_a_trial_on_a_lost_node_continues_from_its_resume_file(
    on_ray: Make, study_dir: StudyDirectory, cluster: RayCluster
) -> None:
    """Of two nodes that are large enough, the trial's is lost when two epochs are over."""
    large = cluster.add(num_cpus=2, number=2)

    def lose(report: Report) -> Decision:
        if report.epoch == 2 and len(large) == 2:
            lose_node(cluster, executor, large)
        return Decision.CONTINUE

    def keeping() -> Job:
        unfinished = study_dir.unfinished(0)
        return Job(0, {}, "fast", study_dir.log(0), study_dir.checkpoint(0), unfinished, checkpoint_every=1)

    handler = RecordingHandler(lose)
    executor = on_ray("Keeping", resources=WorkerResources(2))
    train(executor, handler, keeping())
    assert (
        handler.failure(0).kind == FailureKind.WORKER_DIED
        and "was lost, perhaps with the node" in handler.failure(0).reason
    )
    assert study_dir.unfinished(0).read_text() == "epoch 1"
    assert not study_dir.checkpoint(0).exists()
    del handler.outcomes[0]
    train(executor, handler, keeping())
    cluster.remove(*large)
    assert isinstance(handler.outcomes[0], Result)
    assert "continues from epoch 1" in study_dir.log(0).read_text()
    assert study_dir.checkpoint(0).read_text() == "weights of 0"
    assert study_dir.unfinished(0).read_text() == f"epoch {EPOCHS}"


def test_a_paused_trial_continues_on_another_worker(on_ray: Make, study_dir: StudyDirectory) -> None:
    job = Job(0, {}, "fast", study_dir.log(0), study_dir.checkpoint(0), study_dir.unfinished(0))
    pausing = RecordingHandler(lambda _: Decision.PAUSE)
    train(on_ray("Keeping"), pausing, job)
    paused = pausing.outcomes[0]
    assert isinstance(paused, Result) and paused.decision is Decision.PAUSE
    assert study_dir.unfinished(0).read_text() == "epoch 1"
    handler = RecordingHandler()
    train(on_ray("Keeping"), handler, replace(job, known=1))
    assert "continues from epoch 1" in study_dir.log(0).read_text()
    assert study_dir.checkpoint(0).read_text() == "weights of 0"


def test_a_failure_in_a_fused_group_affects_one_job(on_ray: Make, job: Jobs) -> None:
    executor, handler = on_ray(slots=3), RecordingHandler()
    executor.describe(Describe({}, "fast"))
    assert executor.free == 3
    for one in (job(0), job(1, "error"), job(2)):
        executor.submit(one)
    assert executor.free == 0
    drive(executor, handler, lambda: 1 in handler.outcomes)
    assert handler.failure(1).kind == FailureKind.ERROR
    assert executor.free == 0  # what it left behind must not meet a job that begins now
    drive(executor, handler, lambda: len(handler.outcomes) == 3)
    assert executor.free == 3
    train(executor, handler, job(3))
    processes = [report.metrics["process"] for report in handler.reports if report.epoch == 1]
    assert len(set(processes[:3])) == 1 and processes[3] != processes[0]


def test_a_fused_group_on_a_lost_node_has_the_same_results_elsewhere(
    cluster: RayCluster, study_dir: StudyDirectory, space: Path
) -> None:
    """Of two nodes that are large enough, the group's is lost when each has trained twice."""
    large = cluster.add(num_cpus=2, number=2)

    def lose(report: Report) -> Decision:
        if len(large) == 2 and all(len(handler.epochs(number)) == 2 for number in range(3)):
            lose_node(cluster, executor, large)
        return Decision.CONTINUE

    def group(where: StudyDirectory) -> list[Job]:
        config = synthetic_data.base(space) | {"epochs": 5, "hidden_dropout_prob": 0.2}
        return [Job(n, config | {"seed": n}, "fast", where.log(n), where.checkpoint(n)) for n in (0, 1, 2)]

    handler = RecordingHandler(lose)
    study_dir.directory.mkdir()
    executor = RayExecutor(study_dir, 1, WorkerResources(2), slots=3)
    try:
        executor.describe(Describe(synthetic_data.base(space), "fast"))
        train(executor, handler, *group(study_dir))
        assert {handler.failure(number).kind for number in range(3)} == {"together"}
        assert all("perhaps with the node" in study_dir.log(number).read_text() for number in range(3))
        again = RecordingHandler()
        train(executor, again, *group(study_dir))
    finally:
        executor.close()
    cluster.remove(*large)
    apart = StudyDirectory(study_dir.directory / "alone")
    apart.directory.mkdir()
    for number, outcome in alone(group(apart)).items():
        check_same(again.outcomes[number], outcome)
        ended = again.outcomes[number]
        assert isinstance(ended, Result) and ended.fused == 3


def test_workers_without_a_node_do_not_delay_others(on_ray: Make, job: Jobs) -> None:
    handler = RecordingHandler()
    executor = on_ray(workers=50)
    (note,) = executor.describe(Describe({}, "fast")).notes
    assert re.fullmatch(r"there is room for \d+ of 50 workers \(1 CPU each\); the others wait", note)
    assert 1 <= executor.free < 50
    train(executor, handler, *map(job, range(4)))
    assert all(isinstance(outcome, Result) for outcome in handler.outcomes.values())


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_stopped_search_does_not_wait_for_a_node(
    on_ray: Make, tmp_path: Path, timeout: float | None
) -> None:
    now = itertools.count()
    later, messages = 0.0, list[str]()

    def stop(text: str) -> None:
        nonlocal later
        messages.append(text)
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
        executor = on_ray(resources=WorkerResources(64), workers=2)
        executor.notify = stop
        one.search._executor = executor
        outcome = one.search.run()
        states = [record.state for record in one.records()]
    assert outcome.reason == ("the time limit (--timeout) is reached" if timeout else "stopped by Ctrl-C")
    assert outcome.interrupted == (timeout is None) and outcome.done == 0
    assert len(messages) == 1 and messages[0].startswith("waiting for 2 of 2 workers (64 CPUs each): ")
    assert states == ["waiting"] and not executor._waiting


def test_withdraw_returns_jobs_that_were_assigned_but_not_sent(on_ray: Make, job: Jobs) -> None:
    executor, handler = on_ray(slots=2), RecordingHandler()
    executor.describe(Describe({}, "fast"))
    executor.submit(job(0))
    drive(executor, handler, lambda: handler.reports)
    for number in (1, 2):
        executor.submit(job(number))
    executor._assign_jobs()
    assert [len(worker.assigned) for worker in executor._pool.workers] == [1]
    assert sorted(executor.withdraw()) == [1, 2]
    drive(executor, handler, lambda: handler.outcomes)
    assert set(handler.outcomes) == {0} and executor.free == 2


def test_messages_about_waiting_workers() -> None:
    now, some, messages = 0.0, [Node("a", "10.0.0.1", 3, 0), Node("b", "10.0.0.2", 2, 0)], list[object]()
    waits = WaitingWorkers(room=True, clock=lambda: now)
    assert WaitingWorkers(room=False).next_message(3, lambda: "message") == "message"
    assert not waits.next_message(0, lambda: "message")
    # When, how many wait, how many nodes there are, and for how many workers nobody uses what is there.
    for now, waiting, up, left in (
        *((0, 3, 1, 1), (9, 3, 1, 1), (10, 3, 1, 1), (15, 2, 1, 0), (30, 2, 2, 1), (30, 1, 2, 0)),
        *((41, 1, 2, 0), (49, 1, 1, 0), (51, 1, 1, 0), (62, 1, 1, 0), (63, 0, 2, 0), (64, 0, 2, 0)),
    ):
        text = partial(waiting_message, waiting, 3, WorkerResources(2), some[:up], left)
        if message := waits.next_message(waiting, text):
            messages.append((now, message.removesuffix(" is free").removeprefix("waiting for ")))
    each = "of 3 workers (2 CPUs each): the cluster has"
    assert messages == [
        (10, f"3 {each} 1 node with room for 1"),
        (30, f"2 {each} 2 nodes with room for 2, of which 1"),
        (41, f"1 {each} 2 nodes with room for 2, of which none"),
        (51, f"1 {each} 1 node with room for 1, of which none"),
        (63, "all 3 workers are up"),
    ]


def test_the_waiting_message_counts_resources_in_use(on_ray: Make, job: Jobs) -> None:
    now, messages = 0.0, list[str]()
    executor, handler = on_ray(workers=4, clock=lambda: now), RecordingHandler()
    executor.notify = messages.append
    executor.describe(Describe({}, "fast"))
    drive(executor, handler, lambda: executor.free == 3 and free_capacity(WorkerResources(1)) == 0)
    for _ in range(2):
        now += 10
        executor.step(handler, 0)
    (text,) = messages
    assert text.startswith("waiting for 1 of 4 workers (1 CPU each): ")
    assert text.endswith(", of which none is free")


def test_a_late_node_with_other_versions_is_not_used(
    on_ray: Make, job: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, handler, messages = on_ray(workers=3), RecordingHandler(), list[str]()
    executor.notify = messages.append
    executor.submit(job(0, "hang"))
    drive(executor, handler, lambda: handler.reports and executor.free == 2)
    ours = versions.installed_versions() | {"torch": "1.0"}
    monkeypatch.setattr(worker_pool, "installed_versions", lambda: ours)
    executor._pool.end([worker for worker in executor._pool.workers if not worker.jobs][:1])
    drive(executor, handler, lambda: messages)
    assert re.match(
        r"nodes with other versions are not used: node \S+ has torch \S+, not 1\.0; pip", messages[0]
    )
    assert len(executor._pool.workers) == 2 and executor.free == 1
    executor.step(handler, 0)
    assert len(executor._pool.workers) == 2 and not handler.outcomes
    executor._pool.end(executor._pool.workers)
    with pytest.raises(WorkerError, match=r"node \S+ has torch \S+, not 1\.0"):
        train(executor, handler, job(1))


def test_versions_are_checked_again_only_after_a_failed_start(
    on_ray: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.exceptions import RayActorError, RayError

    executor, asked, messages = on_ray(workers=3), list[float](), list[str]()
    executor.notify = messages.append

    def differences(found: list[Node], seconds: float) -> list[str]:
        asked.append(seconds)
        return ["node a has no torch"]

    def lost(node: str, error: Exception) -> None:
        worker = Worker(0, None, node=node)
        executor._pool.workers.append(worker)
        executor._handle_loss(worker, error, None)

    monkeypatch.setattr(worker_pool, "find_differences", differences)
    lost("a", RayActorError())  # it may have gone with the node, which Ray may yet take to be there
    lost("", RayActorError())
    lost("a", RayError("its process was ended"))
    assert not asked
    with pytest.raises(WorkerError, match="differ from this machine: node a has no torch"):
        lost("", RayError("no such module"))
    executor._pool.workers.append(Worker(1, None, node="b"))
    lost("", RayError("no such module"))
    lost("", RayError("no such module"))
    executor._pool.workers.clear()
    assert max(asked) <= 5 and executor.free == 1 and len(messages) == 1


SIGNALLED = """
import os, signal, sys
from sasrecf_tune.executors.ray import cluster

def ours(*_):
    print("ours")

signal.signal(signal.SIGTERM, ours)
with cluster.connected(sys.argv[1]):
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_the_sigterm_handler_survives_importing_ray(cluster: RayCluster) -> None:
    """In a process of its own: here Ray has been imported."""
    command = [sys.executable, "-c", SIGNALLED, cluster.address]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "ours\n")


def test_workers_share_a_gpu(
    on_ray: Make, job: Jobs, study_dir: StudyDirectory, cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RecBole leaves it behind in a process that has trained on the CPU: no node would have the card.
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (node,) = cluster.add(num_cpus=2, num_gpus=1)
    executor = on_ray(workers=2, resources=WorkerResources(1, per_gpu=2))
    handler = RecordingHandler()
    executor.submit(job(0, "hang"))
    drive(executor, handler, lambda: handler.epochs(0) and executor.free)
    train(executor, handler, job(1))  # while the first has not ended
    cluster.remove(node)
    assert study_dir.log(1).read_text() == "trial 1 on card 0\n"


def test_resources_that_no_node_has_are_an_error(cluster: RayCluster) -> None:
    plain, cards = Node("a", "10.0.0.1", 4, 0), Node("b", "10.0.0.2", 4, 2)
    assert choose_resources((), 1, None, [plain]) == WorkerResources(1)
    assert choose_resources((), 1, 2, [plain, cards]) == WorkerResources(2, per_gpu=1)
    assert choose_resources(("",), 1, 3, [plain, cards]) == WorkerResources(3)
    assert choose_resources((), 4, None, [plain, cards]) == WorkerResources(1, per_gpu=4)
    with pytest.raises(InputError, match=r"no node .* has 1 CPU and a share \(1/2\) of a GPU"):
        choose_resources((), 2, None, [plain])
    with pytest.raises(InputError, match=r"no node .* has 5 CPUs and a GPU for a worker"):
        choose_resources((), 1, 5, [plain, cards])


def test_an_error_if_no_worker_starts(on_ray: Make, job: Jobs, study_dir: StudyDirectory) -> None:
    with pytest.raises(WorkerError, match=r"no such library\) \(on node") as caught:
        on_ray("cannot_be_made").describe(Describe({}, "fast"))
    with pytest.raises(WorkerError, match=r"SIGKILL.* before it was ready \(on node") as caught:
        train(on_ray("always_dies"), RecordingHandler(), job(0))
    assert caught.value.fix == f"Its log: {study_dir.worker_log(0)}"


def test_nodes_must_have_the_same_versions(cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    head, gone = Head(cluster.address), Head("127.0.0.1:1", itertools.count(step=30.0).__next__)
    check_versions(running_nodes(), head)
    with pytest.raises(WorkerError, match="the cluster is gone"):
        check_versions(running_nodes(), gone)
    ours = versions.installed_versions() | {"torch": "1.0"}
    monkeypatch.setattr(versions, "installed_versions", lambda: ours)
    with pytest.raises(WorkerError, match=r"node \S+ has torch \S+, not 1\.0"):
        check_versions(running_nodes(), head)
    assert compare_versions({"ray": "2"}, {"ray": None}, "a") == ["node a has no ray"]


COORDINATOR = """
import sys
from pathlib import Path
from sasrecf_tune.executors.ray.cluster import WorkerResources, connected
from sasrecf_tune.executors.ray.executor import RayExecutor
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.messages import Decision, Job

class Told:
    def on_report(self, report):
        print(int(report.metrics["process"]), flush=True)
        return Decision.CONTINUE

layout = StudyDirectory(Path(sys.argv[2]))
layout.directory.mkdir()
with connected(sys.argv[1]):
    executor = RayExecutor(layout, 1, WorkerResources(1), runner="tests.support.fake_runner:StandIn")
    executor.submit(Job(0, {"act": "hang"}, "fast", layout.log(0), layout.checkpoint(0)))
    while True:
        executor.step(Told(), 1)
"""


def test_workers_end_with_a_coordinator_that_is_killed(cluster: RayCluster, tmp_path: Path) -> None:
    command = [sys.executable, "-c", COORDINATOR, cluster.address, str(tmp_path / "study")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as coordinator:
        assert coordinator.stdout is not None
        process = int(coordinator.stdout.readline())
        actor = parent(process)
        coordinator.kill()
    assert gone(process, actor)


def test_a_cluster_of_another_ray_is_an_error_without_traceback(
    cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: object) -> None:
        raise ConnectionError(
            "Initialization failure from server:\nTraceback (most recent call last):\n File"
        )

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(WorkerError) as caught, connected(cluster.address):
        pass
    assert re.match("cannot connect: the cluster does not accept Ray [0-9.]+, which this", caught.value.what)
    assert "same versions of Python and Ray" in caught.value.fix


def test_an_error_if_there_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(address: str) -> None:
        with connected(address):
            raise AssertionError("there is no such cluster")

    with pytest.raises(InputError, match="is not the address of a cluster"):
        connect("somewhere")
    with pytest.raises(WorkerError, match=r"cannot connect: .* refused"):
        connect("127.0.0.1:1")
    with pytest.raises(InputError, match="requires `--workers`"):
        check_workers(None, (), 1, "ray")
    with pytest.raises(InputError, match="Ray assigns the GPUs"):
        check_workers(2, ("0", "1"), 1, "ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkerError, match="cannot import Ray"):
        connect("auto")


WITHOUT_TOKEN = """
import sys
from sasrecf_tune.errors import WorkerError
from sasrecf_tune.executors.ray.cluster import connected
try:
    with connected(sys.argv[1]):
        pass
except WorkerError as error:
    print(error.message, error.fix, sep="\\n")
"""


@pytest.mark.skipif(sys.version_info[:2] < OWN_RAY, reason="Ray 2.6.3 knows no tokens")
def test_a_missing_token_is_an_error_that_says_how_to_set_it(cluster: RayCluster) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "nowhere"}
    command = [sys.executable, "-c", WITHOUT_TOKEN, cluster.address]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert re.match(rf"--address {cluster.address}: cannot connect: .*token", ended.stdout, re.DOTALL)
    assert "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in ended.stdout


STARTED_BY_UV = """
import sys
from sasrecf_tune.executors.ray.cluster import connected
with connected(sys.argv[1]):
    import ray
    print(dict(ray.get_runtime_context().runtime_env))
"""


@pytest.mark.skipif(sys.version_info[:2] < OWN_RAY, reason="Ray 2.6.3 knows no uv")
def test_a_run_started_by_uv_sends_no_working_directory_to_the_nodes(
    cluster: RayCluster, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "started.py").write_text(STARTED_BY_UV)
    # A shell that is called `uv run`, as Ray looks for one among the parents of this process.
    (tmp_path / "run").write_text(f"{sys.executable} started.py {cluster.address}; exit $?")
    ended = subprocess.run(
        ["uv", "run"], executable="/bin/sh", cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "{}\n", "")


def test_nodes_of_both_autoscalers_are_told_from_those_started_by_hand() -> None:
    def report(*types: str) -> bytes:
        return json.dumps({"autoscaler_report": {"active_nodes": dict.fromkeys(types, 1)}}).encode()

    here, group = {"Alive": True}, {"ray.io/node-group": "worker"}
    assert are_started_on_demand([here], report("head.default", "worker")) is True
    assert are_started_on_demand([here], report("node_1f3a", "node_22b0")) is False
    assert are_started_on_demand([here], report()) is are_started_on_demand([here], None) is None
    assert are_started_on_demand([here, {"Alive": True, "Labels": group}], None) is True
    assert are_started_on_demand([here, {"Alive": False, "Labels": group}], None) is None


def test_an_unreachable_head_node_is_an_error_after_a_while() -> None:
    now = 0.0
    head = Head("127.0.0.1:1", lambda: now)
    for now in (1.0, 6.0, 12.0, 20.0):
        head.check()
        assert head.reachable == (now == 1.0)
    now = 26.0
    with pytest.raises(WorkerError, match=r"the cluster is gone: its head node does not respond \(.*refused"):
        head.check()


def test_an_unreachable_head_node_during_data_preparation_is_a_worker_error(on_ray: Make) -> None:
    now = itertools.count(step=10.0)
    executor = on_ray(head=Head("127.0.0.1:1", now.__next__))
    with pytest.raises(WorkerError, match="the cluster is gone"):
        executor.describe(Describe({}, "fast"))
    assert not executor._pool.workers


def test_the_capacity_of_nodes_for_workers() -> None:
    some = [Node("a", "10.0.0.1", 4, 0), Node("b", "10.0.0.2", 5, 2)]
    assert [WorkerResources(cpus).capacity(some) for cpus in (1, 2, 5, 6)] == [9, 4, 1, 0]
    assert [WorkerResources(1, of_gpu).capacity(some) for of_gpu in (1, 2, 3)] == [2, 4, 5]


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


def trials_on(node: RayNode) -> set[int]:
    """The trials of `study` that have a log on a node: those that are training there."""
    directory = Path(tempfile.gettempdir()) / f"sasrecf-tune-{os.getuid()}"
    logs = directory.glob(f"*-{node.address}-*/worker-*/{synthetic_data.NAME}-s/logs/trial-*.log")
    return {int(log.stem.removeprefix("trial-")) for log in logs}


@pytest.fixture(scope="module")
def study(space: Path, cluster: RayCluster) -> Path:
    """Searched on three nodes, of which one is lost while it trains a trial."""
    command = [sys.executable, "-m", "sasrecf_tune", "run", *SEARCH, "--executor", "ray"]
    command += ["--address", cluster.address, "--workers", "3", "--json"]
    events: list[dict[str, Any]] = []
    lost: list[RayNode] = []
    with subprocess.Popen(
        command, cwd=space, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as coordinator:
        assert coordinator.stdout is not None and coordinator.stderr is not None
        for line in coordinator.stdout:
            events.append(json.loads(line))
            if not lost:
                # A trial goes on only when its report is answered: none ends in the meantime.
                coordinator.send_signal(signal.SIGSTOP)
                reported = {event["trial"] for event in events if event["event"] == "reported"}
                lost = [node for node in cluster.nodes if trials_on(node) & reported][:1]
                for node in lost:
                    cluster.remove(node)
                coordinator.send_signal(signal.SIGCONT)
        errors = coordinator.stderr.read()
    cluster.add()
    assert (coordinator.returncode, errors) == (0, "")
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


def test_three_nodes_and_one_local_worker_give_the_same_ranking(
    study: Path, here: list[dict[str, str]]
) -> None:
    ours = ranked(study)
    assert len(ours) == 6 and all(row["state"] == "complete" for row in ours)
    assert ours == here


def test_the_autoscaler_starts_and_ends_nodes_for_a_search(
    space: Path, here: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's autoscaler starts up to two nodes; the head has no CPU for workers."""
    from tests.support import autoscaling_ray  # imports Ray, which warns when it is imported first

    monkeypatch.setenv("AUTOSCALER_UPDATE_INTERVAL_S", "1")
    events: list[dict[str, Any]] = []
    started: list[int] = []
    config = autoscaling_ray.config(idle_seconds=2, cpus=1, most=2)
    with ray_cluster(num_cpus=0, autoscaling=config) as cluster:
        (monitor,) = (each for each in cluster.head.processes() if "/monitor.py" in " ".join(each.cmdline()))
        command = [sys.executable, "-m", "sasrecf_tune", "run", *SEARCH, "--study", "grown"]
        command += ["--executor", "ray", "--address", cluster.address, "--workers", "2", "--json"]
        with subprocess.Popen(command, cwd=space, stdout=subprocess.PIPE, text=True) as coordinator:
            assert coordinator.stdout is not None
            for line in coordinator.stdout:
                events.append(json.loads(line))
                if events[-1]["event"] == "reported" and not started:
                    started = [child.pid for child in monitor.children()]
        assert coordinator.returncode == 0
        assert started and gone(*started)
    note = "waiting for 2 of 2 workers (1 CPU each): the cluster has 1 node with room for 0"
    assert events[0] == {"event": "note", "text": note}
    assert ranked(space / "tuning" / "grown") == here


def test_logs_and_checkpoints_are_copied_from_the_nodes(study: Path) -> None:
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
    study: Path, space: Path, cluster: RayCluster, cli_process: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(StudyDirectory(study))
    assert (manifest["executor"], manifest["address"]) == ("ray", cluster.address)
    assert manifest["data"]["place"] == "ray, 3 nodes"
    numbers = ("--top", "1", "--seeds", "2", "--workers", "1")
    confirmed = cli_process("confirm", study.name, *numbers, "--address", cluster.address, cwd=space)
    assert confirmed.returncode == 0, confirmed.stderr
    logs = {path.name for path in (study / "logs").glob("confirm-*")}
    assert logs == {"confirm-0000.log", "confirm-0001.log"}
    monkeypatch.chdir(space)
    output = io.StringIO()
    assert reproduce_study(StudyDirectory(study), Console(file=output)) == 0, output.getvalue()
    assert "All metrics are identical." in output.getvalue()


def test_a_missing_cluster_is_an_error_without_traceback(
    study: Path, space: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(space)
    monkeypatch.setattr(sys, "argv", ["sasrecf-tune", "resume", study.name, "--address", "127.0.0.1:1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: --address 127.0.0.1:1: cannot connect")
