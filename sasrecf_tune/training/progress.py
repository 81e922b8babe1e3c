"""How far a trial has come."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sasrecf_tune.messages import Report


@dataclass
class TrialProgress:
    """The reports of a trial so far, and when it started, moved back by the time of earlier attempts.

    Attributes:
        restart_reason: Why it could not continue an earlier attempt.
        fused: The largest number of trials that trained as one model.
    """

    started: float = field(default_factory=time.perf_counter)
    reports: list[Report] = field(default_factory=list)
    restart_reason: str = ""
    fused: int = 1

    @property
    def seconds(self) -> float:
        """Seconds since it started."""
        return time.perf_counter() - self.started
