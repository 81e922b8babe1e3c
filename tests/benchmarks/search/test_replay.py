"""Replaying search policies against recorded curves."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.search.replay import holm_correction
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


def test_p_values_are_corrected_for_multiple_comparisons() -> None:
    compared = [{"p": p} for p in (0.04, 0.01, 0.03, 0.005)]
    holm_correction(compared)
    # Holm (1979): 4, 3, 2 and 1 times the p-values in ascending order, never below an earlier one.
    assert [one["corrected"] for one in compared] == [0.06, 0.03, 0.06, 0.02]


def test_without_noise_every_policy_improves_with_its_budget(planted: Path, tmp_path: Path) -> None:
    policies = ["RecBole (stops after 10)", "grid", "random, halving", "tpe, median", "auto"]
    done = run_benchmark(
        "search.replay",
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
        # Fewer than one trial's epochs: nothing is chosen yet, which counts as the worst cell.
        assert ranks[0] == 9
    for policy in ("RecBole (stops after 10)", "grid", "auto"):
        assert found[policy, 1.0]["rank"]["median"] == 1
        assert found[policy, 1.0]["test_regret"]["median"] == pytest.approx(0, abs=1e-6)
    grid, auto = (found[policy, 0.5]["rank"] for policy in ("grid", "auto"))
    assert grid["against_auto"]["difference"] == pytest.approx(grid["mean"] - auto["mean"], abs=0.01)
    assert "| auto |" in (tmp_path / "table.md").read_text()


def test_a_table_with_a_missing_curve_is_an_error(planted: Path, tmp_path: Path) -> None:
    lines = gzip.decompress(planted.read_bytes()).decode().splitlines(keepends=True)
    planted.write_bytes(gzip.compress("".join(lines[:-1]).encode()))
    done = run_benchmark("search.replay", planted, "--runs", 2, cwd=tmp_path)
    assert done.returncode == 2
    assert "161 rows" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["ml-100k", "amazon-beauty"])
def test_a_tenth_of_the_epochs_is_as_good_as_the_whole_grid(name: str, tmp_path: Path) -> None:
    table = ROOT / "benchmarks" / "search" / "curves" / f"{name}.csv.gz"
    done = run_benchmark("search.replay", table, "--runs", 24, "--policies", "grid;auto", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {(row["policy"], row["budget"]): row for row in json.loads(done.stdout)}
    for what in ("valid_regret", "test_regret"):
        # In standard deviations between seeds, on seeds that neither saw.
        assert found["auto", 0.1][what]["behind_whole_grid"] < 1
    assert found["auto", 1.0]["spent"] < 0.4
