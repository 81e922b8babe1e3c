"""The fast engine against RecBole's own trainer, in one process, on the same seeds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sasrecf_tune.engine.fast import evaluation
from sasrecf_tune.engine.fast.build import FAST, unsupported_reason
from sasrecf_tune.engine.fast.dataset import START
from sasrecf_tune.engine.fast.length_groups import Budget, budget_for
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, Built, Engine, build, make_config, prepare
from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs.hyperparameters import MODELS
from sasrecf_tune.inputs.metrics import VALUE, WITH_K, WITHOUT_K
from sasrecf_tune.messages import Decision, Describe, Job, Measure, Report, Result
from sasrecf_tune.training.runner import Runner
from tests.support.synthetic_data import NAME, base, data, muted

__all__ = ["data", "muted"]


def built(data: Path, engine: Engine, **changes: Any) -> Built:
    config = make_config(base(data) | changes)
    return build(config, prepare(config, engine), engine)


def trained(data: Path, engine: Engine, **changes: Any) -> tuple[list[float], list[dict[str, float]], Built]:
    """The loss of each step, the metrics of each validation, and what was trained."""
    made = built(data, engine, **changes)
    trainer = made.trainer
    losses: list[torch.Tensor] = []
    metrics: list[dict[str, float]] = []
    name = "calculate_loss" if engine is RECBOLE_ENGINE else "backward_loss"
    function = getattr(trainer.model, name)

    def noting(interaction: Any) -> torch.Tensor:
        loss: torch.Tensor = function(interaction)
        losses.append(loss)
        return loss

    setattr(trainer.model, name, noting)
    # Importing RecBole's models turns it on: it changes no result, and formats the stack in every operation.
    with torch.autograd.set_detect_anomaly(False):
        trainer.fit(made.train, made.valid, callback_fn=lambda *_: metrics.append(trainer.last_valid))
    return [float(loss.detach()) for loss in losses], metrics, made


FEATURES = ["colour", "tags", "price"]
CONFIGURATIONS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(MODELS),
        "selected_features": st.lists(st.sampled_from(FEATURES), min_size=1, unique=True),
        "pooling_mode": st.sampled_from(["sum", "mean", "max"]),
        "loss_type": st.sampled_from(["CE", "BPR"]),
        "hidden_act": st.sampled_from(["gelu", "relu", "swish", "tanh", "sigmoid"]),
        "n_layers": st.integers(1, 3),
        "n_heads": st.sampled_from([1, 2, 4, 8]),
        "MAX_ITEM_LIST_LENGTH": st.sampled_from([1, 2, 8, 20]),
        "train_batch_size": st.sampled_from([7, 32, 1000]),
        "learner": st.sampled_from(["adam", "adamw", "sgd", "adagrad", "rmsprop"]),
        "weight_decay": st.sampled_from([0.0, 0.01]),
        "clip_grad_norm": st.sampled_from([None, {"max_norm": 0.1}]),
        "layer_norm_eps": st.sampled_from([1e-12, 1e-3]),
        "seed": st.integers(0, 99),
        "sample_num": st.sampled_from([1, 3]),
        # The places of targets; the first items, too; all ranks.
        "metrics": st.sampled_from([["Recall", "MRR", "NDCG"], ["MRR", "ItemCoverage"], ["MRR", "GAUC"]]),
    }
)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(changes=CONFIGURATIONS)
def test_losses_and_metrics_are_recboles(data: Path, changes: dict[str, Any]) -> None:
    sampled = changes.pop("sample_num")
    if changes["loss_type"] == "BPR":
        changes["train_neg_sample_args"] = {"distribution": "uniform", "sample_num": sampled}
    losses, metrics, stock = trained(data, RECBOLE_ENGINE, **changes)
    ours, our_metrics, fast = trained(data, FAST, **changes)
    assert ours[:50] == pytest.approx(losses[:50], rel=1e-5)
    assert len(ours) == len(losses) and our_metrics == [pytest.approx(m, abs=1.01e-4) for m in metrics]
    # Same ranking on the test set, and the same epoch sums.
    assert fast.trainer.train_loss_dict == pytest.approx(stock.trainer.train_loss_dict, rel=1e-5)
    tests = [b.trainer.evaluate(b.test, load_best_model=False) for b in (stock, fast)]
    assert tests[1] == pytest.approx(tests[0], abs=1.01e-4)


@pytest.mark.parametrize("loss_type", ["CE", "BPR"])
def test_a_batch_of_one_and_dynamic_negatives(data: Path, loss_type: str) -> None:
    changes: dict[str, Any] = {"train_batch_size": 1, "epochs": 1, "loss_type": loss_type}
    changes |= {"user_inter_num_interval": "[12,14]"}  # few users: each sample is a step
    if loss_type == "BPR":
        negatives = {"distribution": "popularity", "sample_num": 1, "dynamic": True, "candidate_num": 3}
        changes["train_neg_sample_args"] = negatives
    losses, metrics, _ = trained(data, RECBOLE_ENGINE, **changes)
    ours, our_metrics, _ = trained(data, FAST, **changes)
    assert ours[:50] == pytest.approx(losses[:50], rel=1e-5)
    assert our_metrics == [pytest.approx(m, abs=1.01e-4) for m in metrics]


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"selected_features": features, "pooling_mode": pooling_mode}
            for features in (["colour"], ["tags", "price"])
            for pooling_mode in ("sum", "max")
        ),
        {"model": "SASRec"},
        {"model": "SASRec", "loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform"}},
    ],
    ids=str,
)
def test_gradients_are_recboles(data: Path, changes: dict[str, Any]) -> None:
    changes = {"n_layers": 3} | changes
    made = []
    for engine in (RECBOLE_ENGINE, FAST):
        one = built(data, engine, **changes)
        made.append((one, next(iter(one.train))))  # before another is seeded: negatives are drawn here
    (stock, padded), (fast, compact) = made
    # Both built alike, to the name: best checkpoints are RecBole's.
    expected_state, state = (one.trainer.model.state_dict() for one, _ in made)
    assert list(state) == list(expected_state)
    assert all(torch.equal(state[name], value) for name, value in expected_state.items())
    expected = stock.trainer.model.calculate_loss(padded)
    expected.backward()
    loss = fast.trainer.model.backward_loss(compact)
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-6)
    ours = dict(fast.trainer.model.named_parameters())
    for name, parameter in stock.trainer.model.named_parameters():
        # The keys' bias shifts all scores of a query alike: its gradient is zero, of which RecBole has
        # rounding errors and the last layer here none at all.
        grad = torch.zeros_like(parameter) if ours[name].grad is None else ours[name].grad
        torch.testing.assert_close(grad, parameter.grad, rtol=1e-4, atol=1e-7, msg=name)


def test_sasrec_needs_no_item_features(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / NAME, tmp_path / NAME)
    (tmp_path / NAME / f"{NAME}.item").unlink()
    load = {"inter": ["user_id", "item_id", "timestamp"]}
    changes: dict[str, Any] = {"model": "SASRec", "data_path": str(tmp_path), "load_col": load}
    changes |= {"numerical_features": [], "epochs": 1}
    losses, metrics, _ = trained(data, RECBOLE_ENGINE, **changes)
    ours, our_metrics, _ = trained(data, FAST, **changes)
    assert ours == pytest.approx(losses, rel=1e-5) and metrics == our_metrics
    with pytest.raises(DataError, match="SASRecF takes item features"):
        built(data, FAST, **changes | {"model": "SASRecF"})


def test_other_ranked_items_are_noted(data: Path) -> None:
    load = {"inter": ["user_id", "item_id", "timestamp"]}
    few: dict[str, Any] = {"user_inter_num_interval": "[12,14]", "numerical_features": []}
    config = base(data) | {"model": "SASRec"} | few
    runner = Runner("")
    whole = runner.describe(Describe(config, "fast"))
    found = runner.describe(Describe(config | {"load_col": load}, "fast"))
    assert (whole.items, found.items) == (37, 38) and whole.interactions < found.interactions
    assert whole.notes == ()
    (note,) = found.notes
    assert "38 items are ranked; SASRecF, which reads every-kind.item, ranks 1 more, without inter" in note
    assert "and drops 2 that are not in it" in note
    assert "load_col={inter: [user_id, item_id, timestamp], item: [item_id]}" in note
    as_said = runner.describe(Describe(config | {"load_col": load | {"item": ["item_id"]}}, "fast"))
    assert (as_said.items, as_said.interactions) == (whole.items, whole.interactions)
    filtered = config | {"load_col": load, "item_inter_num_interval": "[1,inf)"}
    (note,) = runner.describe(Describe(filtered, "fast")).notes
    assert "more" not in note


@pytest.mark.parametrize("budget", [Budget(1, 0), Budget(1 << 28, 20_000, 16, 2)], ids=["alone", "together"])
def test_any_grouping_gives_the_same_gradients(
    data: Path, monkeypatch: pytest.MonkeyPatch, budget: Budget
) -> None:
    fast = built(data, FAST)
    model, batch = fast.trainer.model, next(iter(fast.train))
    results = []
    for chosen in (budget_for(torch.device("cpu"), 2, 16, 16, 2), budget):
        monkeypatch.setattr("sasrecf_tune.engine.fast.model.budget_for", lambda *_, chosen=chosen: chosen)
        model.zero_grad()
        loss = model.backward_loss(batch)
        results.append([loss, *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_a_whole_graph_loss_has_the_same_gradients(data: Path) -> None:
    fast = built(data, FAST)
    model, batch = fast.trainer.model, next(iter(fast.train))
    summed = model.backward_loss(batch)
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    whole = model.calculate_loss(batch)
    whole.backward()
    torch.testing.assert_close(whole.detach(), summed)
    parameters = dict(model.named_parameters())
    assert parameters.keys() - grads.keys() == {"trm_encoder.layer.1.multi_head_attention.key.bias"}
    for name, grad in grads.items():
        torch.testing.assert_close(parameters[name].grad, grad, msg=name)


@pytest.mark.parametrize("model", MODELS)
def test_checkpoints_load_in_the_other_engine_with_the_same_scores(
    data: Path, tmp_path: Path, model: str
) -> None:
    changes: dict[str, Any] = {"model": model, "selected_features": FEATURES, "hidden_dropout_prob": 0.5}
    for one, other in ((RECBOLE_ENGINE, FAST), (FAST, RECBOLE_ENGINE)):
        _, _, source = trained(data, one, **changes)
        torch.save(source.trainer.model.state_dict(), tmp_path / "weights.pth")
        target = built(data, other, **changes, seed=7)
        target.trainer.model.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
        for loader in ("valid", "test"):
            scores = []
            for made in (source, target):
                made.trainer.model.eval()
                with torch.no_grad():
                    parts = [made.trainer.model.full_sort_predict(b[0]) for b in getattr(made, loader)]
                scores.append(torch.cat(parts))
            assert scores[0].shape[1] == source.trainer.model.n_items > 30
            torch.testing.assert_close(scores[1], scores[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chosen", MODELS)
def test_both_take_recboles_padded_histories(data: Path, chosen: str) -> None:
    stock, fast = built(data, RECBOLE_ENGINE, model=chosen), built(data, FAST, model=chosen)
    model = fast.trainer.model.eval()
    model.load_state_dict(stock.trainer.model.eval().state_dict())
    padded = next(iter(stock.train))
    for name in ("full_sort_predict", "predict"):
        torch.testing.assert_close(
            getattr(model, name)(padded), getattr(stock.trainer.model, name)(padded), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("split", [{"LS": "valid_and_test"}, {"RS": [0.8, 0.1, 0.1]}])
@pytest.mark.parametrize("group_by", ["user", None])
def test_batches_hold_recboles_samples_in_recboles_order(
    data: Path, split: dict[str, Any], group_by: str | None
) -> None:
    if "LS" in split and group_by is None:
        pytest.skip("leave-one-out is by user")
    evaluated = {"split": split, "order": "TO", "mode": "full", "group_by": group_by}
    changes: dict[str, Any] = {"eval_args": evaluated}
    stock, fast = built(data, RECBOLE_ENGINE, **changes), built(data, FAST, **changes)
    flat = fast.trainer.model.flat_items
    for name in ("train", "valid", "test"):
        for _ in range(2):  # each epoch has an order of its own
            for theirs, ours in zip(getattr(stock, name), getattr(fast, name), strict=True):
                expected, found = (theirs, ours) if name == "train" else (theirs[0], ours[0])
                for field in ("user_id", "item_id", "item_length", "timestamp"):
                    assert torch.equal(expected[field], found[field])
                for row, start, length in zip(
                    expected["item_id_list"], found[START], found["item_length"], strict=True
                ):
                    assert torch.equal(row[:length], flat[start : start + length])


@pytest.mark.parametrize("chosen", MODELS)
def test_with_dropout_the_mean_loss_is_recboles(data: Path, chosen: str) -> None:
    # Weights that know the training set by heart: dropout then costs a lot.
    overfit = {"model": chosen, "epochs": 40, "learning_rate": 0.01, "stopping_step": 99}
    weights = trained(data, FAST, **overfit)[2].trainer.model.state_dict()
    changes: dict[str, Any] = {"model": chosen, "hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.5}
    stock, fast = built(data, RECBOLE_ENGINE, **changes), built(data, FAST, **changes)
    for made in (stock, fast):
        made.trainer.model.load_state_dict(weights)
    padded, compact = next(iter(stock.train)), next(iter(fast.train))
    without = float(fast.trainer.model.eval().calculate_loss(compact))
    samples: list[torch.Tensor] = []
    for model, batch in ((stock.trainer.model, padded), (fast.trainer.model, compact)):
        model.train()
        torch.manual_seed(1)
        with torch.no_grad():
            samples.append(torch.stack([model.calculate_loss(batch) for _ in range(300)]).double())
    means, errors = [s.mean() for s in samples], [s.std() / len(s) ** 0.5 for s in samples]
    between = float((errors[0] ** 2 + errors[1] ** 2) ** 0.5)
    assert abs(float(means[0] - means[1])) < 4.5 * between
    assert abs(float(means[0]) - without) > 10 * between  # the comparison would notice wrong dropout
    assert float(samples[1].std()) == pytest.approx(float(samples[0].std()), rel=0.25)


def test_a_seed_gives_the_same_training_again(data: Path) -> None:
    changes: dict[str, Any] = {"hidden_dropout_prob": 0.3, "attn_dropout_prob": 0.5}
    first, second = (trained(data, FAST, **changes)[:2] for _ in range(2))
    other = trained(data, FAST, **changes, seed=3)[:2]
    assert first == second and first != other


@pytest.mark.parametrize("metrics", [["NDCG"], [*WITH_K], [*WITH_K, *WITHOUT_K]])
def test_evaluation_in_chunks_changes_nothing(
    data: Path, metrics: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, chunked = (built(data, FAST, metrics=metrics, eval_batch_size=size) for size in (4096, 10))
    monkeypatch.setattr(evaluation, "users_per_chunk", lambda *_: 7)
    for made in (whole, chunked):
        made.trainer.eval_collector.data_collect(made.train)
    results = [made.trainer.evaluate(made.valid, load_best_model=False) for made in (whole, chunked)]
    assert len(chunked.valid) > len(whole.valid) == 1 and results[0] == results[1]


def test_any_batch_size_is_evaluated_in_bounded_memory(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = built(data, FAST, eval_batch_size=1 << 30, metrics=["MRR"])
    shapes: list[torch.Size] = []
    monkeypatch.setattr(evaluation, "users_per_chunk", lambda *_: 5)
    find = evaluation.TargetPlaces.find

    def noting(places: Any, scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        shapes.append(scores.shape)
        return find(places, scores, target)

    monkeypatch.setattr(evaluation.TargetPlaces, "find", noting)
    made.trainer.evaluate(made.valid, load_best_model=False)
    assert len(made.valid) == 1 < len(shapes) and max(rows for rows, _ in shapes) == 5


@pytest.mark.parametrize("engine", [RECBOLE_ENGINE, FAST], ids=["recbole", "fast"])
@pytest.mark.parametrize("train_batch_size", [32, 1000])
def test_nan_weights_fail_the_trial(data: Path, engine: Engine, train_batch_size: int) -> None:
    # In one step of an epoch there is no later loss to notice it: unnoticed, topk would rank NaN first.
    changes: dict[str, Any] = {"learner": "sgd", "learning_rate": 1e38, "train_batch_size": train_batch_size}
    with pytest.raises((ValueError, RuntimeError), match="nan"):
        trained(data, engine, **changes, epochs=5)


SAMPLED = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni20", "group_by": "user"}
SETTINGS: list[dict[str, Any]] = [
    {"shuffle": False},
    {"eval_step": 2, "worker": 1},
    {"eval_args": {"split": {"LS": "valid_only"}, "order": "TO", "mode": "full", "group_by": "user"}},
    {"eval_args": {"split": {"RS": [0.7, 0.1, 0.2]}, "order": "TO", "mode": "uni20", "group_by": "user"}},
    {"eval_args": {"split": {"TS": [0.8, 0.1, 0.1]}, "order": "TO", "mode": "pop20", "group_by": "user"}},
    {"user_inter_num_interval": "[5,13)", "item_inter_num_interval": "[3,inf)"},
    {"ITEM_LIST_LENGTH_FIELD": "many", "LIST_SUFFIX": "_before", "NEG_PREFIX": "not_"},
    {"hidden_dropout_prob": 1.0, "attn_dropout_prob": 1.0},
    {"metrics": [*WITH_K, *WITHOUT_K]},
    {"eval_args": SAMPLED, "metrics": [*VALUE], "valid_metric": "AUC"},
    {"eval_args": SAMPLED, "metrics": [*VALUE], "valid_metric": "LogLoss"},
    {"eval_args": SAMPLED, "metrics": ["GAUC"], "valid_metric": "GAUC", "metric_decimal_place": 3},
    {"selected_features": ["item_id", "colour"]},
    {"selected_features": ["tags", "price", "item_id"]},
    {"selected_features": ["item_id"]},
    {"selected_features": ["item_id"], "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    | {"numerical_features": []},
]


@pytest.mark.parametrize("changes", SETTINGS, ids=[" ".join(map(str, s)) for s in SETTINGS])
def test_settings_of_data_and_evaluation_mean_what_they_mean_to_recbole(
    data: Path, changes: dict[str, Any]
) -> None:
    losses, metrics, _ = trained(data, RECBOLE_ENGINE, **changes)
    ours, our_metrics, _ = trained(data, FAST, **changes)
    assert ours == pytest.approx(losses, rel=1e-5)
    decimals = changes.get("metric_decimal_place", 4)
    assert metrics and our_metrics == [pytest.approx(m, abs=1.01 * 10**-decimals) for m in metrics]
    assert all(value == round(value, decimals) for result in metrics for value in result.values())


def job(data: Path, tmp_path: Path, **changes: Any) -> Job:
    return Job(0, base(data) | changes, "fast", tmp_path / "log", tmp_path / "checkpoints" / "trial.pth")


def always_continue(_: Report) -> Decision:
    return Decision.CONTINUE


def test_unsupported_configurations_are_trained_by_recbole_with_a_note(data: Path, tmp_path: Path) -> None:
    result = Runner("").train(job(data, tmp_path, enable_amp=True), always_continue)
    assert isinstance(result, Result)
    assert result.notes == (
        "trained by RecBole's own trainer: mixed precision (enable_amp, enable_scaler) is not supported",
    )
    result = Runner("").train(job(data, tmp_path), always_continue)
    assert isinstance(result, Result) and result.notes == ()
    saved = torch.load(tmp_path / "checkpoints" / "trial.pth", weights_only=True)
    assert saved["state_dict"].keys() == built(data, RECBOLE_ENGINE).trainer.model.state_dict().keys()


def test_unsupported_configurations(data: Path) -> None:
    assert unsupported_reason(base(data) | {"benchmark_filename": ["a", "b", "c"]})


def test_measure_with_dynamic_negatives(data: Path) -> None:
    negatives = {"distribution": "uniform", "sample_num": 1, "dynamic": True, "candidate_num": 2}
    config = base(data) | {"loss_type": "BPR", "train_neg_sample_args": negatives}
    timing = Runner("").measure(Measure(config, "fast", 2))
    assert timing.steps == 2 and timing.epoch_seconds > 0


def test_an_empty_test_split_is_no_failure(data: Path, tmp_path: Path) -> None:
    split = {"split": {"LS": "valid_only"}, "order": "TO", "mode": "full", "group_by": "user"}
    result = Runner("").train(job(data, tmp_path, eval_args=split), always_continue)
    assert isinstance(result, Result) and result.valid and result.test == {}


def test_float_sequences_are_rejected_because_recbole_cannot_embed_them(data: Path) -> None:
    with pytest.raises(DataError, match="float_seq"):
        built(data, FAST, selected_features=["sizes"])
    from recbole.data import create_dataset
    from recbole.model.sequential_recommender.sasrecf import SASRecF

    config = make_config(base(data) | {"selected_features": ["sizes"]})
    train = create_dataset(config).build()[0]
    with pytest.raises(RuntimeError, match="shapes"):
        SASRecF(config, train).calculate_loss(train[torch.arange(4)])
