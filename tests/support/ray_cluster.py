"""A Ray cluster of several nodes on this machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.paths import ROOT

NODE = {"object_store_memory": 80 << 20, "include_dashboard": False, "include_log_monitor": False}


_addresses = itertools.count(2)


@contextlib.contextmanager
def ray_cluster(num_cpus: int = 1, **head: Any) -> Iterator[Any]:
    """Start a Ray cluster with a head node on this machine; nodes can be added."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # By default workers have a lower priority than the processes that wait for them.
        patch.setenv("RAY_worker_niceness", "0")
        # A node ends if its agent does not start in time, which can happen on a busy machine.
        patch.setenv("RAY_agent_register_timeout_ms", "600000")
        # Nodes and workers import the same package as this process.
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        # Drivers with this machine's address belong to the head node, which is never removed.
        made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": num_cpus, **NODE, **head})
        yield made
        made.shutdown()


def add_node(cluster: Any, num_cpus: int = 1, num_gpus: int = 0) -> Any:
    """Add a node with an address of its own."""
    address = f"127.0.0.{next(_addresses)}"
    return cluster.add_node(node_ip_address=address, num_cpus=num_cpus, num_gpus=num_gpus, **NODE)
