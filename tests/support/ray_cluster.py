"""A Ray cluster on this machine, whose nodes are started with `ray start` as users start them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sasrecf_tune.environment import OWN_RAY
from tests.support.database_servers import free_port
from tests.support.paths import ROOT

# Nodes of one machine are told apart by their addresses.
_addresses = itertools.count(2)


class RayNode:
    """A node of a cluster: `ray start --block`, whose descendants are all processes of the node."""

    def __init__(self, address: str, directory: Path, *options: str) -> None:
        self.address = address
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address", address, "--object-store-memory", str(80 << 20)]
        # Otherwise two nodes that start at the same time would take the same names of sockets.
        if sys.version_info[:2] < OWN_RAY:
            sockets = ("plasma-store", "raylet")
            command += [word for name in sockets for word in (f"--{name}-socket-name", f"{directory}.{name}")]
        else:
            command += ["--temp-dir", str(directory), "--include-log-monitor", "false"]
        self._process = psutil.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def wait(self) -> RayNode:
        """Wait until the node is running."""
        lines: list[str] = []
        for line in self._process.stdout:
            lines.append(line)
            if "Ray runtime started" in line:
                return self
        raise AssertionError("".join(lines))

    def processes(self) -> list[psutil.Process]:
        """The processes of the node."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self._process, *self._process.children(recursive=True)]
        return []

    def kill(self) -> None:
        """End all processes of the node, as when its machine is lost."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._process.stdout.close()


class RayCluster:
    """A head node, and the nodes that were added; `address` is what `--address` names."""

    def __init__(self, directory: Path, num_cpus: int, *options: str) -> None:
        self._directory = directory
        port, client_port = free_port(), free_port()
        ports = ("--port", str(port), "--ray-client-server-port", str(client_port))
        # Drivers with this machine's address belong to the head node, which is never removed.
        cpus = ("--num-cpus", str(num_cpus), "--include-dashboard", "false")
        self.head = RayNode("127.0.0.1", directory / "1", "--head", *ports, *cpus, *options).wait()
        self.address = f"127.0.0.1:{port}"
        self.client_address = f"ray://127.0.0.1:{client_port}"
        self.nodes: list[RayNode] = []

    def add(self, *, num_cpus: int = 1, num_gpus: int = 0, number: int = 1) -> list[RayNode]:
        """Add nodes, which start at the same time; they may join a moment later."""
        added = [next(_addresses) for _ in range(number)]
        size = ("--num-cpus", str(num_cpus), "--num-gpus", str(num_gpus), "--address", self.address)
        nodes = [RayNode(f"127.0.0.{last}", self._directory / str(last), *size) for last in added]
        self.nodes += nodes
        return [node.wait() for node in nodes]

    def remove(self, node: RayNode) -> None:
        """Remove a node as if its machine had been lost."""
        self.nodes.remove(node)
        node.kill()

    def close(self) -> None:
        """End all nodes."""
        for node in [*self.nodes, self.head]:
            node.kill()


@contextlib.contextmanager
def ray_cluster(num_cpus: int = 1, autoscaling: dict[str, Any] | None = None) -> Iterator[RayCluster]:
    """Start a head node with `num_cpus` CPUs, and an autoscaler if it is configured."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # By default workers have a lower priority than the processes that wait for them.
        patch.setenv("RAY_worker_niceness", "0")
        # A node ends if its agent does not start in time, which can happen on a busy machine.
        patch.setenv("RAY_agent_register_timeout_ms", "600000")
        # Nodes and workers import the same package as this process.
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        # The names of sockets have at most 107 characters, so not in pytest's directory.
        scratch = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
        directory = Path(stack.enter_context(scratch))
        options = []
        if autoscaling is not None:
            autoscaling["provider"]["directory"] = str(directory)
            (directory / "autoscaling.json").write_text(json.dumps(autoscaling))
            options = ["--autoscaling-config", str(directory / "autoscaling.json")]
        cluster = RayCluster(directory, num_cpus, *options)
        stack.callback(cluster.close)
        yield cluster
