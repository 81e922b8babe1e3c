"""Trials of one process that train their epochs in turn, those of one shape together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sasrecf_tune.engine.fused_trainer import FusedTrainer, Ready, shape_of
from sasrecf_tune.random_streams import Streams
from sasrecf_tune.recbole_bridge import NOT_A_NUMBER
from sasrecf_tune.trial_errors import TogetherError


@dataclass(frozen=True)
class Trained:
    """The loss of an epoch that `trials` trained together."""

    loss: float
    trials: int


# None: train it yourself.
Answer = Trained | Exception | None


class Turns:
    """Before each of its epochs `trainer` pauses, and then trains it unless that was done meanwhile.

    `most` is how many trials trained one together; it is 1 where the trial is to be `alone`.
    """

    def __init__(
        self, trainer: Any, samples: Any, pause: Callable[[object], object], alone: bool = False
    ) -> None:
        self.most = 1
        self._alone: Callable[..., float] = trainer._train_epoch
        self._ready = Ready(trainer, samples, Streams(trainer.device), alone)
        self._pause = pause
        trainer._train_epoch = self._train_epoch

    def _train_epoch(self, *arguments: Any, **options: Any) -> float:
        streams = self._ready.streams
        streams.save()
        answer = self._pause(self._ready)
        streams.put_back()
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, Trained):
            return self._alone(*arguments, **options)
        self.most = max(self.most, answer.trials)
        if math.isnan(answer.loss):
            raise ValueError(NOT_A_NUMBER)
        return answer.loss


class Lockstep:
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
                found = [Trained(loss, len(trials)) for loss in self._of(key, trials).train_epoch()]
            except Exception as error:  # noqa: BLE001  # whatever torch stumbles on; whose fault it is is not known
                self._fused.pop(key, None)
                found = [TogetherError(error, len(trials)) for _ in trials]
            answers.update(zip(trials, found, strict=True))
        return [answers[trial] for trial in ready]

    def _of(self, key: object, trials: list[Ready]) -> FusedTrainer:
        fused = self._fused.get(key)
        if fused is None or fused.trials != trials:
            fused = self._fused[key] = FusedTrainer(trials)
        return fused
