"""The benchmark of everything on a GPU, and the checks of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.gpu_checks import __main__ as command
from benchmarks.gpu_checks.catalog import CHECKS
from benchmarks.gpu_checks.setting import CheckSetting, Finding
from tests.support.benchmark import TINY, run_benchmark

SETTING = CheckSetting("cpu", "ml-100k", layers=1, fused=2, items=100, workers=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
@pytest.mark.parametrize("benchmark", ["gpu", "gpu_checks"])
def test_a_missing_gpu_is_an_error_with_a_remedy(tmp_path: Path, benchmark: str) -> None:
    done = run_benchmark(benchmark, cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert "no CUDA GPU" in done.stderr and "--device cpu" in done.stderr and "Traceback" not in done.stderr


def test_a_check_runs_on_the_cpu(tmp_path: Path) -> None:
    command = ["--device", "cpu", "--layers", "1", "--only", "agreement", *TINY, "--json", "found.json"]
    done = run_benchmark("gpu_checks", *command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the CPU" in done.stdout.splitlines()[0] and "| agreement | right |" in done.stdout
    (found,) = json.loads((tmp_path / "found.json").read_text())["checks"]
    assert found["facts"]["RecBole"]["loss"] < 1e-6
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


def test_each_check_is_written_when_it_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    json_file, table = tmp_path / "found.json", tmp_path / "found.md"
    before: list[int] = []

    def check(name: str, setting: CheckSetting, seconds: float) -> Finding:
        assert setting.sets == ["n_heads=1"] and seconds <= CHECKS[name].seconds
        before.append(len(json.loads(json_file.read_text())["checks"]))
        assert len(table.read_text().splitlines()) == 4 + before[-1]
        if name == "bits":
            return Finding(False, {"why": {"a|b": 1}})
        return Finding(None if name == "step" else True, {})

    monkeypatch.setattr(command, "run_check", check)
    monkeypatch.setattr(command, "describe_machine", lambda _: {"gpu": "G", "driver": None, "torch": "2"})
    options = ["--set", "n_heads=1", "--json", str(json_file), "--markdown", str(table)]
    done = CliRunner().invoke(command.app, options)
    assert done.exit_code == 1 and before == list(range(len(CHECKS)))
    assert "| bits | WRONG | 0 | why: {a/b: 1} |" in table.read_text()
    done = CliRunner().invoke(command.app, [*options, "--seconds", "1"])
    assert done.exit_code == 0 and table.read_text().count("no time was left") == len(CHECKS)


def test_a_check_that_does_not_end_or_cannot_run_is_wrong() -> None:
    assert command.run_check("bits", SETTING, 0.01).facts == {"error": "it did not end within 0 s"}
    failed = command.run_check("nothing", SETTING, 60)
    assert failed == Finding(False, {"error": "KeyError: 'nothing'"})
