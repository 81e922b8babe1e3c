"""The connection to a Ray cluster, its nodes, and how many workers they have room for."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sasrecf_tune.errors import InputError, WorkerError
from sasrecf_tune.executors.ray.ray_api import has_autoscaler, import_ray, token_advice

_CONNECT_SECONDS = 10
# Seconds between two checks of the head node, and until it is given up. Ray would wait 60 seconds
# (gcs_rpc_server_reconnect_timeout_s) and then end this process with a message of its own.
_HEAD_CHECK_SECONDS = 5
_HEAD_LOST_SECONDS = 25
_CLIENT = "ray://"
_NO_CLUSTER = (
    "Start one with `ray start --head`, or name another with --address: HOST:6379 if this machine is one "
    "of its nodes, ray://HOST:10001 if not."
)
_SAME_VERSIONS = "All nodes and this machine need the same versions of Python and Ray."


@dataclass(frozen=True)
class Node:
    """A running node; `cpus` and `gpus` are its totals, in use or not."""

    id: str
    address: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class WorkerResources:
    """What a worker takes of a node.

    Attributes:
        cpus: Whole CPUs.
        per_gpu: Number of workers that share a GPU; 0 for no GPU.
    """

    cpus: int
    per_gpu: int = 0

    def __str__(self) -> str:
        cpus = f"{self.cpus} CPU{'s' * (self.cpus > 1)}"
        gpu = {0: "", 1: " and a GPU"}.get(self.per_gpu, f" and a share (1/{self.per_gpu}) of a GPU")
        return cpus + gpu

    @property
    def ray_options(self) -> dict[str, float]:
        """The arguments for `ray.remote`."""
        return {"num_cpus": self.cpus, "num_gpus": 1 / self.per_gpu if self.per_gpu else 0}

    def capacity(self, nodes: Sequence[Node]) -> int:
        """Return the number of workers that the nodes have room for if nothing else runs there."""
        return sum(self.workers_in(node.cpus, node.gpus) for node in nodes)

    def workers_in(self, cpus: float, gpus: float) -> int:
        """Return the number of workers that fit in `cpus` and `gpus`; Ray rounds shares of GPUs."""
        by_gpu = int(gpus * self.per_gpu + 0.01) if self.per_gpu else 1 << 30
        return min(int(cpus // self.cpus), by_gpu)


class Head:
    """The head node of the cluster, checked regularly: Ray ends this process if it is lost."""

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._clock = clock
        self._checked_at = self._reached_at = clock()

    @property
    def reachable(self) -> bool:
        """Whether the last check succeeded."""
        return self._reached_at >= self._checked_at

    def check(self, force: bool = False) -> None:
        """Check the head node, unless that was done a moment ago and is not forced.

        Raises:
            WorkerError: It has not responded for too long.
        """
        now = self._clock()
        if now - self._checked_at < _HEAD_CHECK_SECONDS and not force:
            return
        self._checked_at = now
        try:
            _open_connection(self._address, _HEAD_CHECK_SECONDS)
            self._reached_at = now
        except OSError as error:
            if now - self._reached_at > _HEAD_LOST_SECONDS:
                raise WorkerError(
                    f"the cluster is gone: its head node does not respond ({error})",
                    where=self._address,
                    fix="Start it again; then the same command continues.",
                ) from error


@contextlib.contextmanager
def connected(address: str) -> Iterator[Head]:
    """Connect to the cluster at `address`; its actors end with the block or with this process.

    Raises:
        InputError: The address is not valid.
        WorkerError: Ray is not installed, or there is no compatible cluster.
    """
    ours = signal.getsignal(signal.SIGTERM)  # Ray replaces the handler, when it is imported and later
    ray = import_ray()
    signal.signal(signal.SIGTERM, ours or signal.SIG_DFL)
    _check_address(address)
    # Ray's client prints the server's logs where no other handler takes them.
    logging.getLogger("ray.util.client.logsclient").addHandler(logging.NullHandler())
    try:
        _connect(ray, address)
    finally:
        signal.signal(signal.SIGTERM, ours or signal.SIG_DFL)
    client = address.startswith(_CLIENT)
    head = Head(_host_and_port(address) if client else str(ray.get_runtime_context().gcs_address))
    try:
        yield head
    finally:
        if head.reachable:
            ray.shutdown()
        else:
            # At exit Ray would wait for the head node and then abort this process.
            atexit.register(os._exit, WorkerError.exit_code)


def _connect(ray: Any, address: str) -> None:
    """Connect to a cluster, or say in the words of a user why that cannot be done.

    Raises:
        InputError, WorkerError: As `connected`.
    """
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except ConnectionError as error:
        if "Traceback" in str(error):  # of Ray's client server, to which a process of another Ray connects
            raise WorkerError(
                f"cannot connect: the cluster does not accept Ray {ray.__version__}, which this machine has",
                where=f"--address {address}",
                fix=_SAME_VERSIONS,
            ) from error
        fix = f"{_NO_CLUSTER} {_SAME_VERSIONS}{token_advice()}"
        raise WorkerError(_error_text(error), where=f"--address {address}", fix=fix) from error
    except ray.exceptions.RayError as error:  # no token, or the cluster ends
        what = f"cannot connect: {_error_text(error).partition('. ')[0]}"
        fix = _NO_CLUSTER + token_advice()
        raise WorkerError(what, where=f"--address {address}", fix=fix) from error
    except RuntimeError as error:  # the versions of Ray or Python differ, which the message says
        raise WorkerError(
            f"cannot connect: {_error_text(error)}",
            where=f"--address {address}",
            fix=_SAME_VERSIONS
            if "ersion" in str(error)
            else "Check the cluster with `ray status` on one of its nodes.",
        ) from error
    except (ValueError, AssertionError) as error:
        raise InputError(_error_text(error), where=f"--address {address}", fix=_NO_CLUSTER) from error


@contextlib.contextmanager
def connection_errors() -> Iterator[None]:
    """Convert the errors that Ray raises when the whole cluster is lost, not just a worker.

    Raises:
        WorkerError: In place of these errors.
    """
    import_ray()
    from ray.exceptions import RayError

    try:
        yield
    except RayError:
        raise
    except Exception as error:  # Ray's client raises any error of gRPC
        raise WorkerError(
            f"the connection to the cluster was lost: {_error_text(error)}",
            fix="When it is back, the same command continues.",
        ) from error


def running_nodes() -> list[Node]:
    """Return the running nodes.

    Raises:
        WorkerError: The cluster was lost.
    """
    with connection_errors():
        found = import_ray().nodes()
    return [
        Node(
            id=str(each["NodeID"]),
            address=str(each["NodeManagerAddress"]),
            cpus=float(each["Resources"].get("CPU", 0)),
            gpus=float(each["Resources"].get("GPU", 0)),
        )
        for each in found
        if each["Alive"]
    ]


def free_capacity(resources: WorkerResources) -> int:
    """Return the number of workers that fit in the cluster's unused resources, on whichever node.

    Raises:
        WorkerError: The cluster was lost.
    """
    with connection_errors():
        left = import_ray().available_resources()
    return resources.workers_in(left.get("CPU", 0), left.get("GPU", 0))


def choose_resources(
    gpus: tuple[str, ...], trials_per_gpu: int, threads: int | None, nodes: Sequence[Node]
) -> WorkerResources:
    """Return what a worker takes: a GPU or a share of one if there are GPUs and `gpus` is not ("",).

    Raises:
        InputError: No node will ever have this much.
    """
    wanted = gpus != ("",) and (trials_per_gpu > 1 or any(node.gpus for node in nodes))
    resources = WorkerResources(threads or 1, trials_per_gpu if wanted else 0)
    if resources.capacity(nodes) == 0 and not has_autoscaler():
        largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
        raise InputError(
            f"no node of the cluster has {resources} for a worker; the largest has {largest.cpus:g} CPUs and "
            f"{largest.gpus:g} GPUs",
            where="--executor ray",
            fix="Request less with --threads, --trials-per-gpu or --gpus none, or add a node with "
            "`ray start --address HEAD:6379`.",
        )
    return resources


def _check_address(address: str) -> None:
    # Without this, Ray tries for minutes to connect.
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
    if address == "auto":
        return
    host, _, port = _host_and_port(address).rpartition(":")
    if not host or not port.isdigit():
        raise InputError(
            f"{address!r} is not the address of a cluster",
            where="--address",
            fix="Write auto, HOST:6379 or ray://HOST:10001.",
        )
    try:
        _open_connection(_host_and_port(address), _CONNECT_SECONDS)
    except (OSError, OverflowError) as error:
        raise WorkerError(
            f"cannot connect: {error}", where=f"--address {address}", fix=_NO_CLUSTER
        ) from error


def _host_and_port(address: str) -> str:
    return address.removeprefix(_CLIENT).partition("/")[0]


def _open_connection(address: str, seconds: float) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()


def _error_text(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
