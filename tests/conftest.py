"""Fixtures: deterministic stand-ins for training, and a real data set small enough to train in seconds."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sasrecf_tune.inputs.settings import Sampler
from tests.support.command_line import Cli, command, run_here, user_environment
from tests.support.database_servers import MissingError, Server, running
from tests.support.forked_workers import fork_context
from tests.support.ray_cluster import RayCluster, ray_cluster
from tests.support.tiny import TINY

if TYPE_CHECKING:
    from sasrecf_tune.search.earlier.matching import Counted
    from tests.support.peer import Peer

# Tiny models gain nothing from a second thread, and lose much when the machine is busy. Torch, which is
# imported later, and the processes that tests start take it from here.
os.environ["OMP_NUM_THREADS"] = "1"


# The files that take longest, in this order. Otherwise xdist begins with those that have most tests, and one
# process has work alone at the end. CONTRIBUTING.md says how to measure them.
LONG = (
    "executors/test_ray.py",
    "cli/test_end_to_end.py",
    "storage/database/test_shared_storage.py",
    "engine/test_fast_engine.py",
    "cli/test_reproduce.py",
    "executors/test_executors.py",
    "benchmarks/robustness/test_fuzz.py",
    "cli/test_doctor.py",
    "tracking/test_mlflow_runs.py",
    "storage/test_disk_failures.py",
    "cli/test_check_and_run.py",
    "test_examples.py",
)


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # of xdist


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    order = {here / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path, len(LONG)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A Ray cluster of three nodes with a CPU each, on this machine; this process is a driver.

    Whoever removes a node adds another.
    """
    from sasrecf_tune.executors.ray.cluster import connected, running_nodes

    with ray_cluster() as made, connected(made.address):
        made.add(number=2)
        while len(running_nodes()) < 3:
            threading.Event().wait(0.05)
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
def join(tmp_path: Path, url: str) -> Iterator[Callable[..., Peer]]:
    """Has one more coordinator join the study in the empty database."""
    from tests.support.peer import Peer

    joined: list[Peer] = []

    def one(
        sampler: Sampler = "grid", seed: int = 1, address: str = url, imports: Sequence[Counted] = ()
    ) -> Peer:
        joined.append(Peer(tmp_path / str(len(joined)), address, sampler, seed, imports))
        return joined[-1]

    yield one
    for coordinator in joined:
        coordinator.storage.engine.dispose()


@pytest.fixture
def tiny_yaml(tmp_path: Path) -> Path:
    """A config file of `TINY`."""
    path = tmp_path / "tiny.yaml"
    path.write_text("".join(f"{key}: {value!r}\n" for key, value in TINY.items()))
    return path


@pytest.fixture(scope="module", autouse=True)
def forked_workers() -> Iterator[None]:
    """Workers of this process start at once; see `fork_context`."""
    from sasrecf_tune.executors import local

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "get_context", lambda _: fork_context())
        yield


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs `sasrecf-tune ARGS` in an empty directory, as a user would but in this process; see `run_here`."""
    return functools.partial(run_here, cwd=tmp_path)


@pytest.fixture
def cli_process(tmp_path: Path) -> Cli:
    """Runs `python -m sasrecf_tune ARGS` in an empty directory, in a process of its own; see `command`."""

    def call(*args: str | Path, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*args),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=240,
            env=user_environment(),
        )

    return call
