"""Messages about workers that wait for a node, and the time after which idle workers are released."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from sasrecf_tune.executors.ray.cluster import Node, WorkerResources

# Seconds between two messages, and before the first one if there is room for a worker.
_MESSAGE_SECONDS = 10.0
# Idle workers are released after so many seconds: others may need the node, or the cluster may end it.
_IDLE_SECONDS = 60.0


class WaitingWorkers:
    """Remembers how long workers have waited or been idle, and what the user was told.

    `room` says whether the cluster has room for a worker now.
    """

    def __init__(self, room: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_time = clock() if room else -math.inf  # of a message, or when no worker waited
        self._last_message = ""
        self._idle_since: float | None = None

    def next_message(self, waiting: int, message: Callable[[], str]) -> str:
        """Return `message()` if it is due and new, otherwise "". `waiting` is the number of workers."""
        now = self._clock()
        if waiting and now - self._last_time < _MESSAGE_SECONDS:
            return ""
        self._last_time = now
        if not waiting and not self._last_message:
            return ""
        new, old = message(), self._last_message
        if not new or new == old:
            return ""
        self._last_message = new if waiting else ""
        return new

    def idle_too_long(self, idle: bool) -> bool:
        """Return whether workers have been idle, as they are now with `idle`, for too long."""
        now = self._clock()
        if not idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        return self._idle_since is not None and now - self._idle_since >= _IDLE_SECONDS


def waiting_message(
    waiting: int, workers: int, resources: WorkerResources, nodes: Sequence[Node], unused: int
) -> str:
    """Return for example "waiting for 2 of 3 workers (1 CPU each): the cluster has 2 nodes with room for 1".

    Args:
        waiting: Number of workers that have no node.
        workers: Number of all workers.
        resources: What each worker takes.
        nodes: The nodes of the cluster.
        unused: Number of workers that fit in the unused resources.
    """
    if not waiting:
        return "the worker is up" if workers == 1 else f"all {workers} workers are up"
    room = resources.capacity(nodes)
    left = f", of which {unused or 'none'} is free" if unused < room else ""
    cluster = f"the cluster has {len(nodes)} node{'s' * (len(nodes) != 1)} with room for {room}{left}"
    return f"waiting for {waiting} of {workers} workers ({resources} each): {cluster}"
