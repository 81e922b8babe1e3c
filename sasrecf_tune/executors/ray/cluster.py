"""A Ray cluster as it is found: connected to, its nodes' versions compared with ours, its room counted."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import platform
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sasrecf_tune.environment import how_to_get_ray, install_command
from sasrecf_tune.errors import InputError, WorkerError

# A trial's result depends on these, and so does whether node and coordinator understand each other.
_ALIKE = ("sasrecf-tune", "ray", "recbole", "torch", "numpy", "pandas")
_PROBE_SECONDS = 10
_CHECK_SECONDS = 120
_REPORT_SECONDS = 30
# The head is looked for so often. When it has not answered for a while, that is told before Ray, which waits
# 60 seconds (gcs_rpc_server_reconnect_timeout_s), ends this process with a message of its own.
_LOOK_SECONDS = 5
_GONE_SECONDS = 25
_CLIENT = "ray://"
_NO_CLUSTER = (
    "Start one with `ray start --head`, or name another with --address: HOST:6379 where this machine is one "
    "of its nodes, ray://HOST:10001 where not."
)


@dataclass(frozen=True)
class Node:
    """A node that is up; `cpus` and `gpus` are all it has, in use or not."""

    id: str
    address: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Share:
    """What a worker takes of a node: whole CPUs, and of a card 1 / `of_gpu`; 0 for no card."""

    cpus: int
    of_gpu: int = 0

    def __str__(self) -> str:
        cpus = f"{self.cpus} CPU{'s' * (self.cpus > 1)}"
        card = {0: "", 1: " and a GPU"}.get(self.of_gpu, f" and a share (1/{self.of_gpu}) of a GPU")
        return cpus + card

    @property
    def resources(self) -> dict[str, float]:
        """As Ray takes them."""
        return {"num_cpus": self.cpus, "num_gpus": 1 / self.of_gpu if self.of_gpu else 0}

    def room(self, nodes: Sequence[Node]) -> int:
        """How many workers the nodes have room for when nobody else is there."""
        return sum(self.fits(node.cpus, node.gpus) for node in nodes)

    def fits(self, cpus: float, gpus: float) -> int:
        """How many workers there is enough for; Ray rounds shares of cards."""
        cards = int(gpus * self.of_gpu + 0.01) if self.of_gpu else 1 << 30
        return min(int(cpus // self.cpus), cards)


class Head:
    """Where the cluster is reached: looked for now and then, since Ray ends this process when it has gone."""

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._clock = clock
        self._looked = self._answered = clock()

    @property
    def answers(self) -> bool:
        """Whether it did when it was last looked for."""
        return self._answered >= self._looked

    def look(self, at_once: bool = False) -> None:
        """Look for it, unless that was just done; `at_once` even then.

        Raises:
            WorkerError: it has not answered for so long that it will hardly come back.
        """
        now = self._clock()
        if now - self._looked < _LOOK_SECONDS and not at_once:
            return
        self._looked = now
        try:
            _reach(self._address, _LOOK_SECONDS)
            self._answered = now
        except OSError as error:
            if now - self._answered > _GONE_SECONDS:
                raise WorkerError(
                    f"the cluster has gone: its head does not answer ({error})",
                    where=self._address,
                    fix="Start it again; then the same command goes on.",
                ) from error


@contextlib.contextmanager
def connected(address: str) -> Iterator[Head]:
    """Be a driver of the cluster at `address`; when the block ends, or this process, so do its actors.

    Raises:
        InputError: this is no address.
        WorkerError: Ray is not installed, or there is no cluster that it could work with.
    """
    # No news of anyone's use leaves the machine.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ours = signal.getsignal(signal.SIGTERM)  # Ray puts its own there, when it is imported and later
    ray = _ray()
    signal.signal(signal.SIGTERM, ours or signal.SIG_DFL)
    _probe(address)
    # Ray's client has the logs of its server printed where nobody else takes them.
    logging.getLogger("ray.util.client.logsclient").addHandler(logging.NullHandler())
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except ConnectionError as error:
        raise WorkerError(_said(error), where=f"--address {address}", fix=_NO_CLUSTER) from error
    except RuntimeError as error:  # other versions of Ray or Python, which the message compares
        raise WorkerError(
            f"cannot connect: {_said(error)}",
            where=f"--address {address}",
            fix="All nodes and this machine need the same versions of Python and Ray."
            if "ersion" in str(error)
            else "Is the cluster whole? `ray status` says so on its nodes.",
        ) from error
    except (ValueError, AssertionError) as error:
        raise InputError(_said(error), where=f"--address {address}", fix=_NO_CLUSTER) from error
    finally:
        signal.signal(signal.SIGTERM, ours or signal.SIG_DFL)
    client = address.startswith(_CLIENT)
    head = Head(_host(address) if client else str(ray.get_runtime_context().gcs_address))
    try:
        yield head
    finally:
        if head.answers:
            ray.shutdown()
        else:
            # Ray would wait for the head when this process ends, and then abort it.
            atexit.register(os._exit, WorkerError.exit_code)


@contextlib.contextmanager
def connection_errors() -> Iterator[None]:
    """What Ray raises when it is not a worker that was lost, but all of the cluster.

    Raises:
        WorkerError: in place of that.
    """
    _ray()
    from ray.exceptions import RayError

    try:
        yield
    except RayError:
        raise
    except Exception as error:  # Ray's client raises whatever gRPC stumbles on
        raise WorkerError(
            f"the connection to the cluster was lost: {_said(error)}",
            fix="When it is back, the same command goes on.",
        ) from error


def nodes() -> list[Node]:
    """Those that are up.

    Raises:
        WorkerError: the cluster was lost.
    """
    with connection_errors():
        found = _ray().nodes()
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


def unused(share: Share) -> int:
    """How many workers there is enough for in what nobody uses, wherever in the cluster that is.

    Raises:
        WorkerError: the cluster was lost.
    """
    with connection_errors():
        left = _ray().available_resources()
    return share.fits(left.get("CPU", 0), left.get("GPU", 0))


def share_for(
    gpus: tuple[str, ...], trials_per_gpu: int, threads: int | None, found: Sequence[Node]
) -> Share:
    """What a worker takes: a card, or a share of it, where there are cards and `gpus` is not none.

    Raises:
        InputError: no node will ever have so much.
    """
    wanted = gpus != ("",) and (trials_per_gpu > 1 or any(node.gpus for node in found))
    share = Share(threads or 1, trials_per_gpu if wanted else 0)
    if share.room(found) == 0 and not _grows():
        largest = max(found, key=lambda node: (node.gpus, node.cpus))
        raise InputError(
            f"no node of the cluster has {share} for a worker; the largest has {largest.cpus:g} CPUs and "
            f"{largest.gpus:g} GPUs",
            where="--executor ray",
            fix="Ask for less with --threads, --trials-per-gpu or --gpus none, or add a node with "
            "`ray start --address HEAD:6379`.",
        )
    return share


def check_versions(found: Sequence[Node]) -> None:
    """Check that all nodes have what this process has.

    Raises:
        WorkerError: names the nodes and the versions.
    """
    refuse(differences(found, _CHECK_SECONDS))


def differences(found: Sequence[Node], seconds: float) -> list[str]:
    """Of all nodes that answer within `seconds`, in the words of `version_difference`."""
    ray = _ray()
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(_asker())
    asked = {
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(): node
        for node in found
    }
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
    ours = versions()
    wrong: list[str] = []
    for answer in ready:
        try:
            theirs = ray.get(answer)
        except RayError:
            continue  # a node that has gone since
        wrong += version_difference(ours, theirs, asked[answer].address)
    return wrong


def refuse(wrong: Sequence[str]) -> None:
    """Nodes that are not alike, if there are any.

    Raises:
        WorkerError: says what `version_difference` found.
    """
    if wrong:
        raise WorkerError(
            f"the nodes of the cluster differ from this machine: {'; '.join(sorted(set(wrong)))}",
            where="--executor ray",
            fix=f"Install the same versions on all nodes: {install_command()}",
        )


def versions() -> dict[str, str | None]:
    """Of what must be the same everywhere, None for what is missing."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _ALIKE:
        found[name] = None
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name).partition("+")[0]  # torch's +cpu and +cu128 are one version
    return found


