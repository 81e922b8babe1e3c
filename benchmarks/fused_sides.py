"""What runs inside the processes of fused.py: one trial alone, or several as one model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from processes import Setting
from sides import EngineSide

from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer
from sasrecf_tune.engine.rng import TrialRng


class Next:
    """The next full batch of a trial's samples, as the epoch of one step that trainers are given."""

    def __init__(self, samples: Any, size: int) -> None:
        self._samples, self._size = samples, size
        self._dataset = samples._dataset
        self._iterator: Iterator[Any] = iter(())

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        while True:
            batch = next(self._iterator, None)
            if batch is None:
                self._iterator = iter(self._samples)
            elif len(batch) == self._size or len(self._samples) == 1:
                yield batch
                return


class TrialsSide(EngineSide):
    """Trials that differ in their learning rate: `alone` one, `fused` as many as `build` is told."""

    def __init__(self, setting: Setting, device: str) -> None:
        super().__init__(setting, device)
        self._setting = setting
        self._fused: FusedTrainer | None = None

    def trials(self, count: int, changes: dict[str, Any]) -> int:
        """Make so many trials; returns the steps of an epoch."""
        made = [self._build(changes | {"learning_rate": 0.001 / (1 + number)}) for number in range(count)]
        size = int(self._config["train_batch_size"])
        ready = [
            EpochRequest(
                one.trainer, Next(one.train, size), TrialRng(one.trainer.device), validation_samples=one.valid
            )
            for one in made
        ]
        self._built, self._first = made[0], ready[0]
        self._built.trainer.eval_collector.data_collect(self._built.train)
        self._fused = FusedTrainer(ready) if self._setting.engine == "fused" else None
        self._every = range(count)
        return len(self._built.train)

    def train(self) -> float:
        """One step of each trial, with drawing its batch."""
        return self._timed(self._losses)

    def validate(self) -> float:
        """One validation of each trial."""
        fused = self._fused
        return super().validate() if fused is None else self._timed(lambda: fused.evaluate(self._every))

    def losses(self, steps: int) -> list[float]:
        """The first trial's losses of so many steps."""
        return [self._losses()[0] for _ in range(steps)]

    def _losses(self) -> list[float]:
        if self._fused is not None:
            return self._fused.train_epoch()
        with self._first.rng.active():
            return [self._first.trainer._train_epoch(self._first.samples, 0)]

    def peak(self) -> float:
        """MB (2^20 bytes): on a GPU torch's allocations since the last call, else the process's so far."""
        found = self.memory()
        if "cuda" not in found:
            return found["rss"]
        torch.cuda.reset_peak_memory_stats()
        return found["cuda"]
