"""The benchmark runs and says what it should; how fast anything is cannot be tested here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.paths import BENCHMARKS

# A few dozen steps an epoch, each of milliseconds.
TINY = {
    "user_inter_num_interval": "[20,23]",
    "MAX_ITEM_LIST_LENGTH": 5,
    "hidden_size": 8,
    "inner_size": 16,
    "train_batch_size": 64,
}


def benchmark(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "engine.py"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_page_in_a_browser(tmp_path: Path) -> None:
    script = [sys.executable, str(BENCHMARKS / "page.py"), "--trials", "25", "--opens", "1"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["sorts"] and found["filters"] and found["hovers"]
    assert found["requests"] == found["errors"] == []
    drawn, _, pictures = found["pictures_drawn"].split()
    assert drawn == pictures


def test_a_tiny_comparison(tmp_path: Path) -> None:
    settings = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    counts = ["--layers", "2", "--steps", "2", "--validations", "1", "--prepare", "2", "--epochs", "1"]
    done = benchmark(
        tmp_path, *settings, *counts, "--threads", "1", "--device", "cpu", "--markdown", "table.md"
    )
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
    # Nothing of RecBole's is left where it was run.
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]


def test_a_tiny_comparison_of_fused_trials(tmp_path: Path) -> None:
    settings = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    script = [sys.executable, str(BENCHMARKS / "fused.py"), "--trials", "3", "--steps", "2", "--threads", "1"]
    command = [*script, "--device", "cpu", "--layers", "1", "--markdown", "table.md", *settings]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["trials"] == 3 and result["loss_difference"] < 1e-5 and result["epoch_ratio"] > 0
    assert [len(samples) for samples in result["samples"].values()] == [2, 2]
    header, rule, row = (line.count("|") for line in (tmp_path / "table.md").read_text().splitlines())
    assert header == rule == row


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", "nowhere"],
        ["--data", "."],
        ["--features", "colour"],
        ["--layers", "1,x"],
        ["--set", "hidden_size"],
        ["--json", "nowhere/result.json"],
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line(arguments: list[str], tmp_path: Path) -> None:
    done = benchmark(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_the_floor_counts_what_its_formula_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from floor import Batch, Sizes, products

    h, inner, items, samples, length = 8, 16, 100, 5, 4
    positions = samples * length
    batch = Batch(lengths=(length,) * samples, distinct=7)
    sizes = Sizes(hidden=h, inner=inner, heads=2, layers=3, inputs=2, items=items)
    full = positions * (4 * h * h + 2 * h * inner) + samples * length * length * 2 * h
    last = samples * (4 * h * h + 2 * h * inner) + positions * 2 * 2 * h
    forward = 7 * 2 * h * h + 2 * full + last + samples * h * items
    assert sum(product.flops for product in products(batch, sizes)) == 3 * 2 * forward


def test_the_coordinator_alone(tmp_path: Path) -> None:
    counts = ["--trials", "60", "--reports", "2", "--workers", "2", "--sampler", "random"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "coordinator.py"), *counts],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["trials"] == 60 and result["seconds"] > 0
    assert list(result["milliseconds_per_trial"]) == ["35"]
    assert not list(tmp_path.iterdir())


def test_a_little_fuzzing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "fuzz.py"), "--examples", "300", "--builds", "10", "--seed", "7"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["generated"] == 300 == result["accepted"] + result["refused"]
    assert result["accepted"] > 60 and result["refused"] > 60 and result["built"] >= 8
    assert result["tracebacks"] == 0
    assert not list(tmp_path.iterdir())


def test_scaling_is_measured_on_a_study_that_is_one(tmp_path: Path) -> None:
    script = [sys.executable, str(BENCHMARKS / "scale.py"), "study", "--marks", "20,40", "--workers", "6"]
    done = subprocess.run(
        [*script, "--window", "4"], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["trials"], row["running"]) for row in rows] == [(20, 6), (40, 6)]
    steps = ("open_s", "ask_ms", "report_ms", "tell_ms", "best_first_ask_ms")
    assert all(row[step] >= 0 for row in rows for step in steps) and rows[0]["tell_ms"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA card")
def test_the_gpu_benchmark_says_so_where_there_is_no_card(tmp_path: Path) -> None:
    script = [sys.executable, str(BENCHMARKS / "gpu.py")]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2 and not done.stdout
    assert "no CUDA here" in done.stderr and "--device cpu" in done.stderr and "Traceback" not in done.stderr
