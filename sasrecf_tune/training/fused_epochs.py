"""Trains epochs of the trials of one process, those of one shape as one model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer, fusion_key
from sasrecf_tune.engine.recording_trainer import NOT_A_NUMBER
from sasrecf_tune.engine.rng import TrialRng
from sasrecf_tune.training.failure_reason import FusedTrialsError


@dataclass(frozen=True)
class TrainedEpoch:
    """The loss of an epoch that `trials` trials trained as one model, and its validation if there was one."""

    loss: float
    trials: int
    validation: dict[str, float] | None = None


# None: the trial must train the epoch itself.
Answer = TrainedEpoch | Exception | None


class EpochHook:
    """Makes a trainer pause before each epoch, and train it only if the answer does not.

    Args:
        pause: Ends the trial's turn with an `EpochRequest`, and returns an `Answer`.
        alone: Never train it as one model with other trials.

    Attributes:
        most_fused: The largest number of trials that trained an epoch as one model.
    """

    def __init__(
        self, trainer: Any, train: Any, valid: Any, pause: Callable[[object], object], alone: bool = False
    ) -> None:
        self.most_fused = 1
        self._train_alone: Callable[..., float] = trainer._train_epoch
        self._evaluate_alone: Callable[..., Any] = trainer.evaluate
        self._request = EpochRequest(trainer, train, TrialRng(trainer.device), alone)
        self._valid, self._pause = valid, pause
        self._validation: dict[str, float] | None = None
        trainer._train_epoch, trainer.evaluate = self._train_epoch, self._evaluate

    def _train_epoch(self, samples: Any, epoch: int, **options: Any) -> float:
        request, every = self._request, self._request.trainer.eval_step
        request.validation_samples = self._valid if every > 0 and (epoch + 1) % every == 0 else None
        request.rng.save()
        answer = self._pause(request)
        request.rng.restore()
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, TrainedEpoch):
            return self._train_alone(samples, epoch, **options)
        self._validation = answer.validation
        self.most_fused = max(self.most_fused, answer.trials)
        if math.isnan(answer.loss):
            raise ValueError(NOT_A_NUMBER)
        return answer.loss

    def _evaluate(self, samples: Any, **options: Any) -> Any:
        validation, self._validation = self._validation, None
        if validation is not None and samples is self._valid:
            return validation
        return self._evaluate_alone(samples, **options)


class FusedEpochs:
    """Answers the epoch requests of paused trials."""

    def __init__(self) -> None:
        self._trainers: dict[object, FusedTrainer] = {}

    def train(self, requests: Sequence[EpochRequest]) -> list[Answer]:
        """Train an epoch of each trial that shares its shape with another one; return all answers."""
        answers: dict[EpochRequest, Answer] = dict.fromkeys(requests)
        by_key: dict[object, list[EpochRequest]] = {}
        for trial in requests:
            key = fusion_key(trial)
            if key is not None:
                by_key.setdefault(key, []).append(trial)
        groups = {
            # Trials with the same number of heads are adjacent: their attention is one product.
            key: sorted(trials, key=lambda trial: int(trial.trainer.model.n_heads))
            for key, trials in by_key.items()
            if len(trials) > 1
        }
        self._trainers = {key: trainer for key, trainer in self._trainers.items() if key in groups}
        for key, trials in groups.items():
            epochs: Sequence[Answer]
            try:
                epochs = [
                    TrainedEpoch(loss, len(trials), validation)
                    for loss, validation in self._trainer(key, trials).run_epoch()
                ]
            except Exception as error:  # noqa: BLE001  # the trial that caused it is unknown
                self._trainers.pop(key, None)
                epochs = [FusedTrialsError(error, len(trials)) for _ in trials]
            answers.update(zip(trials, epochs, strict=True))
        return [answers[trial] for trial in requests]

    def _trainer(self, key: object, trials: list[EpochRequest]) -> FusedTrainer:
        trainer = self._trainers.get(key)
        if trainer is None or trainer.trials != trials:
            trainer = self._trainers[key] = FusedTrainer(trials)
        return trainer
