"""Times work on a device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def time_on_device(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that `work` takes, with the kernels that it queues on the GPU."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
