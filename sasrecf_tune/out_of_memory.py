"""Which errors say that memory has run out."""

from __future__ import annotations

import torch


def is_memory(error: BaseException) -> bool:
    """Whether it is Python's, torch's for a card, or the one of torch's allocator on a CPU."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
