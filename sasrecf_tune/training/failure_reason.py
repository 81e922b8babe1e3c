"""The kind and the reason of a trial's failure."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import torch

from sasrecf_tune.engine.recording_trainer import NOT_A_NUMBER
from sasrecf_tune.errors import StorageError, TuneError, UnknownReasonError
from sasrecf_tune.messages import FailureKind

# Memory of a GPU or of its libraries, or torch's of the CPU, as their errors say it.
_NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|_ALLOC_FAILED|ALLOCATION_FAILED"
)
# A library of CUDA could not begin: its memory did not fit, unless the GPU is lost.
_NOT_BEGUN = re.compile(r"CU[A-Z]+_STATUS_NOT_INITIALIZED")
# Errors of CUDA after which "the process must be terminated and relaunched" (documentation of cudaError), and
# those of a GPU that no longer answers.
_LOST_GPU = re.compile(
    r"illegal memory access|illegal instruction|misaligned address|invalid address space"
    r"|invalid program counter|operation not supported on global/shared|hardware stack error"
    r"|device-side assert|launch failure|launch timed out|uncorrectable|unknown error"
    r"|no CUDA-capable device|devices are busy or unavailable|GPU is lost|context is destroyed",
    re.IGNORECASE,
)


class FusedTrialsError(Exception):
    """An error in several trials that train as one model; each of them alone may not have it.

    It keeps the error's `text` alone: the error itself refers to the trials' tensors.
    """

    def __init__(self, error: Exception, trials: int) -> None:
        what = "out of memory" if is_memory(error) else "an error"
        super().__init__(f"{what} in {trials} trials that were trained together")
        self.text = str(error)


def is_memory(error: Exception) -> bool:
    """Return whether memory has run out: Python's, a GPU's, its libraries', or torch's of the CPU."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error) if isinstance(error, RuntimeError) else ""
    return bool(_NO_MEMORY.search(text) or _NOT_BEGUN.search(text))


def gpu_is_lost(error: Exception) -> bool:
    """Return whether this process can no longer use its GPU, so that every later trial would fail, too."""
    if isinstance(error, TuneError) or (is_memory(error) and not _NOT_BEGUN.search(str(error))):
        return False
    if "CUDA" in _text(error) and _LOST_GPU.search(_text(error)):
        return True
    # cuBLAS and cuDNN report the same in their own words.
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def _text(error: Exception) -> str:
    return error.text if isinstance(error, FusedTrialsError) else str(error)


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


def error_text(error: Exception, kind: FailureKind) -> str:
    """Return type and text of an error whose reason is not known, to tell two of them apart; else ""."""
    return f"{type(error).__name__}: {error}"[:400] if kind == FailureKind.ERROR else ""


def failure_reason(error: Exception, kind: FailureKind, log: Path) -> str:
    """Describe `error`, a failure of this kind, for the user; the traceback is in the trial's `log`."""
    if kind == FailureKind.NAN:
        return "the training loss became NaN (learning_rate too high for this configuration?)"
    text = " ".join(str(error).split())[:400]
    if kind == FailureKind.WORKER_DIED:
        # CUDA's advice on debugging follows in further lines.
        return f"the GPU failed: {_text(error).strip().partition(chr(10))[0][:400]}"
    if kind == FailureKind.MEMORY:
        return f"out of memory: {text}"
    if isinstance(error, StorageError):
        return error.message
    if isinstance(error, FusedTrialsError) or (
        isinstance(error, TuneError) and not isinstance(error, UnknownReasonError)
    ):
        return text
    return f"training failed; the reason is not known: {log.parent.name}/{log.name} has the traceback"
