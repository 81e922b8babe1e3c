"""RecBole's Trainer on the fast models: its early stopping, learners, clipping and metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from recbole.trainer import Trainer
from torch.nn.utils import clip_grad_norm_
from typing_extensions import override

from sasrecf_tune.engine.fast.batches import epoch_batches, reads_table
from sasrecf_tune.engine.fast.evaluation import RankedTargets, collect_scores, ranks_all_items
from sasrecf_tune.engine.fast.length_groups import to_device
from sasrecf_tune.engine.fast.scoring_model import item_inputs
from sasrecf_tune.engine.recording_trainer import RecordingTrainerMixin

# Optimisers whose step can be one fused kernel.
_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
_FUSED_ON_CPU = (*_FUSED, torch.optim.Adagrad)


@contextlib.contextmanager
def _without_onednn() -> Iterator[None]:
    """Turn oneDNN off: it keeps a kernel for each shape, and almost every group has a new one."""
    # Not torch.backends.mkldnn.flags(): it sets TF32 as well, and warns without an Intel GPU.
    mkldnn: Any = torch.backends.mkldnn
    before = mkldnn.enabled
    mkldnn.enabled = False
    try:
        yield
    finally:
        mkldnn.enabled = before


@contextlib.contextmanager
def without_overhead() -> Iterator[None]:
    """Turn off what only costs time in a training step: anomaly detection and oneDNN."""
    # Importing RecBole's models turns anomaly detection on (sine.py), which takes a fifth of the time.
    with torch.autograd.set_detect_anomaly(False), _without_onednn():
        yield


class FastTrainer(RecordingTrainerMixin, Trainer):  # type: ignore[misc]  # recbole is untyped
    """A RecBole Trainer that on a GPU reads the losses once per epoch, not at each step."""

    @override
    def _build_optimizer(self, **arguments: Any) -> torch.optim.Optimizer:
        stock: torch.optim.Optimizer = super()._build_optimizer(**arguments)
        if not isinstance(stock, _FUSED_ON_CPU if self.device.type == "cpu" else _FUSED):
            return stock
        # torch checks in the constructor whether it can fuse. RecBole sets only these two options.
        group = stock.param_groups[0]
        return type(stock)(group["params"], lr=group["lr"], weight_decay=group["weight_decay"], fused=True)

    @override
    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> float:
        self.model.train()
        losses: list[torch.Tensor] = []
        # RecBole's own batches stay on the CPU, where their lengths are used to form groups.
        batches = train_data
        if reads_table(train_data):
            batches = epoch_batches([train_data], self.device, trial_axis=False)
        for batch in batches:
            self.optimizer.zero_grad()
            with without_overhead():
                losses.append(self.model.backward_loss(batch))
            if self.device.type == "cpu":
                self._check_nan(losses[-1])
            if self.clip_grad_norm:
                clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
            self.optimizer.step()
        all_losses = torch.stack(losses).cpu()
        if self.device.type != "cpu":
            self._check_nan(all_losses.sum())
        # RecBole adds Python numbers in this order; the sum has the same precision.
        return float(sum(all_losses.tolist()))

    @override
    @torch.no_grad()
    def evaluate(self, eval_data: Any, load_best_model: bool = True, **options: Any) -> Any:
        with without_overhead():
            if load_best_model or not eval_data or not ranks_all_items(self.config, eval_data):
                return super().evaluate(eval_data, load_best_model, **options)
            self.model.eval()
            ranked = RankedTargets(self.config)
            # What records ranks of users needs the scores as RecBole's collector gets them.
            recorded = self.eval_collector.on_batch is not None
            inputs = item_inputs(self.model) if len(eval_data) > 1 else None
            items = self.model.item_embedding.weight
            # The batch stays on the CPU here, too.
            for interaction, _, _, targets in eval_data:
                outputs, target = self.model.outputs(interaction, inputs), to_device(targets, self.device)
                if recorded:
                    collect_scores(self.eval_collector, interaction, outputs, items, target)
                else:
                    ranked.add(outputs, items, target)
            return ranked.metrics(self)
