"""Checks whether the engine is right on a GPU."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_checks.setting import CheckSetting, Finding, rounded
from benchmarks.gpu_checks.trials import Trial, TrialBuilder
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE
from sasrecf_tune.messages import Decision, Job, Report, Result
from sasrecf_tune.training.runner import Runner

NO_DROPOUT: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
_BPR = {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
_SAMPLED = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni20", "group_by": "user"}
# 0.3 is no multiple of 1/256: its masks need more random bits.
_CASES: dict[str, dict[str, Any]] = {
    "dropout": {"hidden_dropout_prob": 0.5, "attn_dropout_prob": 0.3},
    "BPR": NO_DROPOUT | _BPR,
    "1 layer, 1 head, max, ReLU": NO_DROPOUT
    | {"n_layers": 1, "n_heads": 1, "pooling_mode": "max", "hidden_act": "relu"},
    "SASRec": NO_DROPOUT | {"model": "SASRec"},
    "sampled candidates": NO_DROPOUT | {"eval_args": _SAMPLED},
}
_LOSSES, _GRADIENTS, _METRICS = 1e-5, 1e-3, 2e-3
# Rounding errors grow from step to step.
_EPOCHS = 1e-4


def compare(one: Trial, other: Trial, validations: bool = True) -> dict[str, float]:
    """Return how far loss, gradients and metrics of two trials differ, from the weights of `other`."""
    one.trainer.model.load_state_dict(other.trainer.model.state_dict())
    (loss, ours), (expected, theirs) = one.gradients(), other.gradients()
    differences = {
        "loss": abs(loss / expected - 1),
        "gradients": max(
            float((ours[name] - gradient).norm() / gradient.norm())
            for name, gradient in theirs.items()
            # The bias of keys has no effect: its gradients are rounding errors.
            if ".key.bias" not in name and gradient.norm() > 1e-7
        ),
    }
    if validations:
        found, scores = one.validate(), other.validate()
        differences["metrics"] = max(abs(found[key] - score) for key, score in scores.items())
    return differences


def is_fine(differences: dict[str, float]) -> bool:
    """Return whether the differences are rounding errors."""
    limits = {"loss": _LOSSES, "gradients": _GRADIENTS, "metrics": _METRICS}
    return all(value <= limits[name] for name, value in differences.items())


def agreement(setting: CheckSetting) -> Finding:
    """Compare with RecBole on the same device and with the CPU, from the same weights."""
    builder = TrialBuilder(setting.config(), setting.gpu)
    cpu = builder.build(on_cpu=True, **NO_DROPOUT)
    here = builder.build(**NO_DROPOUT)
    found = {"CPU": compare(here, cpu)}
    stock = builder.build(RECBOLE_ENGINE, **NO_DROPOUT)
    stock.trainer.model.load_state_dict(here.trainer.model.state_dict())
    found["RecBole"] = compare(builder.build(**NO_DROPOUT), stock)
    return _named(found)


def configurations(setting: CheckSetting) -> Finding:
    """Compare other configurations with the CPU; masks are the same on every device."""
    found = {}
    for name, changes in _CASES.items():
        builder = TrialBuilder(setting.config() | changes, setting.gpu)
        found[name] = compare(builder.build(), builder.build(on_cpu=True))
    return _named(found)


def _named(found: dict[str, dict[str, float]]) -> Finding:
    return Finding(
        all(map(is_fine, found.values())), {name: rounded(differences) for name, differences in found.items()}
    )


def bits(setting: CheckSetting) -> Finding:
    """Train the same trial twice, with dropout."""
    builder = TrialBuilder(setting.config(), setting.gpu)
    first, second = builder.build(), builder.build()
    losses = [[one.epoch(number) for number in range(2)] for one in (first, second)]
    ours, theirs = first.weights(), second.weights()
    differ = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    fine = losses[0] == losses[1] and not differ
    return Finding(fine, {"losses": losses[0], "losses again": losses[1], "weights that differ": differ})


def together(setting: CheckSetting) -> Finding:
    """Train and validate three trials alone and as one model, with dropout."""
    builder = TrialBuilder(setting.config(), setting.gpu)
    alone, fused = builder.several(3), builder.fused(3)
    found: dict[str, float] = {}
    for number in range(2):
        pairs = zip([one.epoch(number) for one in alone], fused.train_epoch(), strict=True)
        found[f"loss of epoch {number + 1}"] = max(abs(a / b - 1) for a, b in pairs)
    for one, request in zip(alone, fused.trials, strict=True):  # the same weights again
        request.trainer.model.load_state_dict(one.trainer.model.state_dict())
        request.trainer.eval_collector.data_collect(request.samples)
    each = zip([one.validate() for one in alone], fused.evaluate(range(3)), strict=True)
    found["metrics"] = max(
        abs(score - float(other[key])) for one, other in each for key, score in one.items()
    )
    fine = found["metrics"] <= _METRICS and all(
        value <= _EPOCHS for name, value in found.items() if name != "metrics"
    )
    return Finding(fine, rounded(found))


def continued(setting: CheckSetting) -> Finding:
    """Train a trial in one go, and another one that is interrupted after each epoch."""
    TrialBuilder(setting.config(), setting.gpu)
    config = setting.config() | {"epochs": 3}
    results: list[Result] = []
    weights: list[dict[str, torch.Tensor]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, decide in (("whole", _go_on), ("parts", _stop_once)):
            there = Path(scratch) / name
            there.mkdir()
            job = Job(0, config, "fast", there / "log", there / "best.pth", there / "resume", 1)
            while True:
                result = Runner(setting.gpu).train(job, decide)
                if not isinstance(result, Result):
                    return Finding(False, {name: result.reason})
                if result.decision is Decision.CONTINUE:
                    break
            results.append(result)
            weights.append(torch.load(job.checkpoint, weights_only=True)["state_dict"])
    whole, parts = results
    same = all(torch.equal(weights[1][name], weight) for name, weight in weights[0].items())
    fine = same and whole.losses == parts.losses and whole.valid == parts.valid and whole.test == parts.test
    return Finding(fine, {"losses": whole.losses, "losses in parts": parts.losses, "same weights": same})


def _go_on(_: Report) -> Decision:
    return Decision.CONTINUE


def _stop_once(report: Report) -> Decision:
    return Decision.CONTINUE if report.continues_after else Decision.STOP
