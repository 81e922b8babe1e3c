from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sasrecf_tune.errors import ConfigFileError, InputError
from sasrecf_tune.inputs.metrics import (
    RANKING,
    SMALLER_IS_BETTER,
    VALUE,
    Metric,
    check_kinds,
    parse_metric,
    result_keys,
)
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.search.plan import base_config

SAMPLED = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "uni20"}


def test_metric_names_ignore_case() -> None:
    assert parse_metric("mrr@10") == Metric("MRR", 10)
    assert parse_metric("ndcg@5").key == "ndcg@5"
    assert parse_metric("gauc") == Metric("GAUC", None)
    assert not parse_metric("giniindex@10").maximize


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NDGC@10", "did you mean `NDCG`"),
        ("MRR", "needs a cut-off"),
        ("MRR@0", "needs"),
        ("AUCC", "unknown metric `AUCC`: did you mean `AUC`"),
    ],
)
def test_invalid_metrics_are_rejected(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_metric(text)


def test_metric_names_and_directions_equal_recboles() -> None:
    from recbole.evaluator import metric_types, smaller_metrics
    from recbole.utils import EvaluatorType

    for kind, names in ((EvaluatorType.RANKING, RANKING), (EvaluatorType.VALUE, VALUE)):
        assert {name.lower() for name in names} == {n for n, found in metric_types.items() if found == kind}
    assert set(smaller_metrics) == SMALLER_IS_BETTER
    assert not parse_metric("logloss").maximize and parse_metric("auc").maximize


def test_result_keys_of_metrics_with_and_without_a_cut_off() -> None:
    assert result_keys(["Recall", "GAUC"], [5, 10]) == ("recall@5", "recall@10", "gauc")
    assert result_keys(["AUC", "LogLoss"], [5, 10]) == ("auc", "logloss")


@pytest.mark.parametrize(
    ("metrics", "eval_args", "message"),
    [
        (["AUC", "Recall"], SAMPLED, "cannot compute AUC together with Recall"),
        (["logloss", "gauc"], SAMPLED, "cannot compute LogLoss together with GAUC"),
        (["AUC"], {}, "AUC cannot be computed where all items are ranked"),
        (["RMSE", "MAE"], {"mode": "full"}, "RMSE, MAE cannot be computed"),
        (["AUC"], {"mode": {"valid": "uni20", "test": "full"}}, "AUC cannot be computed"),
    ],
)
def test_metrics_that_recbole_cannot_compute_are_refused(
    metrics: list[str], eval_args: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigFileError, match=message):
        check_kinds(metrics, eval_args)


@pytest.mark.parametrize("mode", ["uni20", "pop20", {"valid": "uni20"}, {"valid": "uni20", "test": "uni30"}])
def test_metrics_of_one_kind_can_be_computed_with_sampled_candidates(mode: Any) -> None:
    check_kinds(["AUC", "MAE", "RMSE", "LogLoss"], {"mode": mode})
    check_kinds(["GAUC", "NDCG"], {"mode": mode})


def test_a_value_metric_is_computed_alone_unless_metrics_are_set() -> None:
    space = parse("learning_rate choice [0.01]")
    auc = RunSettings(
        params_file=Path("h"), name="s", base={"eval_args": SAMPLED}, metric=parse_metric("auc")
    )
    assert base_config(auc, space)["metrics"] == ["AUC"]
    both = replace(auc, base=auc.base | {"metrics": ["LogLoss"]})
    assert base_config(both, space)["metrics"] == ["LogLoss", "AUC"]
    with pytest.raises(ConfigFileError, match="cannot compute AUC together with Recall"):
        base_config(replace(auc, base=auc.base | {"metrics": ["Recall"]}), space)
    with pytest.raises(ConfigFileError, match="cannot compute AUC together with MRR"):
        base_config(replace(both, base=both.base | {"metrics": "AUC"}, metric=parse_metric("MRR@10")), space)
