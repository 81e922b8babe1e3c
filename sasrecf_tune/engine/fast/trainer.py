"""RecBole's Trainer on the fast models: its early stopping, learners, clipping and metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from recbole.trainer import Trainer
from torch.nn.utils import clip_grad_norm_

from sasrecf_tune.engine.fast.length_groups import sent
from sasrecf_tune.engine.recbole import RecordingTrainerMixin

# torch.optim classes whose step can be one fused kernel.
_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
_FUSED_ON_CPU = (*_FUSED, torch.optim.Adagrad)


@contextlib.contextmanager
def _no_kernels_kept() -> Iterator[None]:
    """oneDNN makes and keeps a kernel for each new shape, and here almost every group has one of its own."""
    # This switch alone: torch.backends.mkldnn.flags() sets TF32's too, and warns where no GPU of Intel is.
    mkldnn: Any = torch.backends.mkldnn
    before = mkldnn.enabled
    mkldnn.enabled = False
    try:
        yield
    finally:
        mkldnn.enabled = before


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """How a step is computed: no anomaly detection, no kernels kept."""
    # Importing RecBole's models turns anomaly detection on (sine.py), for a fifth of all time.
    with torch.autograd.set_detect_anomaly(False), _no_kernels_kept():
        yield


class FastTrainer(RecordingTrainerMixin, Trainer):  # type: ignore[misc]  # recbole is untyped
    """A RecBole Trainer that reads the losses back once an epoch on a GPU, not at each step."""

    def _build_optimizer(self, **arguments: Any) -> torch.optim.Optimizer:
        stock: torch.optim.Optimizer = super()._build_optimizer(**arguments)
        if not isinstance(stock, _FUSED_ON_CPU if self.device.type == "cpu" else _FUSED):
            return stock
        # Made anew: torch checks in the constructor whether it can fuse. RecBole sets these two only.
        group = stock.param_groups[0]
        return type(stock)(group["params"], lr=group["lr"], weight_decay=group["weight_decay"], fused=True)

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> float:
        self.model.train()
        losses: list[torch.Tensor] = []
        for interaction in train_data:
            # Not moved to the device: the groups are planned here, from the lengths.
            self.optimizer.zero_grad()
            with plainly():
                losses.append(self.model.backward_loss(interaction))
            if self.device.type == "cpu":
                self._check_nan(losses[-1])
            if self.clip_grad_norm:
                clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
            self.optimizer.step()
        every = torch.stack(losses).cpu()
        if self.device.type != "cpu":
            self._check_nan(every.sum())
        # In RecBole's order and precision: the sum of Python numbers.
        return float(sum(every.tolist()))

    def _full_sort_batch_eval(self, batched_data: tuple[Any, ...]) -> tuple[Any, ...]:
        # Not moved to the device either. A sequential model's batch has no history_index.
        interaction, _, positive_u, positive_i = batched_data
        scores = self.model.full_sort_predict(interaction)
        scores[:, 0] = -torch.inf
        return interaction, scores, sent(positive_u, self.device), sent(positive_i, self.device)

    def evaluate(self, *arguments: Any, **options: Any) -> Any:
        """See Trainer."""
        with _no_kernels_kept():
            return super().evaluate(*arguments, **options)
