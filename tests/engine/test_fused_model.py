"""Trials that train together against the same trials alone, in one process, on the same seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sasrecf_tune.engine.fast import evaluation
from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer, fusion_key
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, Built, Engine, Prepared, build, make_config, prepare
from sasrecf_tune.engine.rng import TrialRng
from sasrecf_tune.inputs.hyperparameters import MODELS
from sasrecf_tune.training.prepared_cache import PreparedCache, data_key
from tests.support.synthetic_data import base, data, muted

__all__ = ["data", "muted"]

PREPARED: PreparedCache[Prepared] = PreparedCache()


class Trial:
    """A fresh trial with generators of its own, and a note of every batch it was given."""

    def __init__(self, data: Path, engine: Engine = FAST, **changes: Any) -> None:
        config = make_config(base(data) | changes)
        key = engine.name + data_key(dict(config.final_config_dict))
        self.built: Built = build(config, PREPARED.get(key, lambda: prepare(config, engine)), engine)
        self.rng = TrialRng(config["device"])
        self._dataset = self.built.train._dataset
        self.batches: list[list[list[int]]] = []
        self.epochs: list[float] = []
        self.metrics: list[dict[str, float]] = []

    def __len__(self) -> int:
        return len(self.built.train)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.built.train:
            self.batches.append([column.tolist() for column in batch.interaction.values()])
            yield batch

    def train_alone(self) -> None:
        with self.rng.active():
            self.epochs.append(self.built.trainer._train_epoch(self, 0))
            self.validate()

    def validate(self) -> None:
        self.metrics.append(dict(self.built.trainer.evaluate(self.built.valid, load_best_model=False)))

    def request(self) -> EpochRequest:
        return EpochRequest(self.built.trainer, self, self.rng, validation_samples=self.built.valid)

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in self.built.trainer.model.state_dict().items()}


def train_together(trials: Sequence[Trial], epochs: int = 1) -> None:
    fused = FusedTrainer([trial.request() for trial in trials])
    for _ in range(epochs):
        for trial, (loss, metrics) in zip(trials, fused.run_epoch(), strict=True):
            trial.epochs.append(loss)
            if metrics is None:
                trial.validate()  # it has no company, or is no longer a number
            else:
                trial.metrics.append(metrics)


def check_same(together: Trial, alone: Trial, before: dict[str, torch.Tensor]) -> None:
    """The same batches, losses to 1e-5, metrics, and most weights to a thousandth of the way they went."""
    assert together.batches == alone.batches and together.epochs
    assert together.epochs == pytest.approx(alone.epochs, rel=1e-5)
    # RecBole rounds to four digits.
    assert together.metrics == [pytest.approx(metrics, abs=1.01e-4) for metrics in alone.metrics]
    ours, theirs = together.weights(), alone.weights()
    for name in theirs:
        went = float((theirs[name] - before[name]).norm())
        # Adam and its like make whole steps of gradients that are rounding errors: of the keys' bias, and
        # all of queries and keys where histories have one item.
        if went and not any(part in name for part in (".query.", ".key.")):
            assert float((ours[name] - theirs[name]).norm()) <= 1e-3 * went + 1e-6, name


SHAPES = st.fixed_dictionaries(
    {
        "model": st.sampled_from(MODELS),
        "selected_features": st.lists(st.sampled_from(["colour", "tags", "price"]), min_size=1, unique=True),
        "pooling_mode": st.sampled_from(["sum", "mean", "max"]),
        "loss_type": st.sampled_from(["CE", "BPR"]),
        "hidden_act": st.sampled_from(["gelu", "relu", "swish", "tanh", "sigmoid"]),
        "n_layers": st.integers(1, 3),
        "MAX_ITEM_LIST_LENGTH": st.sampled_from([1, 2, 8, 20]),
        "train_batch_size": st.sampled_from([17, 53, 100, 159, 1000]),
        "layer_norm_eps": st.sampled_from([1e-12, 1e-3]),
        "shuffle": st.booleans(),
        "sample_num": st.sampled_from([1, 3]),
    }
)
OWN = st.fixed_dictionaries(
    {
        "learning_rate": st.sampled_from([0.0001, 0.003, 0.01]),
        "learner": st.sampled_from(["adam", "adamw", "sgd", "adagrad", "rmsprop"]),
        "weight_decay": st.sampled_from([0.0, 0.01]),
        "clip_grad_norm": st.sampled_from([None, {"max_norm": 0.1}]),
        "initializer_range": st.sampled_from([0.02, 0.05]),
        "seed": st.integers(0, 2),
        "n_heads": st.sampled_from([1, 2, 2, 4, 8]),
    }
)
DROPOUT = st.sampled_from([0.0, 0.0, 0.2, 0.5, 1.0])
PROPERTY = settings(
    max_examples=14,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def split_negatives(changes: dict[str, Any]) -> dict[str, Any]:
    sampled = changes.pop("sample_num")
    if changes["loss_type"] == "BPR":
        changes["train_neg_sample_args"] = {"distribution": "uniform", "sample_num": sampled}
    return changes


@PROPERTY
@given(shape_of_all=SHAPES, own=st.lists(OWN, min_size=1, max_size=5), leave=st.integers(0, 4))
def test_fused_training_equals_training_alone(
    data: Path, shape_of_all: dict[str, Any], own: list[dict[str, Any]], leave: int
) -> None:
    changes = split_negatives(shape_of_all)
    trials, alone = ([Trial(data, **changes, **each) for each in own] for _ in range(2))
    before = [trial.weights() for trial in trials]
    assert len({fusion_key(trial.request()) for trial in trials}) == 1
    train_together(trials)
    # Some end, and the first of the trials takes a place that became free, in its first epoch.
    stays = [number for number in range(len(own)) if number >= leave]
    late = Trial(data, **changes, **own[0])
    train_together([*[trials[number] for number in stays], late], epochs=2)
    for number, trial in enumerate(alone):
        for _ in range(3 if number in stays else 1):
            trial.train_alone()
        check_same(trials[number], trial, before[number])
    again = Trial(data, **changes, **own[0])
    for _ in range(2):
        again.train_alone()
    check_same(late, again, before[0])


@settings(PROPERTY, max_examples=10)
@given(
    shape_of_all=SHAPES,
    own=st.lists(st.tuples(OWN, DROPOUT, DROPOUT), min_size=2, max_size=4),
)
def test_fused_dropout_equals_dropout_alone(
    data: Path, shape_of_all: dict[str, Any], own: list[tuple[dict[str, Any], float, float]]
) -> None:
    # With everything dropped, LayerNorm divides rounding errors by eps: a trial may end in NaN, alone too.
    assume(shape_of_all["layer_norm_eps"] > 1e-6 or all(hidden < 1 for _, hidden, _ in own))
    changes = split_negatives(shape_of_all)
    each = [
        one | {"hidden_dropout_prob": hidden, "attn_dropout_prob": attention}
        for one, hidden, attention in own
    ]
    trials, alone = ([Trial(data, **changes, **one) for one in each] for _ in range(2))
    train_together(trials, epochs=2)
    for trial, other in zip(trials, alone, strict=True):
        for _ in range(2):
            other.train_alone()
        assert trial.batches == other.batches
        assert trial.epochs == pytest.approx(other.epochs, rel=1e-4)
        # Not a number was drawn more or fewer, nor by another generator.
        with trial.rng.active():
            ours = torch.rand(4)
        with other.rng.active():
            assert torch.equal(ours, torch.rand(4))


def test_fused_gradients_equal_gradients_alone(data: Path) -> None:
    changes: dict[str, Any] = {
        "selected_features": ["colour", "tags", "price"],
        "n_layers": 3,
        "hidden_dropout_prob": 0.3,
        "attn_dropout_prob": 0.3,
        "learner": "sgd",
        "learning_rate": 0.0,  # so that the gradients of the last step are left
        "train_batch_size": 1000,
    }
    trials, alone = ([Trial(data, **changes, seed=seed) for seed in (0, 0, 1)] for _ in range(2))
    train_together(trials)
    for trial, other in zip(trials, alone, strict=True):
        other.train_alone()
        ours = dict(trial.built.trainer.model.named_parameters())
        for name, parameter in other.built.trainer.model.named_parameters():
            assert (ours[name].grad is None) == (parameter.grad is None)
            if parameter.grad is not None:
                torch.testing.assert_close(ours[name].grad, parameter.grad, rtol=1e-4, atol=1e-7, msg=name)


def test_a_diverging_trial_does_not_affect_others(data: Path) -> None:
    wild: dict[str, Any] = {"learner": "sgd", "learning_rate": 1e38}
    trials = [Trial(data), Trial(data, **wild), Trial(data, seed=1)]
    alone = [Trial(data), Trial(data, seed=1)]
    before = [trial.weights() for trial in trials]
    train_together(trials, epochs=2)
    assert trials[1].epochs[-1] != trials[1].epochs[-1]  # not a number
    for number, other in ((0, alone[0]), (2, alone[1])):
        for _ in range(2):
            other.train_alone()
        check_same(trials[number], other, before[number])


# From the places of targets, from which items are first, and from all ranks.
@pytest.mark.parametrize("measured", [["Recall", "MRR"], ["MRR", "ShannonEntropy"], ["MRR", "GAUC"]])
@pytest.mark.parametrize("model", MODELS)
def test_a_fused_validation_of_some_trials_equals_validation_alone(
    data: Path, monkeypatch: pytest.MonkeyPatch, model: str, measured: list[str]
) -> None:
    several: dict[str, Any] = {"metrics": measured, "model": model}
    several |= {"initializer_range": 0.5}  # scores that are far apart
    trials = [Trial(data, **several, seed=seed, n_heads=2 + 2 * (seed // 2)) for seed in range(4)]
    for trial in trials:
        trial.validate()
    monkeypatch.setattr(evaluation, "users_per_chunk", lambda *_: 21)
    fused = FusedTrainer([trial.request() for trial in trials])
    for numbers in ([0, 1, 2, 3], [0, 2, 3]):
        for number, metrics in zip(numbers, fused.evaluate(numbers), strict=True):
            assert metrics == pytest.approx(trials[number].metrics[0], abs=1.01e-4)
    assert len({str(trial.metrics) for trial in trials}) == 4


def test_fused_training_with_dynamic_negatives(data: Path) -> None:
    negatives = {"distribution": "popularity", "sample_num": 1, "dynamic": True, "candidate_num": 3}
    changes: dict[str, Any] = {"loss_type": "BPR", "train_neg_sample_args": negatives}
    trials, alone = ([Trial(data, **changes, seed=seed) for seed in (0, 1)] for _ in range(2))
    train_together(trials, epochs=2)
    for trial, other in zip(trials, alone, strict=True):
        other.train_alone()
        other.train_alone()
        assert trial.batches == other.batches and trial.epochs == pytest.approx(other.epochs, rel=1e-5)


def test_the_fusion_key_depends_on_shapes_and_data_set(data: Path) -> None:
    first = fusion_key(Trial(data).request())
    own: dict[str, Any] = {"learning_rate": 0.5, "hidden_dropout_prob": 0.5, "attn_dropout_prob": 0.1}
    own |= {
        "weight_decay": 0.1,
        "seed": 5,
        "initializer_range": 0.1,
        "learner": "sgd",
        "epochs": 9,
        "n_heads": 4,
    }
    assert first is not None and first == fusion_key(Trial(data, **own, stopping_step=1).request())
    others: list[dict[str, Any]] = [
        {"n_layers": 1},
        {"hidden_size": 16},
        {"inner_size": 8},
        {"hidden_act": "relu"},
    ]
    others += [
        {"selected_features": ["tags"]},
        {"train_batch_size": 33},
        {"user_inter_num_interval": "[5,9]"},
    ]
    assert first not in [fusion_key(Trial(data, **other).request()) for other in others]
    assert fusion_key(Trial(data, RECBOLE_ENGINE).request()) is None
