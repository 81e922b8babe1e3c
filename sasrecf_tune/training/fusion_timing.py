"""Compares training several trials as one model with training them in turn."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch

from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer, fusion_key
from sasrecf_tune.engine.recbole import Built
from sasrecf_tune.engine.rng import TrialRng
from sasrecf_tune.environment import memory, peak_memory
from sasrecf_tune.messages import FusionTiming, MeasureFusion
from sasrecf_tune.training.device_timing import time_on_device
from sasrecf_tune.training.failure_reason import is_memory

# Usable part of the free memory.
_USABLE = 0.8


class FixedBatches:
    """Training samples that always yield the same few batches, for any number of trials."""

    def __init__(self, built: Built, steps: int) -> None:
        self._dataset = built.train._dataset
        self.all = list(itertools.islice(built.train, steps))
        self.selected = self.all

    def __len__(self) -> int:
        return len(self.selected)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.selected)


def measure_fusion(build_trial: Callable[[], Built], request: MeasureFusion) -> FusionTiming:
    """Train some steps of trials that `build_trial` makes, as one model and alone alternately."""
    alone = build_trial().trainer
    batches = FixedBatches(build_trial(), request.steps + 1)  # the first step includes allocations
    trials: list[EpochRequest] = []
    start = _used_bytes(alone.device)
    free = _free_bytes(alone.device) * _USABLE / request.sharers
    ratios: dict[int, float] = {}
    count = request.max_trials if request.fixed else 2
    while count <= request.max_trials:
        before = _used_bytes(alone.device)
        try:
            for _ in range(count - len(trials)):
                trainer = build_trial().trainer
                trials.append(EpochRequest(trainer, batches, TrialRng(trainer.device)))
            if fusion_key(trials[0]) is None:
                return FusionTiming({}, "this engine trains one trial at a time")
            ratio = _ratio(alone, trials, batches)
        except Exception as error:
            if not is_memory(error):
                raise
            return FusionTiming(ratios, f"{count} do not fit in memory")
        if ratio < request.min_gain * max([1.0, *ratios.values()]):
            return FusionTiming(ratios | {count: ratio}, f"{count} are no faster")
        ratios[count] = ratio
        count *= 2
        # The next doubling needs twice the memory of this one.
        used = _used_bytes(alone.device)
        if used - start + 2 * (used - before) > free:
            return FusionTiming(ratios, f"{count} would not fit in memory")
    return FusionTiming(ratios, f"{request.max_trials} is the limit")


def _ratio(alone: Any, trials: list[EpochRequest], batches: FixedBatches) -> float:
    fused = FusedTrainer(trials)
    ratios = []
    for batch in batches.all:
        batches.selected = [batch]
        seconds = time_on_device(lambda: alone._train_epoch(batches, 0), alone.device)
        ratios.append(len(trials) * seconds / time_on_device(fused.train_epoch, alone.device))
    return statistics.median(ratios[1:] or ratios)


def _free_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(memory()[0])


def _used_bytes(device: torch.device) -> int:
    """Return the peak of the memory in use."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory()
