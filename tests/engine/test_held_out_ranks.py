"""Ranks and metrics of each user: their means are RecBole's own numbers, on all items and on sampled ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.held_out_ranks import HeldOutRanks
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, Built, Engine, build, make_config, prepare
from sasrecf_tune.engine.split_merging import merge_splits
from sasrecf_tune.storage.per_user_files import PARTS, per_user_file, read_per_user
from sasrecf_tune.training.evaluation import test_metrics as measure_test
from sasrecf_tune.training.evaluation import valid_metrics
from tests.support.synthetic_data import base, data, muted

__all__ = ["data", "muted"]

LAST = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
SEVERAL = {"split": {"RS": [0.4, 0.3, 0.3]}, "order": "TO", "group_by": "user", "mode": "full"}
METRICS = ["Recall", "MRR", "NDCG", "Hit", "Precision", "MAP", "GAUC", "ItemCoverage"]
CASES = pytest.mark.parametrize(
    ("engine", "evaluation"),
    [
        (RECBOLE_ENGINE, LAST),
        (FAST, LAST),
        (FAST, SEVERAL),
        (RECBOLE_ENGINE, SEVERAL | {"mode": "uni20"}),
        (FAST, SEVERAL | {"mode": "uni20"}),
    ],
    ids=["recbole", "fast", "several", "recbole-sampled", "fast-sampled"],
)


def made(data: Path, engine: Engine, evaluation: dict[str, Any], merged: int = 1, **changes: Any) -> Built:
    settings = {"eval_args": evaluation, "metrics": METRICS, "topk": [3, 5], "metric_decimal_place": 9}
    config = make_config(base(data) | settings | changes)
    return build(config, merge_splits(prepare(config, engine), merged), engine)


@CASES
def test_means_are_recboles_metrics(
    data: Path, tmp_path: Path, engine: Engine, evaluation: dict[str, Any]
) -> None:
    built = made(data, engine, evaluation, eval_batch_size=300)
    built.trainer.eval_collector.data_collect(built.train)
    np.random.seed(1)  # the candidates
    expected = built.trainer.evaluate(built.test, load_best_model=False)
    np.random.seed(1)
    assert measure_test(built, tmp_path / "trial-0000") == pytest.approx(expected, abs=1e-8)
    table = read_per_user(per_user_file(tmp_path / "trial-0000", "test"))
    keys = [f"{name}@{k}" for name in ("recall", "mrr", "ndcg", "hit", "precision", "map") for k in (3, 5)]
    assert list(table.columns[5:]) == keys
    assert table[keys].mean().to_dict() == pytest.approx({key: expected[key] for key in keys}, abs=1e-8)
    # The rank of the best placed target says the same.
    assert ((table["rank"] <= 3) == (table["hit@3"] == 1)).all()
    first = table["mrr@5"] > 0
    assert (1 / table["rank"][first]).to_numpy() == pytest.approx(table["mrr@5"][first].to_numpy())
    assert table["rank"].max() <= int(built.train._dataset.item_num)


@pytest.mark.parametrize("engine", [RECBOLE_ENGINE, FAST], ids=["recbole", "fast"])
def test_users_and_items_have_their_own_ids_and_counts(data: Path, tmp_path: Path, engine: Engine) -> None:
    inter, items = (next(data.glob(f"*/*.{suffix}")).read_text().splitlines() for suffix in ("inter", "item"))
    known = {line.split("\t")[0] for line in items}  # RecBole drops the others
    lines = [line.split("\t") for line in inter[1:] if line.split("\t")[1] in known]
    lines.sort(key=lambda line: float(line[2]))  # stable, as RecBole's
    count = pd.Series([user for user, _, _ in lines]).value_counts()
    histories: dict[str, list[str]] = {}
    for user, item, _ in lines:
        histories.setdefault(user, []).append(item)
    for merged in (1, 2):
        built = made(data, engine, LAST, merged)
        built.trainer.eval_collector.data_collect(built.train)
        measure_test(built, tmp_path / str(merged))
        table = read_per_user(per_user_file(tmp_path / str(merged), "test"), ["mrr@3"])
        # Without those held out; RecBole holds nothing out of a user with three interactions.
        assert set(table["user"]) <= set(count.index)
        long = table[table["user"].map(count) > 3]
        assert (long["history"] == long["user"].map(count) - (3 - merged)).all() and len(long) > 20
        trained: Counter[str] = Counter()
        for seen in histories.values():
            # RecBole keeps the second interaction in the training part, and drops users with fewer.
            trained.update(seen[: max(2, len(seen) - 3 + merged)] if len(seen) > 1 else [])
        assert table["popularity"].tolist() == [trained[item] for item in table["item"]]


def test_ranks_beyond_the_cutoff_are_counted(data: Path) -> None:
    built = made(data, FAST, LAST)
    built.trainer.eval_collector.data_collect(built.train)
    with HeldOutRanks(built.trainer) as ranks:
        built.trainer.evaluate(built.test, load_best_model=False)
    assert built.trainer.eval_collector.on_batch is None
    columns = ranks.columns(built.train._dataset)
    scores = built.trainer.model.full_sort_predict(next(iter(built.test))[0])
    scores[:, 0] = -np.inf
    target = built.test._dataset.inter_feat["item_id"]
    above = (scores > scores.gather(1, target[:, None])).sum(dim=1) + 1
    assert columns["rank"].tolist() == above.tolist() and max(above.tolist()) > 5


def test_scores_of_few_users_at_a_time_are_in_memory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = made(data, FAST, LAST)  # one batch
    built.trainer.eval_collector.data_collect(built.train)
    expected = measure_test(built, tmp_path / "whole")
    monkeypatch.setattr("sasrecf_tune.engine.fast.evaluation.users_per_chunk", lambda *_: 7)
    collector, sizes = built.trainer.eval_collector, []
    collect = collector.eval_batch_collect

    def counted(scores: Any, *others: Any) -> None:
        sizes.append(len(scores))
        collect(scores, *others)

    monkeypatch.setattr(collector, "eval_batch_collect", counted)
    assert measure_test(built, tmp_path / "parts") == pytest.approx(expected, abs=1e-8)
    assert max(sizes) == 7 and sum(sizes) == len(built.test._dataset) > 7
    whole, parts = (read_per_user(per_user_file(tmp_path / name, "test")) for name in ("whole", "parts"))
    pd.testing.assert_frame_equal(whole, parts)


def test_validation_is_written_where_it_can_be_repeated(data: Path, tmp_path: Path) -> None:
    for name, evaluation, written in (
        ("full", LAST, ["valid"]),
        ("sampled", LAST | {"mode": {"valid": "uni20", "test": "full"}}, []),
    ):
        built = made(data, FAST, evaluation)
        built.trainer.eval_collector.data_collect(built.train)
        valid_metrics(built, tmp_path / name)
        assert [part for part in PARTS if per_user_file(tmp_path / name, part).exists()] == written
