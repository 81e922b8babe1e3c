"""The whole way with the commands alone: a raw table, a search, a confirmation, a final model, a file."""

from __future__ import annotations

import csv
import json
import random
import re
import shlex
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.command_line import Cli

ITEMS_ONLY = "load_col={inter: [user_id, item_id, timestamp], item: [item_id]}"
CONFIRM = ("--confirm", "1", "--confirm-seeds", "1", "--per-user")
GENRES = ("Drama", "Film-Noir", "War")
SMALL = {"epochs": 1, "MAX_ITEM_LIST_LENGTH": 5, "hidden_size": 8, "inner_size": 8, "n_layers": 1, "topk": 5}


def write_tables(directory: Path) -> dict[str, list[str]]:
    """Write orders.csv and articles.csv as a shop exports them; return the items of each customer by time."""
    draw = random.Random(5)
    orders = []
    for number in range(24):
        time = datetime(2024, 2, 28)
        for _ in range(draw.randint(4, 8)):
            time += timedelta(seconds=draw.randint(1, 200_000))
            orders.append((f"K-{number:03}", f"{draw.randrange(12):04}", time))
    draw.shuffle(orders)
    lines = [f"{customer};{article};{time.isoformat(' ')};1" for customer, article, time in orders]
    (directory / "orders.csv").write_text("\n".join(["Customer;Article;Date;Amount", *lines]))
    lines = [f'{item:04};"Shoe ""{item}""; red";Group {item % 3}' for item in range(12)]
    (directory / "articles.csv").write_text("\n".join(["Article;Title;Group", *lines]))
    histories = defaultdict(list)
    for customer, article, _ in sorted(orders, key=lambda order: order[2]):
        histories[customer].append(article)
    return histories


