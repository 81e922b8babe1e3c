"""What RecBole's trainer is made to keep: the metrics of validations and the best weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of libraries that RecBole imports
    import torch
    from recbole.utils import EvaluatorType

# The message of the error in RecBole's Trainer (trainer.py, _check_nan).
NOT_A_NUMBER = "Training loss is nan"


class RecordingTrainerMixin:
    """A mixin for RecBole's Trainer: keeps the last validation's metrics, and the best weights in memory.

    RecBole's own checkpoint pickles the whole Config, which torch >= 2.6 does not load. Its name is made of
    the time in seconds, so parallel trials may overwrite each other's.

    Attributes:
        last_valid: The metrics of the last validation.
        best_epoch: The epoch of the best validation, from 1.
        best_state: The weights after that epoch, on the CPU.
    """

    last_valid: dict[str, float]
    best_epoch: int
    best_state: dict[str, torch.Tensor]

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        # Without this check NaN scores would give high metrics: topk puts NaN first.
        model: torch.nn.Module = self.model  # type: ignore[attr-defined]
        if not torch.stack([weight.detach().isfinite().all() for weight in model.parameters()]).all():
            raise ValueError(NOT_A_NUMBER)
        score, result = super()._valid_epoch(valid_data, show_progress)  # type: ignore[misc]
        self.last_valid = self.as_numbers(result)
        return self.as_numbers({"score": score})["score"], result

    def as_numbers(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Return RecBole's metrics as they are rounded: 0.8124 is 0.8123999834 once it has been a float32."""
        decimals = int(self.config["metric_decimal_place"])  # type: ignore[attr-defined]
        return {key: round(float(value), decimals) for key, value in metrics.items()}

    def _neg_sample_batch_eval(self, batched_data: tuple[Any, ...]) -> tuple[Any, ...]:
        # As RecBole's. But where an item is a candidate of several targets of a user, RecBole writes all its
        # scores to one place at once: with one thread the last one stays, with several threads any of them.
        trainer: Any = self
        interaction, users, positive_u, positive_i = batched_data
        if interaction.length <= trainer.test_batch_size:
            scores = trainer.model.predict(interaction.to(trainer.device))
        else:
            scores = trainer._spilt_predict(interaction, interaction.length)
        if trainer.config["eval_type"] == EvaluatorType.VALUE:
            return interaction, scores, positive_u, positive_i
        items = interaction[trainer.config["ITEM_ID_FIELD"]].to(users.device)
        last = last_of_each(users * trainer.tot_item_num + items)
        table = torch.full((int(positive_u[-1]) + 1, trainer.tot_item_num), -torch.inf, device=trainer.device)
        table[users[last].to(trainer.device), items[last].to(trainer.device)] = scores[last.to(scores.device)]
        return interaction, table, positive_u, positive_i

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **_: object) -> None:
        self.best_epoch = epoch + 1
        model: torch.nn.Module = self.model  # type: ignore[attr-defined]
        self.best_state = {
            name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()
        }


def last_of_each(values: torch.Tensor) -> torch.Tensor:
    """Return the place of the last occurrence of each value, in the order of the values."""
    ordered, places = torch.sort(values, stable=True)
    is_last = torch.ones_like(ordered, dtype=torch.bool)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return places[is_last]
