"""What is said of a trial that ends in an error."""

from __future__ import annotations

import errno

import torch

from sasrecf_tune.engine.recbole import NOT_A_NUMBER
from sasrecf_tune.errors import StorageError, TuneError
from sasrecf_tune.messages import FailureKind


class FusedTrialsError(Exception):
    """What failed in `trials` trials that were trained together, and need not fail in each of them alone."""

    def __init__(self, error: Exception, trials: int) -> None:
        what = "out of memory" if is_memory(error) else type(error).__name__
        super().__init__(f"{what} in {trials} trials that were trained together: {error}")


def is_memory(error: Exception) -> bool:
    """Whether memory has run out: Python's, a card's, or what torch's allocator on a CPU raises."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def failure_kind(error: Exception) -> FailureKind:
    """What `messages.Failure` calls it."""
    if isinstance(error, StorageError) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return FailureKind.DISK
    if isinstance(error, FusedTrialsError):
        return FailureKind.FUSED
    if is_memory(error):
        return FailureKind.MEMORY
    text = str(error)
    # The second is anomaly detection's, which importing RecBole's models turns on.
    return FailureKind.NAN if text == NOT_A_NUMBER or "returned nan values" in text else FailureKind.ERROR


def failure_reason(error: Exception) -> str:
    """In words."""
    found = failure_kind(error)
    if found == FailureKind.NAN:
        return "the training loss became NaN (learning_rate too high for this configuration?)"
    text = " ".join(str(error).split())[:400]
    if found == FailureKind.MEMORY:
        return f"out of memory: {text}"
    if isinstance(error, StorageError):
        return error.message
    return text if isinstance(error, TuneError | FusedTrialsError) else f"{type(error).__name__}: {text}"
