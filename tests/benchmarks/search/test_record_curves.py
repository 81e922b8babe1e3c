"""Recording learning curves."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

from benchmarks.search.record_curves import recorded_runs
from tests.support.benchmark import run_benchmark


def rows(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(table.read_bytes()).decode())))


def test_a_recording_is_extended_by_more_seeds(tmp_path: Path) -> None:
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
    same = [key for key in whole[0] if key != "seconds"]
    more = run_benchmark("search.record_curves", *options, "--workers", 1, "--seeds", "1,2,3", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert "6 runs, 2 left" in more.stderr
    longer = rows(table)
    assert [[row[key] for key in same] for row in longer[:8]] == [[row[key] for key in same] for row in whole]
    assert [row["seed"] for row in longer] == [seed for seed in "123" for _ in range(4)]
    assert not (tmp_path / "tiny.csv.gz.part").exists()


def test_a_stopped_recording_keeps_its_whole_curves(tmp_path: Path) -> None:
    header = ["n_layers", "seed", "epoch", "valid_mrr@10", "test_mrr@10", "seconds"]
    early = [f"1,7,{epoch},{1 / epoch},,1" for epoch in range(1, 13)]  # early stopping ends it here
    full = [f"2,7,{epoch},{epoch},,1" for epoch in range(1, 21)]
    cut = [f"3,7,{epoch},{epoch},,1" for epoch in range(1, 15)]
    partial = tmp_path / "table.csv.gz.part"
    partial.write_text("\n".join([",".join(header), *early, *full, *cut, "3,7"]))
    assert list(recorded_runs(partial, header, 20, stops_early=True)) == [("1", "7"), ("2", "7")]
    assert list(recorded_runs(partial, header, 20, stops_early=False)) == [("2", "7")]
