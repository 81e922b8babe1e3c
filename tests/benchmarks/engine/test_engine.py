"""The benchmark of the engines; how fast they are cannot be tested here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.engine.matmul_floor import BatchShape, ModelSizes, matrix_products, validation_products
from tests.support.benchmark import TINY, run_benchmark


def test_both_engines_are_measured_and_agree(tmp_path: Path) -> None:
    counts = ["--layers", 2, "--steps", 2, "--validations", 1, "--prepare", 2, "--epochs", 1]
    options = ["--threads", 1, "--device", "cpu", "--markdown", "table.md"]
    done = run_benchmark("engine.engine", *TINY, *counts, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (result,) = report["results"]
    for engine in ("recbole", "fast"):
        samples = result["samples"][engine]
        assert {kind: len(values) for kind, values in samples.items()} == {
            "prepare": 2,
            "load": 2,
            "step": 2,
            "validation": 1,
            "epoch": 1,
        }
        assert all(value > 0 for values in samples.values() for value in values)
        peaks = [phase["rss"] for phase in result["memory_mb"][engine].values()]
        assert peaks == sorted(peaks)
    assert result["machine"]["threads"] == 1
    assert result["summary"]["epoch_measured"]
    assert len(result["floor"]["seconds"]) == len(result["floor"]["flops"]) == 2
    assert len(result["floor"]["validation"]) == 1 and result["summary"]["validation_to_floor"]["median"] > 0

    agreement = result["agreement"]
    assert agreement["same_batches"]
    assert len(agreement["losses"]["fast"]) == 10
    assert agreement["loss_difference"] < 1e-5
    assert agreement["gradient_difference"] < 1e-5
    assert agreement["largest_gradient"] > 1e-3

    lines = (tmp_path / "table.md").read_text().splitlines()
    header, rule, row = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert len(header) == len(rule) == len(row)
    assert dict(zip(header, row, strict=True))["data"] == "ml-100k"
    # RecBole leaves nothing in the working directory.
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", "nowhere"],
        ["--data", "."],
        ["--features", "colour"],
        ["--layers", "1,x"],
        ["--set", "hidden_size"],
        ["--json", "nowhere/result.json"],
        ["--hopwise", "nowhere/python"],
    ],
    ids=" ".join,
)
def test_an_invalid_option_is_an_error_of_one_line(arguments: list[str], tmp_path: Path) -> None:
    done = run_benchmark("engine.engine", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_matrix_products_have_the_flops_of_the_formula() -> None:
    h, inner, items, samples, length = 8, 16, 100, 5, 4
    positions = samples * length
    batch = BatchShape(lengths=(length,) * samples, distinct=7)
    sizes = ModelSizes(hidden=h, inner=inner, heads=2, layers=3, inputs=2, items=items)
    full = positions * (4 * h * h + 2 * h * inner) + samples * length * length * 2 * h
    last = samples * (4 * h * h + 2 * h * inner) + positions * 2 * 2 * h
    forward = 7 * 2 * h * h + 2 * full + last + samples * h * items
    assert sum(product.flops for product in matrix_products(batch, sizes)) == 3 * 2 * forward
    assert sum(product.flops for product in validation_products(batch, sizes)) == 3 * 2 * forward


def test_the_products_of_a_validation_are_computed_in_pieces() -> None:
    batch = BatchShape(lengths=(50,) * 20_000, distinct=9_000)
    sizes = ModelSizes(hidden=64, inner=256, heads=2, layers=2, inputs=2, items=12_101)
    whole, pieces = matrix_products(batch, sizes), validation_products(batch, sizes)
    assert max(piece.batch * piece.rows * piece.columns for piece in pieces) <= 1.01 * (1 << 20)
    assert sum(p.flops for p in pieces) == pytest.approx(sum(p.flops for p in whole), rel=0.01)
