"""Whether a failed trial is tried again, and when repeated failures end a search."""

from __future__ import annotations

import re

from sasrecf_tune.messages import Failure, FailureKind

# Failures of the worker, where another attempt may succeed. What a trial raises itself (NaN, too little
# memory, an error) it would raise again, since training is a function of the configuration.
RETRIED_KINDS = (FailureKind.WORKER_DIED, FailureKind.WORKER_HUNG)
# Samplers begin in random order: even where half of a space cannot be trained, the probability that the first
# five trials all fail is 3%.
MAX_REPEATED_FAILURES = 5
_NUMBER = re.compile(r"\d+(\.\d+)?")


def should_retry(failure: Failure, failed_before: int, retries: int) -> bool:
    """Whether a trial is tried again, of which `failed_before` attempts of its own had failed before."""
    # A failure of trials in one worker may come from one of them or from their number (together they need
    # too much memory): each is tried again, alone, whatever --retries is. So it happens to a trial only once.
    return failure.kind == FailureKind.FUSED or (failure.kind in RETRIED_KINDS and failed_before < retries)


class RepeatedFailures:
    """Detects failures for one reason that all trials share, such as an invalid setting.

    Args:
        any_success: Whether a trial of the study has succeeded before.
    """

    def __init__(self, any_success: bool) -> None:
        self._any_success = any_success
        self._last: tuple[str, ...] | None = None
        self._count = 0

    def add_success(self) -> None:
        """Count a trial that completed or was pruned: from now on no failures end the search."""
        self._any_success = True

    def add_failure(self, failure: Failure) -> bool:
        """Count a trial that failed; returns whether the search should end."""
        # "tried to allocate 1.25 GiB" and "tried to allocate 2.50 GiB" are one reason.
        reason = (failure.kind, *(_NUMBER.sub("#", text) for text in (failure.reason, failure.error)))
        self._count = self._count + 1 if reason == self._last else 1
        self._last = reason
        return not self._any_success and self._count >= MAX_REPEATED_FAILURES