def version_difference(
    ours: Mapping[str, str | None], theirs: Mapping[str, str | None], node: str
) -> list[str]:
    """Such as ["node 10.0.0.3 has torch 2.4.0, not 2.13.0"]."""
    return [
        f"node {node} has {name} {theirs.get(name)}, not {wanted}"
        if theirs.get(name)
        else f"node {node} has no {name}"
        for name, wanted in ours.items()
        if theirs.get(name) != wanted
    ]


def _asker() -> Callable[[], dict[str, str | None]]:
    # A function in a function, since Ray sends these whole: the node may not have this package.
    names = _ALIKE

    def ask() -> dict[str, str | None]:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        found: dict[str, str | None] = {"python": platform.python_version()}
        for name in names:
            try:
                found[name] = version(name).partition("+")[0]
            except PackageNotFoundError:
                found[name] = None
        return found

    return ask


def _grows() -> bool:
    """Whether the cluster starts nodes when they are asked for."""
    _ray()
    from ray.experimental.internal_kv import _internal_kv_get

    until = time.monotonic() + _REPORT_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(Exception):  # Ray's own bookkeeping, which takes a while to begin
            report = json.loads(_internal_kv_get(b"__autoscaling_status"))["autoscaler_report"]
            # Nodes that nobody but people starts are each a type of its own (autoscaler/_private/readonly).
            if report["active_nodes"]:
                return any(not name.startswith("node_") for name in report["active_nodes"])
        time.sleep(1)
    return False


def _probe(address: str) -> None:
    """Ray tries for minutes where nobody listens."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
    if address == "auto":
        return
    host, _, port = _host(address).rpartition(":")
    if not host or not port.isdigit():
        raise InputError(
            f"{address!r} is no address of a cluster",
            where="--address",
            fix="Write auto, HOST:6379 or ray://HOST:10001.",
        )
    try:
        _reach(_host(address), _PROBE_SECONDS)
    except (OSError, OverflowError) as error:
        raise WorkerError(
            f"nobody answers there: {error}", where=f"--address {address}", fix=_NO_CLUSTER
        ) from error


def _host(address: str) -> str:
    return address.removeprefix(_CLIENT).partition("/")[0]


def _reach(address: str, seconds: float) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()


def _ray() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it uses a part of setuptools that will go
            import ray
    except ImportError as error:
        raise WorkerError(
            f"Ray cannot be used here: {_said(error)}", where="--executor ray", fix=how_to_get_ray()
        ) from error
    return ray


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
