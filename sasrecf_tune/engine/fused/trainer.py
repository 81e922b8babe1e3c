"""An epoch of several trials in lockstep, each with its own batches, optimiser and random generators."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from sasrecf_tune.engine.fast.model import Fast
from sasrecf_tune.engine.fast.trainer import FastTrainer, plainly
from sasrecf_tune.engine.fused import evaluation as fused_evaluation
from sasrecf_tune.engine.fused.model import FusedModel
from sasrecf_tune.engine.rng import TrialRng
from sasrecf_tune.inputs.hyperparameters import shape


@dataclass(eq=False)
class Ready:
    """A trial that is to train an epoch: its trainer, the training samples, and its random generators.

    `alone` where it may have no company; `validates` are the samples that it evaluates after this epoch.
    """

    trainer: Any
    samples: Any
    streams: TrialRng
    alone: bool = False
    validates: Any = None


# Of a trial's epoch: its loss, and what Trainer.evaluate returns, None where that is left to it.
Epoch = tuple[float, dict[str, float] | None]


def shape_of(ready: Ready) -> object | None:
    """Trials of one shape can train together; None for one that can only train alone."""
    trainer = ready.trainer
    if ready.alone or type(trainer) is not FastTrainer or not isinstance(trainer.model, Fast):
        return None
    if (trainer.clip_grad_norm or {}).get("error_if_nonfinite"):
        return None  # an error in one trial's step, after which the others' are not whole
    # Of one data set: it is prepared once for all that read the same.
    return shape(trainer.config.final_config_dict), id(ready.samples._dataset), trainer.device


class FusedTrainer:
    """Trains epochs of `trials`, which are of one shape, as one model that is put together once."""

    def __init__(self, trials: Sequence[Ready]) -> None:
        self.trials = list(trials)
        self._model = FusedModel(
            [trial.trainer.model for trial in trials], [trial.streams for trial in trials]
        )

    def run_epoch(self) -> list[Epoch]:
        """Train an epoch of each trial, and validate those that it ends with a validation."""
        losses = self.train_epoch()
        alike: dict[object, list[int]] = {}
        for number, (trial, loss) in enumerate(zip(self.trials, losses, strict=True)):
            key = fused_evaluation.alike(trial.trainer, trial.validates)
            if key is not None and not math.isnan(loss):
                alike.setdefault(key, []).append(number)
        found: dict[int, dict[str, float]] = {}
        for numbers in alike.values():
            if len(numbers) > 1:
                found.update(zip(numbers, self.evaluate(numbers), strict=True))
        return [(loss, found.get(number)) for number, loss in enumerate(losses)]

    def evaluate(self, numbers: Sequence[int]) -> list[dict[str, float]]:
        """What Trainer.evaluate returns for those of the trials, all on what the first of them validates."""
        trials = [self.trials[number] for number in numbers]
        encoder = self._model.without_dropout(numbers)
        return fused_evaluation.evaluate(encoder, [trial.trainer for trial in trials], trials[0].validates)

    def train_epoch(self) -> list[float]:
        """What Trainer._train_epoch returns for each trial; NaN for one whose loss became NaN."""
        losses: list[torch.Tensor] = []
        for trial in self.trials:
            trial.trainer.model.train()
        iterators = [_begun(trial) for trial in self.trials]
        # All have as many samples, and batches of one size.
        for _ in range(len(self.trials[0].samples)):
            batches = [_drawn(*pair) for pair in zip(self.trials, iterators, strict=True)]
            with plainly():
                losses.append(self._model.backward_losses(batches))
            for trial in self.trials:
                trainer = trial.trainer
                if trainer.clip_grad_norm:
                    clip_grad_norm_(trainer.model.parameters(), **trainer.clip_grad_norm)
                trainer.optimizer.step()
        for pair in zip(self.trials, iterators, strict=True):
            _ended(*pair)
        # In RecBole's order and precision: the sum of Python numbers.
        return [float(sum(own)) for own in torch.stack(losses).T.tolist()]


def _begun(trial: Ready) -> Iterator[Any]:
    with trial.streams.mine():
        return iter(trial.samples)


def _drawn(trial: Ready, iterator: Iterator[Any]) -> Any:
    if trial.trainer.model.loss_type != "BPR":
        return next(iterator)
    with trial.streams.mine():  # negative samples; the order of samples has a generator of its own
        return next(iterator)


def _ended(trial: Ready, iterator: Iterator[Any]) -> None:
    # At its end a loader draws from its generator once more, as it does alone.
    with trial.streams.mine():
        assert next(iterator, None) is None
