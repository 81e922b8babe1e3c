"""Fixtures: executors and the jobs that they are given."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sasrecf_tune.executors.local import LocalExecutor
from sasrecf_tune.executors.ray.cluster import WorkerResources, free_capacity
from sasrecf_tune.executors.ray.executor import RayExecutor
from sasrecf_tune.messages import Job
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support import fake_runner
from tests.support.ray_cluster import RayCluster

ONE_CPU = WorkerResources(1)


@pytest.fixture(scope="module")
def forked_workers() -> None:
    """Workers as a search has them: they are what is tested here."""


@pytest.fixture
def study_dir(tmp_path: Path) -> StudyDirectory:
    return StudyDirectory(tmp_path / "study")


@pytest.fixture
def local(study_dir: StudyDirectory) -> Iterator[Callable[..., LocalExecutor]]:
    """Makes executors with worker processes; no process is left when the test is over."""
    made: list[LocalExecutor] = []

    def make(runner: str = "StandIn", workers: int = 1, **options: Any) -> LocalExecutor:
        made.append(LocalExecutor(study_dir, workers, runner=f"{fake_runner.__name__}:{runner}", **options))
        return made[-1]

    yield make
    for executor in made:
        executor.close()
    assert not multiprocessing.active_children()


def free_three_cpus(cluster: RayCluster) -> None:
    """Wait until the workers of the last test have gone; nodes replace those that did not survive it."""
    for _ in range(150):
        if free_capacity(ONE_CPU) >= 3:
            return
        threading.Event().wait(0.1)
    cluster.add(number=3 - free_capacity(ONE_CPU))


@pytest.fixture
def on_ray(study_dir: StudyDirectory, cluster: RayCluster) -> Iterator[Callable[..., RayExecutor]]:
    """Makes executors with workers on the cluster."""
    made: list[RayExecutor] = []

    def make(
        runner: str = "StandIn", workers: int = 1, resources: WorkerResources = ONE_CPU, **options: Any
    ) -> RayExecutor:
        name = f"{fake_runner.__name__}:{runner}"
        made.append(RayExecutor(study_dir, workers, resources, runner=name, **options))
        return made[-1]

    free_three_cpus(cluster)
    study_dir.directory.mkdir(exist_ok=True)
    yield make
    for executor in made:
        executor.close()


@pytest.fixture
def job(study_dir: StudyDirectory) -> Callable[..., Job]:
    def make(number: int, act: str = "") -> Job:
        return Job(number, {"act": act}, "fast", study_dir.log(number), study_dir.checkpoint(number))

    return make
