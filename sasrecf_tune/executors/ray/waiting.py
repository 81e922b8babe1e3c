"""What people are told of workers that wait for a node, and when idle ones are let go of."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from sasrecf_tune.executors.ray.cluster import Node, Share

# Workers have so long to come up before anything is said of them, if there is room for any; and this lies
# between two messages.
_SAY_SECONDS = 10.0
# A worker for which there is nothing to do for so long is let go of: its node may be wanted by others, or be
# one that the cluster ends when it is idle.
_IDLE_SECONDS = 60.0


class WaitingWorkers:
    """Remembers since when workers wait or have nothing to do, and what was told; `room`: there is some."""

    def __init__(self, room: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked = clock() if room else -math.inf  # when; or when none waited
        self._told = ""
        self._idle_since: float | None = None

    def news(self, waiting: int, text: Callable[[], str]) -> str:
        """What to tell of so many that wait, 0 of them after some did: `text()`, or "" if it is no news."""
        now = self._clock()
        if waiting and now - self._looked < _SAY_SECONDS:
            return ""
        self._looked = now
        if not waiting and not self._told:
            return ""
        new, old = text(), self._told
        if not new or new == old:
            return ""
        self._told = new if waiting else ""
        return new

    def long_idle(self, some: bool) -> bool:
        """Whether there have been idle workers, as there are `some` now, for long: then they are too many."""
        now = self._clock()
        if not some:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        return self._idle_since is not None and now - self._idle_since >= _IDLE_SECONDS


def waiting_text(waiting: int, workers: int, share: Share, found: Sequence[Node], unused: int) -> str:
    """Such as "waiting for 2 of 3 workers (1 CPU each): the cluster has 2 nodes with room for 1".

    `unused`: how many workers there is enough for in what nobody uses.
    """
    if not waiting:
        return "the worker is up" if workers == 1 else f"all {workers} workers are up"
    room = share.room(found)
    left = f", of which {unused or 'none'} is free" if unused < room else ""
    there = f"the cluster has {len(found)} node{'s' * (len(found) != 1)} with room for {room}{left}"
    return f"waiting for {waiting} of {workers} workers ({share} each): {there}"
