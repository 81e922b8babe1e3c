"""What is said of a trial that ends in an error of its own."""

from __future__ import annotations

import errno

import torch

from sasrecf_tune.errors import StorageError, TuneError
from sasrecf_tune.recbole_bridge import NOT_A_NUMBER


def kind(error: Exception) -> str:
    """What `messages.Failure` calls it."""
    if isinstance(error, StorageError) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return "disk"
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return "memory"
    text = str(error)
    if isinstance(error, RuntimeError) and "can't allocate memory" in text:
        return "memory"
    # The second is anomaly detection's, which importing RecBole's models turns on.
    return "nan" if text == NOT_A_NUMBER or "returned nan values" in text else "error"


def reason(error: Exception) -> str:
    """In words."""
    found = kind(error)
    if found == "nan":
        return "the training loss became NaN (learning_rate too high for this configuration?)"
    text = " ".join(str(error).split())[:400]
    if found == "memory":
        return f"out of memory: {text}"
    if isinstance(error, StorageError):
        return error.message
    return text if isinstance(error, TuneError) else f"{type(error).__name__}: {text}"
