"""Recording learning curves, and playing policies against them."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recbole.utils.utils import early_stopping

from tests.support.paths import BENCHMARKS

sys.path.append(str(BENCHMARKS))

from curve_table import STOPPING_STEP, stop
from replay import correct

SPACE = "learning_rate choice [0.01, 0.001, 0.0001]\nn_layers choice [1, 2, 3]\n"


def benchmark(script: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


def rows(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(table.read_bytes()).decode())))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_a_curve_stops_where_recbole_stops(scores: list[int]) -> None:
    best, step, length, at = -1.0, 0, len(scores), 0
    for index, score in enumerate(scores):
        best, step, stopped, updated = early_stopping(score, best, step, max_step=STOPPING_STEP)
        at = index if updated else at
        if stopped:
            length = index + 1
            break
    assert stop(scores) == (length, at)  # type: ignore[arg-type]  # it only iterates


def test_recording_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01, 0.001]\n")
    table = tmp_path / "tiny.csv.gz"
    settings = {"MAX_ITEM_LIST_LENGTH": 3, "hidden_size": 8, "inner_size": 16, "n_heads": 1}
    asked = [
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
    asked += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    done = benchmark("record_curves.py", *asked, "--workers", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole = rows(table)
    assert [(row["learning_rate"], row["seed"], row["epoch"]) for row in whole] == [
        (rate, seed, epoch) for seed in "12" for rate in ("0.01", "0.001") for epoch in "12"
    ]
    assert all(0 <= float(row[f"{split}_mrr@10"]) <= 1 for row in whole for split in ("valid", "test"))
    about = json.loads((tmp_path / "tiny.json").read_text())
    assert (about["cells"], about["seeds"], about["reduction"]["last"]) == (2, [1, 2], 4)
    # What a killed recording leaves: one run whole, the next cut off.
    lines = gzip.decompress(table.read_bytes()).decode().splitlines(keepends=True)
    table.unlink()
    (tmp_path / "tiny.csv.gz.part").write_text("".join(lines[:4]) + lines[4][:10])
    again = benchmark("record_curves.py", *asked, "--workers", 1, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "4 runs, 3 left" in again.stderr
    same = [key for key in whole[0] if key != "seconds"]
    assert [[row[key] for key in same] for row in rows(table)] == [
        [row[key] for key in same] for row in whole
    ]
    assert not (tmp_path / "tiny.csv.gz.part").exists()


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A table without noise: the larger the learning rate and the more layers, the better."""
    lines = ["learning_rate,n_layers,seed,epoch,valid_mrr@10,test_mrr@10"]
    for seed, rate, layers, epoch in itertools.product(
        (1, 2, 3), (0.01, 0.001, 0.0001), (1, 2, 3), range(1, 7)
    ):
        score = (rate * 10 + layers / 100) * epoch / 6 + seed / 1000
        lines.append(f"{rate},{layers},{seed},{epoch},{score:.4f},{score:.4f}")
    (tmp_path / "planted.csv.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    (tmp_path / "planted.json").write_text(json.dumps({"space": SPACE}))
    return tmp_path / "planted.csv.gz"


def test_differences_are_corrected_for_how_many_policies_are_compared() -> None:
    compared = [{"p": p} for p in (0.04, 0.01, 0.03, 0.005)]
    correct(compared)
    # Holm (1979): 4, 3, 2 and 1 times the p-values in ascending order, never below an earlier one.
    assert [one["corrected"] for one in compared] == [0.06, 0.03, 0.06, 0.02]


def test_a_replay_without_noise(planted: Path, tmp_path: Path) -> None:
    policies = ["RecBole (stops after 10)", "grid", "random, halving", "tpe, median", "auto"]
    done = benchmark(
        "replay.py",
        planted,
        "--runs",
        3,
        "--policies",
        ";".join(policies),
        "--markdown",
        "table.md",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found: dict[tuple[str, float], Any] = {
        (row["policy"], row["budget"]): row for row in json.loads(done.stdout)
    }
    assert {policy for policy, _ in found} == set(policies)
    for policy in policies:
        ranks = [found[policy, budget]["rank"]["median"] for budget in (0.05, 0.1, 0.25, 0.5, 1.0)]
        assert ranks == sorted(ranks, reverse=True)
        # Less than one trial's epochs: nothing is chosen yet, which counts as the worst.
        assert ranks[0] == 9
    for policy in ("RecBole (stops after 10)", "grid", "auto"):
        assert found[policy, 1.0]["rank"]["median"] == 1
        assert found[policy, 1.0]["test_regret"]["median"] == pytest.approx(0, abs=1e-6)
    grid, auto = (found[policy, 0.5]["rank"] for policy in ("grid", "auto"))
    assert grid["against_auto"]["difference"] == pytest.approx(grid["mean"] - auto["mean"], abs=0.01)
    assert "| auto |" in (tmp_path / "table.md").read_text()


def test_a_table_that_lacks_a_curve_is_refused(planted: Path, tmp_path: Path) -> None:
    lines = gzip.decompress(planted.read_bytes()).decode().splitlines(keepends=True)
    planted.write_bytes(gzip.compress("".join(lines[:-1]).encode()))
    done = benchmark("replay.py", planted, "--runs", 2, cwd=tmp_path)
    assert done.returncode == 2
    assert "161 rows" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["ml-100k", "amazon-beauty"])
def test_a_tenth_of_the_epochs_finds_what_the_whole_grid_finds(name: str, tmp_path: Path) -> None:
    table = BENCHMARKS / "curves" / f"{name}.csv.gz"
    done = benchmark("replay.py", table, "--runs", 24, "--policies", "grid;auto", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {(row["policy"], row["budget"]): row for row in json.loads(done.stdout)}
    for what in ("valid_regret", "test_regret"):
        # In standard deviations between seeds, on seeds that neither saw.
        assert found["auto", 0.1][what]["behind_whole_grid"] < 1
    assert found["auto", 1.0]["spent"] < 0.4
