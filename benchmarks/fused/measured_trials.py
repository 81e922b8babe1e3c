"""What runs in the processes of fused.py: one trial alone, or several as one model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.engine.measured_engines import MeasuredEngine, pick_device
from benchmarks.engine.processes import ProcessSetting
from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer
from sasrecf_tune.engine.rng import TrialRng


def make(setting: ProcessSetting) -> MeasuredTrials:
    """Return what `setting` names.

    Raises:
        InputError: a GPU is asked for and torch finds none.
    """
    return MeasuredTrials(setting, pick_device(setting.device))


class NextBatch:
    """The next full batch of a trial's samples, as an epoch of one step."""

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


class MeasuredTrials(MeasuredEngine):
    """Trials that differ in their learning rate: one for `alone`, several for `fused`."""

    def __init__(self, setting: ProcessSetting, device: str) -> None:
        super().__init__(setting, device)
        self._setting = setting
        self._fused: FusedTrainer | None = None

    def trials(self, count: int, changes: dict[str, Any]) -> int:
        """Build `count` trials; returns the steps of an epoch."""
        made = [self._build(changes | {"learning_rate": 0.001 / (1 + number)}) for number in range(count)]
        size = int(self._config["train_batch_size"])
        ready = [
            EpochRequest(
                one.trainer,
                NextBatch(one.train, size),
                TrialRng(one.trainer.device),
                validation_samples=one.valid,
            )
            for one in made
        ]
        self._built, self._first = made[0], ready[0]
        self._built.trainer.eval_collector.data_collect(self._built.train)
        self._fused = FusedTrainer(ready) if self._setting.engine == "fused" else None
        self._every = range(count)
        return len(self._built.train)

    def train(self) -> float:
        """Run one step of each trial, with drawing its batch."""
        return self._timed(self._losses)

    def validate(self) -> float:
        """Run one validation of each trial."""
        fused = self._fused
        return super().validate() if fused is None else self._timed(lambda: fused.evaluate(self._every))

    def losses(self, steps: int) -> list[float]:
        """Return the first trial's losses of `steps` steps."""
        return [self._losses()[0] for _ in range(steps)]

    def _losses(self) -> list[float]:
        if self._fused is not None:
            return self._fused.train_epoch()
        with self._first.rng.active():
            return [self._first.trainer._train_epoch(self._first.samples, 0)]

    def peak(self) -> float:
        """Return the peak in MB (2^20 bytes): torch's since the last call, without a GPU the process's."""
        found = self.memory()
        if "cuda" not in found:
            return found["rss"]
        torch.cuda.reset_peak_memory_stats()
        return found["cuda"]
