"""Trials of one process that train their epochs in turn, those of one shape together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sasrecf_tune.engine.fused.trainer import FusedTrainer, Ready, shape_of
from sasrecf_tune.engine.recbole import NOT_A_NUMBER
from sasrecf_tune.engine.rng import TrialRng
from sasrecf_tune.training.failure_reason import FusedTrialsError


@dataclass(frozen=True)
class Trained:
    """The loss of an epoch that `trials` trained together, and a validation that was theirs too."""

    loss: float
    trials: int
    evaluated: dict[str, float] | None = None


# None: train it yourself.
Answer = Trained | Exception | None


class EpochHook:
    """Before each of its epochs `trainer` pauses, and then trains it unless that was done meanwhile.

    So too with validating on `valid` after it.
    `most` is how many trials trained one together; it is 1 where the trial is to be `alone`.
    """

    def __init__(
        self, trainer: Any, train: Any, valid: Any, pause: Callable[[object], object], alone: bool = False
    ) -> None:
        self.most = 1
        self._train_alone: Callable[..., float] = trainer._train_epoch
        self._evaluate_alone: Callable[..., Any] = trainer.evaluate
        self._ready = Ready(trainer, train, TrialRng(trainer.device), alone)
        self._valid, self._pause = valid, pause
        self._evaluated: dict[str, float] | None = None
        trainer._train_epoch, trainer.evaluate = self._train_epoch, self._evaluate

    def _train_epoch(self, samples: Any, epoch: int, **options: Any) -> float:
        streams, every = self._ready.streams, self._ready.trainer.eval_step
        self._ready.validates = self._valid if every > 0 and (epoch + 1) % every == 0 else None
        streams.save()
        answer = self._pause(self._ready)
        streams.put_back()
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, Trained):
            return self._train_alone(samples, epoch, **options)
        self._evaluated = answer.evaluated
        self.most = max(self.most, answer.trials)
        if math.isnan(answer.loss):
            raise ValueError(NOT_A_NUMBER)
        return answer.loss

    def _evaluate(self, samples: Any, **options: Any) -> Any:
        found, self._evaluated = self._evaluated, None
        if found is not None and samples is self._valid:
            return found
        return self._evaluate_alone(samples, **options)


class FusedEpochs:
    """Trains epochs of those that wait for one."""

    def __init__(self) -> None:
        self._fused: dict[object, FusedTrainer] = {}

    def train(self, ready: Sequence[Ready]) -> list[Answer]:
        """An epoch of each, as far as it has company of its shape."""
        answers: dict[Ready, Answer] = dict.fromkeys(ready)
        shapes: dict[object, list[Ready]] = {}
        for trial in ready:
            key = shape_of(trial)
            if key is not None:
                shapes.setdefault(key, []).append(trial)
        together = {
            # Those with equally many heads side by side: their attention is one product.
            key: sorted(trials, key=lambda trial: int(trial.trainer.model.n_heads))
            for key, trials in shapes.items()
            if len(trials) > 1
        }
        self._fused = {key: fused for key, fused in self._fused.items() if key in together}
        for key, trials in together.items():
            found: Sequence[Answer]
            try:
                epochs = self._of(key, trials).run_epoch()
                found = [Trained(loss, len(trials), evaluated) for loss, evaluated in epochs]
            except Exception as error:  # noqa: BLE001  # whatever torch stumbles on; whose fault it is is not known
                self._fused.pop(key, None)
                found = [FusedTrialsError(error, len(trials)) for _ in trials]
            answers.update(zip(trials, found, strict=True))
        return [answers[trial] for trial in ready]

    def _of(self, key: object, trials: list[Ready]) -> FusedTrainer:
        fused = self._fused.get(key)
        if fused is None or fused.trials != trials:
            fused = self._fused[key] = FusedTrainer(trials)
        return fused
