"""Compares the versions of Python and of packages on the nodes of a Ray cluster with this machine's."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sasrecf_tune.environment import install_command, installed_version
from sasrecf_tune.errors import WorkerError
from sasrecf_tune.executors.ray.cluster import Head, Node
from sasrecf_tune.executors.ray.ray_api import import_ray

# A trial's result depends on these, and so does the communication between a node and the coordinator.
_PACKAGES = ("sasrecf-tune", "ray", "recbole", "torch", "numpy", "pandas")
_CHECK_SECONDS = 120
# Seconds between two looks at the head node: if it is lost, Ray ends this process.
_TICK_SECONDS = 1


def check_versions(nodes: Sequence[Node], head: Head) -> None:
    """Check that all nodes have the versions of this process.

    Raises:
        WorkerError: Names the nodes and the versions; or the head node has not responded for too long.
    """
    raise_for_differences(find_differences(nodes, _CHECK_SECONDS, head.check))


def find_differences(
    nodes: Sequence[Node], seconds: float, check_head: Callable[[], None] = lambda: None
) -> list[str]:
    """Return the differences, as `compare_versions` does, of all nodes that answer within `seconds`."""
    ray = import_ray()
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    query = ray.remote(num_cpus=0, max_retries=0)(_make_query())
    node_of = {
        query.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(): node
        for node in nodes
    }
    until = time.monotonic() + seconds
    ready: list[Any] = []
    waiting = list(node_of)
    while waiting and time.monotonic() < until:
        done, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=_TICK_SECONDS)
        ready += done
        check_head()
    ours = installed_versions()
    differences: list[str] = []
    for answer in ready:
        try:
            theirs = ray.get(answer)
        except RayError:
            continue  # the node was lost in the meantime
        differences += compare_versions(ours, theirs, node_of[answer].address)
    return differences


def raise_for_differences(differences: Sequence[str]) -> None:
    """Raise an error if there are differences.

    Raises:
        WorkerError: Lists the differences.
    """
    if differences:
        raise WorkerError(
            f"the nodes of the cluster differ from this machine: {'; '.join(sorted(set(differences)))}",
            where="--executor ray",
            fix=f"Install the same versions on all nodes: {install_command(extra='ray')}",
        )


def installed_versions() -> dict[str, str | None]:
    """Return the versions that must be the same everywhere; None for a missing package."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES:
        found = installed_version(name)
        versions[name] = found and found.partition("+")[0]  # torch's +cpu and +cu128 are one version
    return versions


def compare_versions(
    ours: Mapping[str, str | None], theirs: Mapping[str, str | None], node: str
) -> list[str]:
    """Return the differences as text, for example ["node 10.0.0.3 has torch 2.4.0, not 2.13.0"]."""
    return [
        f"node {node} has {name} {theirs.get(name)}, not {wanted}"
        if theirs.get(name)
        else f"node {node} has no {name}"
        for name, wanted in ours.items()
        if theirs.get(name) != wanted
    ]


def _make_query() -> Callable[[], dict[str, str | None]]:
    # A nested function, because Ray sends its whole code: this package may be missing on the node.
    names = _PACKAGES

    def query() -> dict[str, str | None]:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        versions: dict[str, str | None] = {"python": platform.python_version()}
        for name in names:
            try:
                versions[name] = version(name).partition("+")[0]
            except PackageNotFoundError:
                versions[name] = None
        return versions

    return query
