"""Replaying search policies against recorded curves."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.benchmark import run_benchmark
from tests.support.paths import ROOT

SPACE = "learning_rate choice [0.01, 0.001, 0.0001]\nn_layers choice [1, 2, 3]\n"


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


def test_without_noise_every_policy_improves_with_its_budget(planted: Path, tmp_path: Path) -> None:
    policies = ["RecBole (stops after 10)", "grid", "random, halving", "ASHA, resumed", "TPE, median", "auto"]
    done = run_benchmark(
        "search.replay",
        planted,
        "--runs",
        2,
        "--processes",
        1,
        "--policies",
        ";".join(policies),
        "--markdown",
        "table.md",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found: dict[tuple[str, int], Any] = {
        (row["policy"], row["workers"]): row for row in json.loads(done.stdout)
    }
    assert set(found) == {(policy, workers) for policy in policies for workers in (1, 4)}
    for row in found.values():
        regrets = [value["mean"] for value in row["regret"]["unseen_test"].values()]
        assert regrets[-1] <= regrets[0]
    for policy in ("RecBole (stops after 10)", "grid", "ASHA, resumed"):
        assert found[policy, 1]["regret"]["true"]["end"]["mean"] == pytest.approx(0, abs=0.01)
    assert found["grid", 1]["epochs"]["median"] == 1
    assert found["grid", 4]["seconds"]["median"] < found["grid", 1]["seconds"]["median"] / 2
    assert found["ASHA, resumed", 1]["epochs"]["median"] < 1
    assert "| ASHA, resumed | 4 |" in (tmp_path / "table.md").read_text()


def test_a_policy_that_does_not_exist_is_an_error(planted: Path, tmp_path: Path) -> None:
    done = run_benchmark("search.replay", planted, "--policies", "guess", cwd=tmp_path)
    assert done.returncode == 2
    assert "no policy 'guess'" in done.stderr and "Traceback" not in done.stderr


def test_a_table_with_a_missing_curve_is_an_error(planted: Path, tmp_path: Path) -> None:
    lines = gzip.decompress(planted.read_bytes()).decode().splitlines(keepends=True)
    planted.write_bytes(gzip.compress("".join(lines[:-1]).encode()))
    done = run_benchmark("search.replay", planted, "--runs", 2, cwd=tmp_path)
    assert done.returncode == 2
    assert "with seed 3 has 5 of 6 epochs" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["ml-100k", "amazon-beauty"])
def test_a_tenth_of_the_epochs_is_as_good_as_the_whole_grid(name: str, tmp_path: Path) -> None:
    table = ROOT / "benchmarks" / "search" / "curves" / f"{name}.csv.gz"
    done = run_benchmark(
        "search.replay", table, "--runs", 12, "--workers", 1, "--policies", "grid;auto", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    grid, auto = (
        next(row for row in json.loads(done.stdout) if row["policy"] == policy) for policy in ("grid", "auto")
    )
    # In standard deviations between seeds.
    assert auto["regret"]["true"]["0.1"]["mean"] < grid["regret"]["true"]["end"]["mean"] + 1
    assert auto["epochs"]["median"] < 0.4
