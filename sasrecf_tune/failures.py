"""What a failed trial means for the search: whether to try it again, and when to give up."""

from __future__ import annotations

from sasrecf_tune.messages import Failure

# The worker's end, not the trial's own: another attempt may well succeed. What a trial raises itself
# (NaN, too little memory, an error) it would raise again, since it is a function of its configuration.
RETRIED_KINDS = ("died", "hang")


def worth_another_attempt(failure: Failure, failed_before: int, retries: int) -> bool:
    """Whether a trial that has failed `failed_before` times before is tried again."""
    return failure.kind in RETRIED_KINDS and failed_before < retries
