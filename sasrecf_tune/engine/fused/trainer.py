"""Trains an epoch of several trials as one model, each with its own batches, learning rate and generators."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from sasrecf_tune.engine.fast.batches import epoch_batches, reads_table
from sasrecf_tune.engine.fast.model import FastModel
from sasrecf_tune.engine.fast.trainer import FastTrainer, without_overhead
from sasrecf_tune.engine.fused import evaluation
from sasrecf_tune.engine.fused.model import FusedModel
from sasrecf_tune.engine.fused.optimizer import StackedAdam, can_stack
from sasrecf_tune.engine.rng import TrialRng
from sasrecf_tune.inputs.hyperparameters import shape


@dataclass(eq=False)
class EpochRequest:
    """A trial that is about to train an epoch on `samples`.

    Attributes:
        alone: Whether it must not train with other trials.
        validation_samples: What it validates on after this epoch; None for no validation.
    """

    trainer: Any
    samples: Any
    rng: TrialRng
    alone: bool = False
    validation_samples: Any = None


# The loss of a trial's epoch, and what Trainer.evaluate returns; None if the trial must evaluate itself.
EpochResult = tuple[float, dict[str, float] | None]


def fusion_key(request: EpochRequest) -> object | None:
    """Return a key that is equal for trials that can train as one model; None if it must train alone."""
    trainer = request.trainer
    if request.alone or type(trainer) is not FastTrainer or not isinstance(trainer.model, FastModel):
        return None
    if (trainer.clip_grad_norm or {}).get("error_if_nonfinite"):
        return None  # an error in one trial's step would leave the others' steps incomplete
    # The data set is the same object if it is the same data.
    return shape(trainer.config.final_config_dict), id(request.samples._dataset), trainer.device


class FusedTrainer:
    """Trains epochs of trials with the same `fusion_key` as one model, which is built once."""

    def __init__(self, trials: Sequence[EpochRequest]) -> None:
        self.trials = list(trials)
        self._model = FusedModel([trial.trainer.model for trial in trials])
        self._clipped = [number for number, trial in enumerate(trials) if trial.trainer.clip_grad_norm]
        self._stacks = can_stack([trial.trainer.optimizer for trial in trials])
        self._adam: StackedAdam | None = None  # made in the first step, when it is known what has a gradient

    def run_epoch(self) -> list[EpochResult]:
        """Train an epoch of each trial, and validate those that validate after it."""
        losses = self.train_epoch()
        by_key: dict[object, list[int]] = {}
        for number, (trial, loss) in enumerate(zip(self.trials, losses, strict=True)):
            key = evaluation.evaluation_key(trial.trainer, trial.validation_samples)
            if key is not None and not math.isnan(loss):
                by_key.setdefault(key, []).append(number)
        metrics: dict[int, dict[str, float]] = {}
        for numbers in by_key.values():
            if len(numbers) > 1:
                metrics.update(zip(numbers, self.evaluate(numbers), strict=True))
        return [(loss, metrics.get(number)) for number, loss in enumerate(losses)]

    def evaluate(self, numbers: Sequence[int]) -> list[dict[str, float]]:
        """Return what Trainer.evaluate does for some of the trials, on the samples of the first of them."""
        trials = [self.trials[number] for number in numbers]
        encoder = self._model.without_dropout(numbers)
        return evaluation.evaluate(encoder, [trial.trainer for trial in trials], trials[0].validation_samples)

    def train_epoch(self) -> list[float]:
        """Return what Trainer._train_epoch does for each trial, or NaN if its loss became NaN."""
        losses: list[torch.Tensor] = []
        for trial in self.trials:
            trial.trainer.model.train()
        if self._adam is not None:
            self._adam.start_epoch(self._steps)
        for batches in self._batches():
            with without_overhead():
                losses.append(self._model.backward_losses(batches))
            self._update()
        if self._adam is not None:
            self._adam.finish_epoch()
        # RecBole adds Python numbers in this order; the sums have the same precision.
        return [float(sum(steps)) for steps in torch.stack(losses).T.tolist()]

    @property
    def _steps(self) -> int:
        # All have the same number of samples and the same batch size.
        return len(self.trials[0].samples)

    def _update(self) -> None:
        self._model.give_gradients(self._clipped if self._stacks else range(len(self.trials)))
        for trial in (self.trials[number] for number in self._clipped):
            clip_grad_norm_(trial.trainer.model.parameters(), **trial.trainer.clip_grad_norm)
        if not self._stacks:
            for trial in self.trials:
                trial.trainer.optimizer.step()
            return
        if self._adam is None:
            self._adam = self._model.stack_optimizers([trial.trainer.optimizer for trial in self.trials])
            self._adam.start_epoch(self._steps)
        self._adam.step()

    def _batches(self) -> Iterator[Any]:
        samples = [trial.samples for trial in self.trials]
        if all(map(reads_table, samples)):
            yield from epoch_batches(samples, self.trials[0].trainer.device)
            return
        iterators = [_start_iteration(trial) for trial in self.trials]
        for _ in range(self._steps):
            yield [_next_batch(*pair) for pair in zip(self.trials, iterators, strict=True)]
        for pair in zip(self.trials, iterators, strict=True):
            _finish_iteration(*pair)


def _start_iteration(trial: EpochRequest) -> Iterator[Any]:
    with trial.rng.active():
        return iter(trial.samples)


def _next_batch(trial: EpochRequest, iterator: Iterator[Any]) -> Any:
    if trial.trainer.model.loss_type != "BPR":
        return next(iterator)
    with trial.rng.active():  # negative samples; the order of samples has a generator of its own
        return next(iterator)


def _finish_iteration(trial: EpochRequest, iterator: Iterator[Any]) -> None:
    # At its end a loader draws from its generator once more, as it does when the trial trains alone.
    with trial.rng.active():
        assert next(iterator, None) is None
