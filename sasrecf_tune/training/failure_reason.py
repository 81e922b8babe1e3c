"""The kind and the reason of a trial's failure."""

from __future__ import annotations

import errno
from pathlib import Path

import torch

from sasrecf_tune.engine.recbole import NOT_A_NUMBER
from sasrecf_tune.errors import StorageError, TuneError, UnknownReasonError
from sasrecf_tune.messages import FailureKind


class FusedTrialsError(Exception):
    """An error in several trials that train as one model; each of them alone may not have it."""

    def __init__(self, error: Exception, trials: int) -> None:
        what = "out of memory" if is_memory(error) else "an error"
        super().__init__(f"{what} in {trials} trials that were trained together")


def is_memory(error: Exception) -> bool:
    """Return whether memory has run out: Python's, a GPU's, or that of torch's CPU allocator."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def failure_kind(error: Exception) -> FailureKind:
    """Return the kind of failure that `error` causes."""
    if isinstance(error, StorageError) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return FailureKind.DISK
    if isinstance(error, FusedTrialsError):
        return FailureKind.FUSED
    if is_memory(error):
        return FailureKind.MEMORY
    text = str(error)
    # The second message is that of anomaly detection, which importing RecBole's models turns on.
    return FailureKind.NAN if text == NOT_A_NUMBER or "returned nan values" in text else FailureKind.ERROR


def failure_reason(error: Exception, log: Path) -> str:
    """Describe `error` for the user; the traceback is in the trial's `log`."""
    kind = failure_kind(error)
    if kind == FailureKind.NAN:
        return "the training loss became NaN (learning_rate too high for this configuration?)"
    text = " ".join(str(error).split())[:400]
    if kind == FailureKind.MEMORY:
        return f"out of memory: {text}"
    if isinstance(error, StorageError):
        return error.message
    if isinstance(error, FusedTrialsError) or (
        isinstance(error, TuneError) and not isinstance(error, UnknownReasonError)
    ):
        return text
    return f"training failed; the reason is not known: {log.parent.name}/{log.name} has the traceback"
