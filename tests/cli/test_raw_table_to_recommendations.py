"""The whole way with the commands alone: a raw table, a search, a confirmation, a final model, a file."""

from __future__ import annotations

import csv
import json
import random
import shlex
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

from tests.support.command_line import Cli

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
    run("confirm", "--top", "1", "--seeds", "2")
    assert "the median of the best ones on" in run("fit", "--on", "all")
    model = json.loads((tmp_path / "tuning/shop-quickstart/model/model.json").read_text())
    assert model["architecture"]["features"] == [{"name": "Group", "kind": "token", "size": 4}]

    run("recommend", "--top", "3", "-o", "all.csv")
    rows = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert {row["user"] for row in rows} == set(histories)
    for row in rows:
        assert row["item"] in {f"{item:04}" for item in range(12)} - set(histories[row["user"]])

    # The raw table is a table of histories, too: the same users, the same recommendations.
    run("recommend", "--top", "3", "--histories", "orders.csv", "-o", "again.csv")
    again = list(csv.DictReader((tmp_path / "again.csv").open()))
    assert sorted(map(str, again)) == sorted(map(str, rows))
