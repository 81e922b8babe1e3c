"""Recording learning curves."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

from tests.support.benchmark import run_benchmark


def rows(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(table.read_bytes()).decode())))


def test_recording_continues_where_it_was_stopped(tmp_path: Path) -> None:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01, 0.001]\n")
    table = tmp_path / "tiny.csv.gz"
    settings = {"MAX_ITEM_LIST_LENGTH": 3, "hidden_size": 8, "inner_size": 16, "n_heads": 1}
    options = [
        table,
        "--params-file",
        "hyper.test",
        "--epochs",
        2,
        "--seeds",
        "1,2",
        "--last",
        4,
        "--users",
        200,
    ]
    options += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    done = run_benchmark("search.record_curves", *options, "--workers", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole = rows(table)
    assert [(row["learning_rate"], row["seed"], row["epoch"]) for row in whole] == [
        (rate, seed, epoch) for seed in "12" for rate in ("0.01", "0.001") for epoch in "12"
    ]
    scores = [row[f"{split}_mrr@10"] for row in whole for split in ("valid", "test")]
    assert all(0 <= float(score) <= 1 for score in scores if score)
    # The test split is evaluated where RecBole would keep the weights: always after the first epoch.
    assert all(row["test_mrr@10"] for row in whole if row["epoch"] == "1")
    about = json.loads((tmp_path / "tiny.json").read_text())
    assert (about["cells"], about["seeds"], about["reduction"]["last"]) == (2, [1, 2], 4)
    # What a killed recording leaves: one complete run, the next cut off.
    lines = gzip.decompress(table.read_bytes()).decode().splitlines(keepends=True)
    table.unlink()
    (tmp_path / "tiny.csv.gz.part").write_text("".join(lines[:4]) + lines[4][:10])
    again = run_benchmark("search.record_curves", *options, "--workers", 1, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "4 runs, 3 left" in again.stderr
    same = [key for key in whole[0] if key != "seconds"]
    assert [[row[key] for key in same] for row in rows(table)] == [
        [row[key] for key in same] for row in whole
    ]
    assert not (tmp_path / "tiny.csv.gz.part").exists()
    more = run_benchmark("search.record_curves", *options, "--workers", 1, "--seeds", "1,2,3", cwd=tmp_path)
    assert "6 runs, 2 left" in more.stderr
    assert [row["seed"] for row in rows(table)] == [seed for seed in "123" for _ in range(4)]
