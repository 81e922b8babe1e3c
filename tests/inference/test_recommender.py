"""Recommendations against RecBole's own, on the same weights."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some
from recbole.utils.case_study import full_sort_topk
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

import sasrecf_tune as st
from sasrecf_tune.cli.app import app
from sasrecf_tune.engine.recbole import RECBOLE_ENGINE, build, make_config, prepare
from sasrecf_tune.inference.ranking import top_items
from sasrecf_tune.storage.model_directory import ModelDirectory
from tests.support.fake_gpu import fake_gpu
from tests.support.final_models import FEATURES, fitted
from tests.support.shop import SESSION_SETTINGS, SMALL, write_sessions
from tests.support.synthetic_data import NAME, base, data, muted

__all__ = ["data", "muted"]


def ordered_histories(data: Path) -> dict[str, list[str]]:
    """The items of each user by time; equal times keep the order of the file, as in RecBole.

    RecBole leaves out items that are not in the .item file.
    """
    rows, items = (
        list(csv.reader((data / NAME / f"{NAME}.{suffix}").open(), delimiter="\t"))[1:]
        for suffix in ("inter", "item")
    )
    known = {row[0] for row in items}
    found: dict[str, list[str]] = defaultdict(list)
    for user, item, _ in sorted(rows, key=lambda row: float(row[2])):
        if item in known:
            found[user].append(item)
    return found


@pytest.mark.parametrize(
    ("engine", "changes"),
    [
        ("fast", FEATURES | {"pooling_mode": "mean"}),
        ("recbole", FEATURES | {"pooling_mode": "max", "n_layers": 1}),
        ("fast", {"model": "SASRec", "selected_features": None, "loss_type": "BPR"}
         | {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}),
    ],
    ids=["fast", "recbole", "SASRec"],
)  # fmt: skip
def test_recommendations_are_those_of_full_sort_topk(
    data: Path, tmp_path: Path, engine: str, changes: dict[str, Any]
) -> None:
    fitted(data, tmp_path / "model", engine=engine, **changes)
    model = st.load_model(tmp_path / "model")
    config = make_config(base(data) | changes)
    made = build(config, prepare(config, RECBOLE_ENGINE), RECBOLE_ENGINE)
    stock = made.trainer.model
    stock.load_state_dict(load_file(ModelDirectory(tmp_path / "model").weights))
    dataset = made.test.dataset
    rows = dataset.inter_feat["user_id"].numpy()
    scores, items = full_sort_topk(rows, stock, made.test, 10)

    names = dataset.field2id_token["user_id"][rows]
    before_test = {user: items[:-1] for user, items in ordered_histories(data).items()}
    found = model.recommend({user: before_test[user] for user in names}, top=10, include_seen=True)
    assert len(found) == 10 * len(rows)
    assert found["user"].tolist() == np.repeat(names, 10).tolist()
    assert found["rank"].tolist() == list(range(1, 11)) * len(rows)
    np.testing.assert_allclose(found["score"], scores.flatten(), rtol=1e-5)
    assert found["item"].tolist() == dataset.field2id_token["item_id"][items].ravel().tolist()


def test_the_file_of_recommend_gives_the_test_metrics_of_the_trial(data: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"metrics": ["Recall", "MRR", "NDCG", "Hit", "Precision"], "topk": [3, 10]}
    trained = fitted(data, tmp_path / "model", **changes, hidden_dropout_prob=0.3, epochs=3)
    histories = ordered_histories(data)
    with (tmp_path / "h.csv").open("w") as file:
        file.write("user,item\n")
        file.writelines(f"{user},{item}\n" for user, items in histories.items() for item in items[:-1])
    arguments = ["recommend", str(tmp_path / "model"), "--histories", str(tmp_path / "h.csv")]
    done = CliRunner().invoke(app, [*arguments, "--include-seen", "-o", str(tmp_path / "r.csv")])
    assert done.exit_code == 0, done.output

    # Nothing of this program from here on.
    best: dict[str, list[str]] = defaultdict(list)
    for row in csv.DictReader((tmp_path / "r.csv").open()):
        best[row["user"]].append(row["item"])
    # With leave-one-out, RecBole tests the users with at least three interactions.
    tested = {user: items[-1] for user, items in histories.items() if len(items) >= 3}
    assert trained.test.keys() == {
        f"{name}@{k}" for name in ("recall", "mrr", "ndcg", "hit", "precision") for k in (3, 10)
    }
    for k in (3, 10):
        ranks = [best[user][:k].index(item) + 1 for user, item in tested.items() if item in best[user][:k]]
        sums = {"hit": len(ranks), "recall": len(ranks), "precision": len(ranks) / k}
        sums |= {
            "mrr": sum(1 / rank for rank in ranks),
            "ndcg": sum(1 / math.log2(rank + 1) for rank in ranks),
        }
        for name, total in sums.items():
            assert trained.test[f"{name}@{k}"] == round(total / len(tested), 4), (name, k)


def test_the_last_history_may_be_shorter_than_others_that_are_computed_with_it(
    data: Path, tmp_path: Path
) -> None:
    fitted(data, tmp_path / "model", epochs=1)
    model = st.load_model(tmp_path / "model")
    items = list(model.item_vectors().index)
    histories = {"long": items[:5], "short": items[5:9], "single": items[9:10]}
    together = model.recommend(histories, top=3)
    alone = [model.recommend({user: own}, top=3) for user, own in histories.items()]
    expected = pd.concat(alone, ignore_index=True)
    assert together[["user", "item"]].equals(expected[["user", "item"]])
    np.testing.assert_allclose(together["score"], expected["score"], rtol=1e-5)


def test_a_model_is_trained_on_the_parts_that_it_says(data: Path, tmp_path: Path) -> None:
    losses = {}
    for on in ("train", "train+valid", "all"):
        result = fitted(data, tmp_path / on, on, epochs=1, hidden_dropout_prob=0.0)
        assert bool(result.valid) == (on == "train") and bool(result.test) == (on != "all")
        manifest = ModelDirectory(tmp_path / on).read_manifest()
        assert (manifest.training.on, manifest.training.epochs) == (on, 1)
        assert manifest.counts.interactions == sum(map(len, ordered_histories(data).values()))
        assert str(data) not in ModelDirectory(tmp_path / on).manifest.read_text()
        losses[on] = load_file(ModelDirectory(tmp_path / on).weights)["item_embedding.weight"]
    assert not torch.equal(losses["train"], losses["train+valid"])
    assert not torch.equal(losses["train+valid"], losses["all"])


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> st.Model:
    path = tmp_path_factory.mktemp("fitted")
    fitted(data, path / "model", epochs=1)
    return st.load_model(path / "model")


def test_a_gpu_recommends_what_the_cpu_recommends(model: st.Model) -> None:
    wanted = model.recommend(top=5)
    with fake_gpu():
        found = st.load_model(model.path, device="cuda").recommend(top=5)
    pd.testing.assert_frame_equal(found, wanted, rtol=1e-5)


def test_a_device_that_is_not_there_is_said(model: st.Model) -> None:
    with pytest.raises(st.InputError, match="torch cannot use the device 'tpu'"):
        st.load_model(model.path, device="tpu")


@pytest.mark.parametrize("name", ["nothing", "./nothing", "."])
def test_a_name_of_neither_a_study_nor_a_model(name: str) -> None:
    with pytest.raises(st.InputError, match=f"{name}: neither a study nor a model directory"):
        st.load_model(name)


def test_a_model_of_ready_made_histories_has_none(tmp_path: Path) -> None:
    parent = write_sessions(tmp_path)
    changes: dict[str, Any] = {
        key: yaml.safe_load(value) for key, value in (SMALL | SESSION_SETTINGS).items()
    }
    fitted(parent, tmp_path / "model", "all", dataset="sess", numerical_features=[], **changes)
    made = st.load_model(tmp_path / "model")
    assert made.users == [] and len(made.recommend({"me": ["i1", "i2"]}, top=3)) == 3
    with pytest.raises(st.InputError, match="had ready-made histories"):
        made.recommend()


def test_items_of_a_history_are_left_out(data: Path, model: st.Model) -> None:
    histories = ordered_histories(data)
    found = model.recommend(top=100)
    assert set(found["user"]) == set(histories) == set(model.users)
    for user, rows in found.groupby("user"):
        assert set(rows["item"]) == set(model.items) - set(histories[str(user)])
        assert rows["score"].is_monotonic_decreasing
    seen = model.recommend(users=["u3", "nobody", "u1"], top=100, include_seen=True)
    assert seen["user"].drop_duplicates().tolist() == ["u3", "u1"]
    assert len(seen) == 2 * len(model.items)


def test_ways_to_give_histories_agree(model: st.Model, tmp_path: Path) -> None:
    given = {"a": ["i1", "i2", "i3"], "b": ["i9"], "c": [], "d": ["new"]}
    wanted = model.recommend(given, top=4)
    assert set(wanted["user"]) == {"a", "b"}
    rows = [(user, item, time) for user, items in given.items() for time, item in enumerate(items)]
    rows.sort(key=lambda row: -row[2])  # the times say the order
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    by_user = wanted.sort_values(["user", "rank"], ignore_index=True)
    again = model.recommend(table, top=4).sort_values(["user", "rank"], ignore_index=True)
    pd.testing.assert_frame_equal(again, by_user)
    table.to_csv(tmp_path / "h.csv", index=False)
    typed = table.rename(columns={"user_id": "user_id:token", "item_id": "item_id:token"})
    typed.to_csv(tmp_path / "h.inter", index=False, sep="\t")
    files = ["h.csv", "h.inter"]
    try:
        table.to_parquet(tmp_path / "h.parquet")
        files.append("h.parquet")
    except ImportError:
        pass
    for name in files:
        done = CliRunner().invoke(app, ["recommend", str(model.path), "--histories", name, "--top", "4"])
        assert done.exit_code == 0
        assert "1 interaction with items that the model does not know, such as new: left out" in done.stderr
        lines = list(csv.DictReader(done.stdout.splitlines()))
        lines.sort(key=lambda line: (line["user"], int(line["rank"])))
        assert [line["item"] for line in lines] == by_user["item"].tolist()


def test_histories_are_read_as_import_reads_tables(model: st.Model, tmp_path: Path) -> None:
    lines = ["Customer;sku;Date;amount", "b;i9;2024-01-01;1", "a;i3;2024-01-03;1", "a;i1;2024-01-01;1"]
    lines += ["a;i2;2024-01-02T12:00:00.5;1", ";i4;2024-01-01;1", "b;;2024-01-01;1"]
    (tmp_path / "h.csv").write_text("\n".join(lines))
    done = CliRunner().invoke(app, ["recommend", str(model.path), "--histories", "h.csv", "--top", "4"])
    assert done.exit_code == 0, done.output
    assert "users are in Customer, items in sku, in the order of Date" in done.stderr
    assert "2 rows without a user or an item: left out" in done.stderr
    wanted = model.recommend({"b": ["i9"], "a": ["i1", "i2", "i3"]}, top=4)["item"].tolist()
    assert [line["item"] for line in csv.DictReader(done.stdout.splitlines())] == wanted
    frame = pd.DataFrame({"customer": ["a", "a", None, "a"], "item": ["i3", "i1", "i5", "i2"]})
    frame["time"] = pd.to_datetime(["2024-01-03", "2024-01-01", "2024-01-01", "2024-01-02"])
    assert model.recommend(frame, top=4)["item"].tolist() == wanted[4:]
    polars = pytest.importorskip("polars")
    assert model.recommend(polars.from_dict(frame.to_dict("list")), top=4)["item"].tolist() == wanted[4:]


def test_columns_of_histories_can_be_named(model: st.Model, tmp_path: Path) -> None:
    # By their names, the columns would be taken otherwise.
    lines = ["user,item,who,what:token,when", "x,i5,a,i3,3", "x,i5,a,i1,1", "x,i5,a,i2,2"]
    (tmp_path / "h.csv").write_text("\n".join(lines))

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["recommend", str(model.path), "--top", "4", *words])

    file = ("--histories", "h.csv")
    done = run(*file, "--user", "who", "--item", "what", "--time", "when")
    assert "users are in who, items in what:token, in the order of when" in done.stderr
    wanted = model.recommend({"a": ["i1", "i2", "i3"]}, top=4)["item"].tolist()
    assert [line["item"] for line in csv.DictReader(done.stdout.splitlines())] == wanted
    frame = pd.read_csv("h.csv")
    assert (
        model.recommend(frame, user="who", item="what:token", time="when", top=4)["item"].tolist() == wanted
    )
    for words, said in (
        ((*file, "--user", "woh"), "--user: there is no column 'woh': did you mean `who`?"),
        ((*file, "--user", "who", "--item", "who"), "column 'who' cannot be the user and the item"),
        (("--time", "when"), "`--time` is about a table of histories"),
        (("--export-items", "x.npz", "--time", "when"), "`--export-items` is used alone"),
    ):
        error = run(*words).exception
        assert isinstance(error, st.InputError) and said in str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user;item;date\na;i1;soon\n", "neither a number nor an ISO date: 'soon'"),
        ("user,item,date\na,i1,\n", "neither a number nor an ISO date: ''"),
        ("user,item\na,i1,i2\n", "line 2 has 3 fields"),
        ("user,item\na,\xff\n", "h.csv: it is not utf-8\nSave it as CSV in UTF-8"),
        ("user\n", "h.csv: no separator of columns found"),
        ("", "h.csv: the file is empty"),
        (
            "a,item\nb,c\n",
            "no column of users; the columns are a, item\nName it user_id or user in the first "
            "line, or with --user COLUMN.",
        ),
    ],
)
def test_a_table_of_histories_that_cannot_be_used(
    model: st.Model, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "h.csv").write_text(text, encoding="latin-1")
    done = CliRunner().invoke(app, ["recommend", str(model.path), "--histories", "h.csv"])
    assert isinstance(done.exception, st.InputError) and said in str(done.exception)
    assert "--" not in str(done.exception).replace("--user COLUMN", "")


def test_vectors_of_items_give_the_scores(model: st.Model, tmp_path: Path) -> None:
    path = tmp_path / "items.npz"
    done = CliRunner().invoke(app, ["recommend", str(model.path), "--export-items", str(path)])
    assert done.exit_code == 0 and "37 vectors of 8 numbers" in done.stdout
    stored = np.load(path)  # without allow_pickle
    assert stored["ids"].tolist() == model.items
    np.testing.assert_array_equal(stored["vectors"], model.item_vectors().loc[model.items].to_numpy())


def test_a_table_of_no_rows_is_whole(model: st.Model) -> None:
    assert model.recommend({"a": ["new"]}).columns.tolist() == ["user", "item", "rank", "score"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"top": 0}, "top: must be at least 1, not 0"),
        ({"histories": {"a": "i1"}}, "histories: the items of a user must be a list"),
        ({"histories": [["i1"]]}, "histories: must be a mapping"),
        ({"users": "u1"}, "users: 'u1' is a str, not list"),
        ({"users": ["u1"], "histories": {}}, "cannot be used together"),
        ({"histories": pd.DataFrame({"user": ["a"]})}, r"histories: no column of items(.|\n)*with item"),
        ({"histories": pd.DataFrame({"user": ["a"]}), "item": "sku"}, "item: there is no column 'sku'"),
        ({"user": "who"}, "user: is about a table of histories"),
    ],
)
def test_an_invalid_argument_is_said(model: st.Model, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(st.InputError, match=said):
        model.recommend(**arguments)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(some.integers(1, 3), some.integers(1, 70), some.integers(8192, 8400), some.integers(0, 99))
def test_top_items_of_a_large_catalogue(users: int, count: int, items: int, seed: int) -> None:
    scores = torch.randn(users, items, generator=torch.Generator().manual_seed(seed))
    scores[0, :-count] = -torch.inf
    best, columns = top_items(scores, count)
    torch.testing.assert_close(best, torch.topk(scores, count).values)
    torch.testing.assert_close(scores.gather(1, columns), best)