def test_from_raw_tables_to_recommendations(cli: Cli, tmp_path: Path) -> None:
    histories = write_tables(tmp_path)

    def run(*words: str | Path) -> str:
        done = cli(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = run("import", "orders.csv", "--items", "articles.csv", "--out", "data/shop")
    assert f"{sum(map(len, histories.values()))} interactions" in printed and "24 users" in printed
    search = shlex.split(printed.partition("To search: ")[2])[1:]
    (tmp_path / search[search.index("--params-file") + 1]).write_text("learning_rate choice [0.01, 0.003]\n")
    for name, value in SMALL.items():
        search += ["--set", f"{name}={value}"]
    run(*search, "--metric", "MRR@5", "--threads", "1")
    confirmed = run("confirm", "--top", "1", "--seeds", "2", "--per-user")
    assert re.search(r"Metrics of users: tuning/[\w-]+/per-user; of groups of them: sasrecf-tune ", confirmed)
    # The baseline, and whether other users like these would see the difference.
    baseline = [
        "--model",
        "SASRec",
        "--study",
        "baseline",
        "--confirm",
        "1",
        "--confirm-seeds",
        "2",
        "--per-user",
    ]
    run(*search, "--set", ITEMS_ONLY, "--metric", "MRR@5", "--threads", "1", "--trials", "1", *baseline)
    told = json.loads(run("compare", "shop-quickstart", "baseline", "--format", "json"))
    assert "other users like these" in told["questions"]["user_differences"]
    (difference,) = told["user_differences"]["test"]
    assert difference["users"] == 24 and difference["low"] <= difference["difference"] <= difference["high"]
    assert {each["group"] for each in told["user_groups"]} == {"history", "popularity"}
    means = {one["study"]: one["test"]["mrr@5"]["mean"] for one in told["studies"]}
    apart = means[difference["first"]] - means[difference["second"]]
    assert difference["difference"] == pytest.approx(apart, abs=2e-4)
    assert "Users (brackets)" in run("compare", "shop-quickstart", "baseline")
    assert "the median of the best ones on" in run("fit", "shop-quickstart", "--on", "all")
    model = json.loads((tmp_path / "tuning/shop-quickstart/model/model.json").read_text())
    assert model["architecture"]["features"] == [{"name": "Group", "kind": "token", "size": 4}]

    run("recommend", "shop-quickstart", "--top", "3", "-o", "all.csv")
    rows = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert {row["user"] for row in rows} == set(histories)
    for row in rows:
        assert row["item"] in {f"{item:04}" for item in range(12)} - set(histories[row["user"]])

    # The raw table is a table of histories, too: the same users, the same recommendations.
    run("recommend", "shop-quickstart", "--top", "3", "--histories", "orders.csv", "-o", "again.csv")
    again = list(csv.DictReader((tmp_path / "again.csv").open()))
    assert sorted(map(str, again)) == sorted(map(str, rows))


def write_movielens(directory: Path) -> dict[str, list[str]]:
    """Write ratings.dat, movies.dat and users.dat as MovieLens 1M has them; return the items of each user."""
    draw = random.Random(6)
    directory.mkdir()
    histories, lines = {}, []
    for user in range(1, 31):
        time, seen = 978300019, draw.sample(range(1, 16), draw.randint(5, 9))
        for movie in seen:
            lines.append(f"{user}::{movie}::{draw.randint(1, 5)}::{time}")
            time += draw.randint(1, 500)
        histories[str(user)] = [str(movie) for movie in seen]
    draw.shuffle(lines)
    movies = [
        f"{movie}::L'été {movie}: a film (1995)::{'|'.join(GENRES[: 1 + movie % 3])}"
        for movie in range(1, 16)
    ]
    users = [f"{user}::F::1::10::48067" for user in range(1, 31)]
    for name, rows in (("ratings", lines), ("movies", movies), ("users", users)):
        (directory / f"{name}.dat").write_text("\n".join(rows) + "\n", encoding="latin-1")
    return histories


def test_from_the_raw_files_of_movielens_to_recommendations(cli: Cli, tmp_path: Path) -> None:
    histories = write_movielens(tmp_path / "ml-1m")

    def run(*words: str | Path) -> str:
        done = cli(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    files = ["ml-1m/ratings.dat", "--items", "ml-1m/movies.dat"]
    printed = run("import", *files, "--out", "data/movies")
    assert "30 users" in printed and "genres" in printed
    search = shlex.split(printed.partition("To search: ")[2])[1:]
    (tmp_path / search[search.index("--params-file") + 1]).write_text("learning_rate choice [0.01]\n")
    for name, value in SMALL.items():
        search += ["--set", f"{name}={value}"]
    run(*search, "--metric", "NDCG@5", "--threads", "1", "--study", "ml", *CONFIRM)
    # The directory has another name from here on.
    (tmp_path / "tuning/ml").rename(tmp_path / "tuning/movies")
    assert "the study is called ml" in run("fit", "movies", "--on", "train", "--per-user")
    model = json.loads((tmp_path / "tuning/movies/model/model.json").read_text())
    assert [feature["kind"] for feature in model["architecture"]["features"]] == ["token_seq"]
    rows = list(csv.DictReader((tmp_path / "tuning/movies/model/per-user.test.csv").open()))
    assert {row["user"]: row["item"] for row in rows} == {user: seen[-1] for user, seen in histories.items()}
    for key in ("ndcg@5", "mrr@5", "hit@5"):
        mean = sum(float(row[key]) for row in rows) / len(rows)
        assert round(mean, 4) == model["test"][key]
    run("report", "movies", "--per-user", "users.csv")
    table = list(csv.DictReader((tmp_path / "users.csv").open()))
    assert {(row["part"], row["seed"]) for row in table} == {("valid", "2021"), ("test", "2021")}
    assert len(table) == 2 * len(histories)
    run("recommend", "movies", "--top", "2", "-o", "top.csv")
    for row in csv.DictReader((tmp_path / "top.csv").open()):
        assert row["item"] not in histories[row["user"]]
    continued = run("confirm", "movies", "--seeds", "2")
    assert "the study is called ml" in continued and "1 of 2 runs are done" in continued
