"""How much sooner trials are trained together than one after the other, measured."""

from __future__ import annotations

import itertools
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from sasrecf_tune.engine.fused.trainer import FusedTrainer, Ready, shape_of
from sasrecf_tune.engine.recbole import Built
from sasrecf_tune.engine.rng import TrialRng
from sasrecf_tune.environment import memory
from sasrecf_tune.messages import FusionTiming, MeasureFusion
from sasrecf_tune.training.failure_reason import is_memory

# Of the memory that is free.
_USABLE = 0.8


class Batches:
    """Training samples as the same few batches each time, for any number of trials."""

    def __init__(self, built: Built, steps: int) -> None:
        self._dataset = built.train._dataset
        self.every = list(itertools.islice(built.train, steps))
        self.chosen = self.every

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.chosen)


def measure_fusion(make: Callable[[], Built], request: MeasureFusion) -> FusionTiming:
    """Train some steps of trials that `make` builds, together and alone in turns."""
    alone = make().trainer
    batches = Batches(make(), request.steps + 1)  # the first of them pays for allocations
    trials: list[Ready] = []
    start = _used(alone.device)
    free = _free(alone.device) * _USABLE / request.sharers
    ratios: dict[int, float] = {}
    count = request.most if request.given else 2
    while count <= request.most:
        before = _used(alone.device)
        try:
            for _ in range(count - len(trials)):
                trainer = make().trainer
                trials.append(Ready(trainer, batches, TrialRng(trainer.device)))
            if shape_of(trials[0]) is None:
                return FusionTiming({}, "this engine trains one trial at a time")
            ratio = _ratio(alone, trials, batches)
        except Exception as error:
            if not is_memory(error):
                raise
            return FusionTiming(ratios, f"{count} do not fit in memory")
        if ratio < request.worth * max([1.0, *ratios.values()]):
            return FusionTiming(ratios | {count: ratio}, f"{count} are no faster")
        ratios[count] = ratio
        count *= 2
        # Twice as many trials again need twice what this doubling did.
        used = _used(alone.device)
        if used - start + 2 * (used - before) > free:
            return FusionTiming(ratios, f"{count} would not fit in memory")
    return FusionTiming(ratios, f"{request.most} is the most")


def _ratio(alone: Any, trials: list[Ready], batches: Batches) -> float:
    fused = FusedTrainer(trials)
    ratios = []
    for batch in batches.every:
        batches.chosen = [batch]
        seconds = _seconds(lambda: alone._train_epoch(batches, 0), alone.device)
        ratios.append(len(trials) * seconds / _seconds(fused.train_epoch, alone.device))
    return statistics.median(ratios[1:] or ratios)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _free(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(memory()[0] or "inf")


def _used(device: torch.device) -> int:
    """The most bytes that were in use so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
