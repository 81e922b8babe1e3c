"""An epoch of several trials in lockstep, each with its own batches, optimiser and random generators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from sasrecf_tune.engine.fused_model import FusedModel
from sasrecf_tune.engine.model import FastSASRecF
from sasrecf_tune.engine.trainer import FastTrainer, plainly
from sasrecf_tune.random_streams import Streams

# What trials that train together must have in common; all else is each one's own.
_COMMON = (
    "n_layers",
    "n_heads",
    "hidden_size",
    "inner_size",
    "hidden_act",
    "layer_norm_eps",
    "selected_features",
    "pooling_mode",
    "loss_type",
    "MAX_ITEM_LIST_LENGTH",
    "train_batch_size",
    "train_neg_sample_args",
)


@dataclass(frozen=True)
class Waiting:
    """A trial before an epoch: its trainer, the training samples, and its random generators."""

    trainer: Any
    samples: Any
    streams: Streams


def shape(waiting: Waiting) -> object | None:
    """Trials of one shape can train together; None for one that can only train alone."""
    trainer = waiting.trainer
    if type(trainer) is not FastTrainer or type(trainer.model) is not FastSASRecF:
        return None
    # Of one data set: it is prepared once for all that read the same.
    return repr([trainer.config[key] for key in _COMMON]), id(waiting.samples._dataset), trainer.device


class FusedTrainer:
    """Trains epochs of trials of one shape; the model is put together once for as long as they stay the same."""

    def __init__(self, trials: Sequence[Waiting]) -> None:
        self._trials = list(trials)
        self._model = FusedModel(
            [trial.trainer.model for trial in trials], [trial.streams for trial in trials]
        )

    def train_epoch(self) -> list[float]:
        """What Trainer._train_epoch returns for each trial; NaN for one whose loss became NaN."""
        losses: list[torch.Tensor] = []
        for trial in self._trials:
            trial.trainer.model.train()
        iterators = [_begun(trial) for trial in self._trials]
        while (batches := [_drawn(*pair) for pair in zip(self._trials, iterators, strict=True)])[0] is not None:
            with plainly():
                losses.append(self._model.backward_losses(batches))
            for trial in self._trials:
                trainer = trial.trainer
                if trainer.clip_grad_norm:
                    clip_grad_norm_(trainer.model.parameters(), **trainer.clip_grad_norm)
                trainer.optimizer.step()
        # In RecBole's order and precision: the sum of Python numbers.
        return [float(sum(own)) for own in torch.stack(losses).T.tolist()]


def _begun(trial: Waiting) -> Iterator[Any]:
    with trial.streams.mine():
        return iter(trial.samples)


def _drawn(trial: Waiting, iterator: Iterator[Any]) -> Any:
    with trial.streams.mine():  # negative samples
        return next(iterator, None)
