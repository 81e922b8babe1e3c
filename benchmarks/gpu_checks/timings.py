"""Measures a step and where it waits, of one trial and of several as one model."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.data.prepare import write_data_set
from benchmarks.gpu_checks.correctness import NO_DROPOUT, compare, is_fine
from benchmarks.gpu_checks.setting import CheckSetting, Finding, rounded, wait_for
from benchmarks.gpu_checks.trials import TrialBuilder
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE


def waits(setting: CheckSetting) -> Finding:
    """Count where an epoch waits for the GPU, as torch sees it: once, for its losses."""
    if setting.device != "cuda":
        return Finding(None, {"waits": "no GPU"})
    builder = TrialBuilder(setting.config(), setting.gpu)
    works: dict[str, Callable[[], object]] = {
        "alone": builder.build().epoch,
        "fused": builder.fused(2).train_epoch,
    }
    seen: dict[str, Counter[str]] = {}
    for name, work in works.items():
        work()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                work()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        places = [f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)]
        seen[name] = Counter(places)
    fine = all(counts.total() <= 1 for counts in seen.values())
    return Finding(fine, {name: dict(counts) for name, counts in seen.items()})


def step(setting: CheckSetting) -> Finding:
    """Measure a step of one trial, with drawing its batch, and RecBole's own."""
    builder = TrialBuilder(setting.config(), setting.gpu)
    trial = builder.build()
    facts = measure(trial.epoch, len(trial.train), setting.device)
    stock = builder.build(RECBOLE_ENGINE)
    seconds = [_timed(stock.epoch, setting.device)[1] for _ in range(2)][-1]
    facts["ms of RecBole"] = round(seconds / len(stock.train) * 1e3, 3)
    facts["RecBole / fast"] = round(facts["ms of RecBole"] / facts["ms"], 2)
    return Finding(None, facts)


def fused_step(setting: CheckSetting) -> Finding:
    """Measure a step of several trials as one model, and how much faster it is than in turn."""
    builder = TrialBuilder(setting.config(), setting.gpu)
    trial = builder.build()
    alone = measure(trial.epoch, len(trial.train), setting.device)["ms"]
    found: dict[str, Any] = {}
    for count in sorted({min(4, setting.fused), setting.fused}):
        trainer = builder.fused(count)
        found[f"{count} trials"] = facts = measure(trainer.train_epoch, len(trial.train), setting.device)
        facts["alone / fused"] = round(count * alone / facts["ms"], 2)
        del trainer
    return Finding(None, found)


def many_items(setting: CheckSetting) -> Finding:
    """Generate a data set of many items; compare it with the CPU, and measure a step and a validation."""
    items = setting.items
    with tempfile.TemporaryDirectory() as scratch:
        write_data_set(Path(scratch), rows=3 * items, users=max(50, 3 * items // 10), items=items)
        config = setting.config(scratch)
        config.pop("user_inter_num_interval", None)  # it is for the other data set
        builder = TrialBuilder(config, setting.gpu)
        # The CPU takes long for a validation.
        differences = compare(builder.build(**NO_DROPOUT), builder.build(on_cpu=True, **NO_DROPOUT), False)
        trial = builder.build()
    facts = measure(trial.epoch, len(trial.train), setting.device)
    trial.validate()
    facts["seconds of a validation"] = round(_timed(trial.validate, setting.device)[1], 3)
    return Finding(is_fine(differences), {"items": items, "off": rounded(differences)} | facts)


def measure(epoch: Callable[[], object], steps: int, device: str) -> dict[str, Any]:
    """Return milliseconds of a step, the median of three epochs; on a GPU also its kernels and memory."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    epochs = [_timed(epoch, device) for _ in range(4)][1:]  # the first includes allocations
    told, seconds = (median(each) / steps * 1e3 for each in zip(*epochs, strict=True))
    facts: dict[str, Any] = {"ms": round(seconds, 3), "ms of the host": round(told, 3)}
    if device == "cuda":
        from torch.profiler import ProfilerActivity, profile

        facts["peak GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        with profile(activities=[ProfilerActivity.CUDA]) as recorded:
            epoch()
        rows = [row for row in recorded.key_averages() if row.self_device_time_total > 0]
        facts["kernels"] = round(sum(row.count for row in rows) / steps)
        facts["ms of the GPU"] = round(sum(row.self_device_time_total for row in rows) / steps / 1e3, 3)
    return facts


def _timed(epoch: Callable[[], object], device: str) -> tuple[float, float]:
    """Return the seconds until the last step has been told to the GPU, and until it is done.

    An epoch stacks its losses when it has told all steps, and then reads them.
    """
    stack = torch.stack
    told: list[float] = []

    def timed_stack(*arguments: Any, **options: Any) -> torch.Tensor:
        told.append(time.perf_counter())
        return stack(*arguments, **options)

    wait_for(device)
    began = time.perf_counter()
    torch.stack = timed_stack
    try:
        epoch()
    finally:
        torch.stack = stack
    wait_for(device)
    ended = time.perf_counter()
    return (told[-1] if told else ended) - began, ended - began
