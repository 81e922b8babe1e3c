"""Fixtures: deterministic stand-ins for training, and a real data set small enough to train in seconds."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import subprocess
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sasrecf_tune.inputs.settings import Sampler
from sasrecf_tune.messages import DataSummary, Decision, Describe, Failure, Job, Report, Result

from .servers import MissingError, Server, running

if TYPE_CHECKING:
    from .coordinator import Coordinator

# Tiny models gain nothing from a second thread, and lose much when the machine is busy. Torch, which is
# imported later, and the processes that tests start take it from here.
os.environ["OMP_NUM_THREADS"] = "1"

NODE = {"object_store_memory": 80 << 20, "include_dashboard": False, "include_log_monitor": False}
_addresses = itertools.count(2)
ROOT = Path(__file__).parent.parent

# 95 users of ml-100k with short histories: a stock epoch takes a fraction of a second.
TINY = {
    "user_inter_num_interval": "[20,23]",
    "MAX_ITEM_LIST_LENGTH": 5,
    "hidden_size": 8,
    "inner_size": 16,
    "n_layers": 1,
    "n_heads": 1,
    "train_batch_size": 256,
    "epochs": 2,
}


@contextlib.contextmanager
def ray_cluster(num_cpus: int = 1, **head: Any) -> Iterator[Any]:
    """A Ray cluster of a head on this machine; more nodes can be added."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Workers would be nicer than the processes that wait for them.
        patch.setenv("RAY_worker_niceness", "0")
        # A node ends when a helper of its does not come up in time, which on a busy machine it may not.
        patch.setenv("RAY_agent_register_timeout_ms", "600000")
        # Nodes and their workers take the package from where this process takes it.
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        # Drivers of this machine's address belong to the node that is never removed.
        made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": num_cpus, **NODE, **head})
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster of three nodes with a CPU each, on this machine; whoever removes a node adds another."""
    with ray_cluster() as made:
        for _ in range(2):
            add_node(made)
        yield made


# A test's that names none; the modules that use one can be run against any.
DATABASE = os.environ.get("SASRECF_TUNE_TESTS_DATABASE", "postgresql")
REQUIRED = {"postgresql": "SASRECF_TUNE_REQUIRE_POSTGRESQL", "mariadb": "SASRECF_TUNE_REQUIRE_MYSQL"}


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], Server]]:
    """Starts the database server of a kind, once for the module."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda kind: stack.enter_context(running(kind)))


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    """The database server of the kind that the test's parameter names."""
    kind = getattr(request, "param", DATABASE)
    try:
        return servers(kind)
    except MissingError as missing:
        if os.environ.get(REQUIRED[kind]):
            raise
        pytest.skip(str(missing))


@pytest.fixture
def url(server: Server) -> str:
    """The address of an empty database."""
    return server.create(f"study_{uuid.uuid4().hex}")


@pytest.fixture
def join(tmp_path: Path, url: str) -> Iterator[Callable[..., Coordinator]]:
    """Has one more coordinator join the study in the empty database."""
    from .coordinator import Coordinator

    joined: list[Coordinator] = []

    def one(sampler: Sampler = "grid", seed: int = 1, address: str = url) -> Coordinator:
        joined.append(Coordinator(tmp_path / str(len(joined)), address, sampler, seed))
        return joined[-1]

    yield one
    for coordinator in joined:
        coordinator.storage.engine.dispose()


def add_node(cluster: Any, num_cpus: int = 1, num_gpus: int = 0) -> Any:
    """One more node, with an address of its own."""
    address = f"127.0.0.{next(_addresses)}"
    return cluster.add_node(node_ip_address=address, num_cpus=num_cpus, num_gpus=num_gpus, **NODE)


@pytest.fixture(scope="module")
def connection(cluster: Any) -> Iterator[Any]:
    """This process is a driver of the cluster."""
    from sasrecf_tune.executors.ray.cluster import connected

    with connected(cluster.address):
        yield cluster


@pytest.fixture
def tiny_yaml(tmp_path: Path) -> Path:
    """A config file of `TINY`."""
    path = tmp_path / "tiny.yaml"
    path.write_text("".join(f"{key}: {value!r}\n" for key, value in TINY.items()))
    return path


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m sasrecf_tune ARGS` in an empty directory, as a user would."""

    def call(
        *args: str | Path, timeout: float = 240, cwd: Path = tmp_path
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sasrecf_tune", *map(str, args)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        )

    return call


def summary(epochs: int = 5) -> DataSummary:
    """A made-up data set."""
    return DataSummary(
        dataset="ml-100k",
        users=10,
        items=20,
        interactions=100,
        train_samples=70,
        valid_samples=10,
        test_samples=10,
        item_columns=("class",),
        fingerprint="abc",
        epochs=epochs,
        metric_keys=("mrr@10",),
        device="cpu",
        threads=1,
    )


class FakeTraining:
    """Training whose score is a function of the configuration; remembers the jobs it was given."""

    def __init__(self, score: Callable[[dict[str, object]], float], epochs: int = 5) -> None:
        self.score = score
        self.epochs = epochs
        self.jobs: list[Job] = []

    def describe(self, request: Describe) -> DataSummary:
        return summary(self.epochs)

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        self.jobs.append(job)
        final = self.score(job.config)
        curve: list[float] = []
        decision = Decision.CONTINUE
        for epoch in range(1, self.epochs + 1):
            curve.append(final * epoch / self.epochs)
            decision = on_report(
                Report(job.number, epoch, curve[-1], {"mrr@10": curve[-1]}, train_loss=1.0, seconds=0.1)
            )
            if decision is not Decision.CONTINUE:
                break
        return Result(
            number=job.number,
            decision=decision,
            epochs=len(curve),
            best_epoch=len(curve),
            valid={"mrr@10": curve[-1]},
            test={"mrr@10": -final} if decision is Decision.CONTINUE else {},
            curve={"mrr@10": curve},
            seconds=0.5,
            device="cpu",
            parameters=1,
        )


class Interrupting(FakeTraining):
    """Stops at a given number of epochs, as a process that is killed does."""

    def __init__(self, score: Callable[[dict[str, object]], float], after: int) -> None:
        super().__init__(score)
        self.left = after

    def train(self, job: Job, on_report: Callable[[Report], Decision]) -> Result | Failure:
        def counted(report: Report) -> Decision:
            decision = on_report(report)
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return decision

        return super().train(job, counted)
