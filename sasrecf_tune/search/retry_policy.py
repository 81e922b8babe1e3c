"""What a failed trial means for the search: whether to try it again, and when to give up."""

from __future__ import annotations

import re

from sasrecf_tune.messages import Failure, FailureKind

# The worker's end, not the trial's own: another attempt may well succeed. What a trial raises itself
# (NaN, too little memory, an error) it would raise again, since it is a function of its configuration.
RETRIED_KINDS = (FailureKind.WORKER_DIED, FailureKind.WORKER_HUNG)
# So many trials that fail alike while none succeeds end the search. Cells are tried in random order: even
# where half of a space cannot be trained, five such in a row are a chance of three in a hundred.
MOST_ALIKE = 5


def worth_another_attempt(failure: Failure, failed_before: int, retries: int) -> bool:
    """Whether a trial that has failed `failed_before` times before is tried again."""
    # An error in fused trials may be caused by one of them or by none (they do not fit in memory together):
    # each is tried again, alone, whatever --retries says. So it can happen to a trial only once.
    return failure.kind == FailureKind.FUSED or (failure.kind in RETRIED_KINDS and failed_before < retries)


class RepeatedFailures:
    """Watches for failures of one reason, such as a setting that no trial can be trained with."""

    def __init__(self, any_success: bool) -> None:
        self._hopeful = any_success
        self._last: tuple[str, str] | None = None
        self._count = 0

    def succeeded(self) -> None:
        """A trial ended well: single failures say nothing about the whole any more."""
        self._hopeful = True

    def failed(self, failure: Failure) -> bool:
        """A trial ended in `failure`; returns whether it is time to give up."""
        # "tried to allocate 1.25 GiB" and "2.50 GiB" are one reason.
        reason = (failure.kind, re.sub(r"\d+(\.\d+)?", "#", failure.reason))
        self._count = self._count + 1 if reason == self._last else 1
        self._last = reason
        return not self._hopeful and self._count >= MOST_ALIKE
