"""Trials of one configuration, alone or as one model."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer
from sasrecf_tune.engine.recbole import Engine, Prepared, build, make_config, prepare
from sasrecf_tune.engine.rng import TrialRng


@dataclass(frozen=True)
class Trial:
    """A trainer with its loaders, and the generators as they were when it had been built."""

    trainer: Any
    train: Any
    valid: Any
    rng: TrialRng

    def epoch(self, number: int = 0) -> float:
        """Train an epoch; returns its loss."""
        with self.rng.active():
            return float(self.trainer._train_epoch(self.train, number))

    def validate(self) -> dict[str, float]:
        """Return the metrics of a validation."""
        self.trainer.eval_collector.data_collect(self.train)
        with self.rng.active():
            found = self.trainer.evaluate(self.valid, load_best_model=False)
        return {key: float(value) for key, value in found.items()}

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the weights, on the CPU."""
        return {name: each.detach().cpu() for name, each in self.trainer.model.named_parameters()}

    def gradients(self) -> tuple[float, dict[str, torch.Tensor]]:
        """Return the loss and the gradients of the first batch, on the CPU."""
        model = self.trainer.model
        model.train()
        with self.rng.active():
            batch = next(iter(self.train))
            if hasattr(model, "backward_loss"):
                loss = model.backward_loss(batch)
            else:
                loss = model.calculate_loss(batch.to(self.trainer.device))
                loss.backward()
        found = {
            name: (torch.zeros_like(each) if each.grad is None else each.grad).detach().cpu().double()
            for name, each in model.named_parameters()
        }
        model.zero_grad()
        return float(loss.detach()), found


class TrialBuilder:
    """Builds trials of `config`, whose data it prepares once for each engine."""

    def __init__(self, config: dict[str, Any], gpu: str) -> None:
        if gpu:
            # RecBole's Config writes CUDA_VISIBLE_DEVICES, which counts only until CUDA has begun.
            torch.cuda.init()  # type: ignore[no-untyped-call]
            torch.cuda.device_count()
        self._config, self._gpu = config, gpu
        self._prepared: dict[str, Prepared] = {}

    def build(self, engine: Engine = FAST, on_cpu: bool = False, **changes: Any) -> Trial:
        """Return a new trial; `changes` do not affect the data."""
        config = make_config(self._config | changes, "" if on_cpu else self._gpu)
        if self._gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = self._gpu
        if engine.name not in self._prepared:
            self._prepared[engine.name] = prepare(config, engine)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            built = build(config, self._prepared[engine.name], engine)
        return Trial(built.trainer, built.train, built.valid, TrialRng(built.trainer.device))

    def several(self, count: int) -> list[Trial]:
        """Return trials that differ in their learning rate and seed."""
        return [self.build(learning_rate=0.001 / (1 + number), seed=2020 + number) for number in range(count)]

    def fused(self, count: int) -> FusedTrainer:
        """Return the trials of `several` as one model."""
        return FusedTrainer(
            [
                EpochRequest(one.trainer, one.train, one.rng, validation_samples=one.valid)
                for one in self.several(count)
            ]
        )
