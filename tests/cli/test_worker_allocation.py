"""The workers of a run, from its settings and the machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sasrecf_tune.cli import worker_allocation
from sasrecf_tune.cli.worker_allocation import allocate_workers, worker_memory
from sasrecf_tune.errors import ParameterError
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import RunSettings, SearchSettings
from sasrecf_tune.machine import Machine
from sasrecf_tune.messages import Timing
from sasrecf_tune.report.terminal.plan_summary import estimate
from sasrecf_tune.search.plan import make_plan
from tests.support.fake_training import summary

RATES = parse("learning_rate choice [0.1, 0.01, 0.001]\n")
SETTINGS = RunSettings(
    params_file=Path("hyper.test"), name="study", base={}, metric=parse_metric("MRR@10"), gpus=("",)
)


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_allocation, "examine_machine", lambda: Machine(8))
    monkeypatch.setattr(worker_allocation, "has_gpu", lambda: False)
    monkeypatch.setenv("OMP_NUM_THREADS", "")


def numbers(settings: RunSettings = SETTINGS, trials: int = 0, text: str = "", **given: Any) -> Any:
    space = parse(text) if text else RATES
    found = allocate_workers(replace(settings, **given), space, {}, trials)
    return found.workers, found.threads


def test_there_are_no_more_workers_than_trials() -> None:
    assert numbers() == (3, 2)
    assert numbers(search=SearchSettings(trials=1)) == (1, 8)
    assert numbers(search=SearchSettings(trials=2, confirm=2, confirm_seeds=5)) == (8, 1)
    assert numbers(text="learning_rate uniform 0.001,0.1\n") == (8, 1)
    assert numbers(trials=5) == (5, 1)
    assert numbers(trials=16, fuse=4) == (4, 2)
    with pytest.raises(ParameterError, match="no configuration is feasible"):
        numbers(text="n_heads choice [3]\nhidden_size choice [64]\n")


def test_threads_are_those_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    assert numbers(trials=9, threads=4) == (2, 4)
    assert numbers(trials=9, threads=4, workers=3) == (3, 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert numbers(trials=9) == (4, 2) and numbers(trials=9, threads=1) == (8, 1)


def test_a_gpu_has_one_worker_whose_threads_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert numbers(gpus=("0", "1"), threads=4) == (2, 4)
    assert numbers(gpus=("0", "1"), trials_per_gpu=3) == (6, 2)
    assert numbers(gpus=("0",), fuse=4) == (1, 8)
    assert numbers(gpus=("0", "1"), workers=1, threads=2) == (1, 2)
    assert numbers(gpus=(), trials=9) == (8, 1)
    monkeypatch.setattr(worker_allocation, "has_gpu", lambda: True)
    assert numbers(gpus=(), threads=2) == (1, 2) and numbers(gpus=("",), trials=9) == (8, 1)


def test_a_gpu_that_torch_cannot_use_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_allocation, "has_gpu", lambda: True)
    settings = replace(SETTINGS, gpus=())
    allocation = allocate_workers(settings, RATES, {})
    data = summary()
    assert data.device == "cpu"
    assert "a GPU that torch cannot use" in make_plan(settings, RATES, {}, data, allocation).notes[-1]
    assert not make_plan(settings, RATES, {}, replace(data, device="T4"), allocation).notes


def test_workers_of_a_cluster_are_those_given() -> None:
    assert numbers(executor="ray", workers=50) == (50, 1)
    assert numbers(executor="ray", workers=50, threads=4) == (50, 4)


def test_memory_is_estimated_from_the_files_and_the_scores_of_a_batch(tmp_path: Path) -> None:
    small = worker_memory("ml-100k", RATES, {})
    assert 0.75 < small / 2**30 < 1
    assert worker_memory("nowhere", RATES, {"data_path": str(tmp_path)}) < small
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "big.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n")
    (tmp_path / "big" / "big.item").write_text("item_id:token\n" * 200_000)
    base: dict[str, Any] = {"data_path": str(tmp_path)}
    assert worker_memory("big", RATES, base) > 5 * 2**30
    assert worker_memory("big", RATES, base | {"train_batch_size": 128}) < 2 * 2**30
    batches = parse("train_batch_size choice [128, 4096]\n")
    assert worker_memory("big", batches, base) > 9 * 2**30
    assert worker_memory("big", RATES, base, together=4) > 16 * 2**30
    assert worker_memory("big", RATES, base | {"loss_type": "BPR"}) < 2**30


@pytest.mark.parametrize(
    ("workers", "trials", "confirm", "turns"),
    [(1, 3, 0, 3), (2, 3, 0, 2), (8, 3, 0, 1), (64, 3, 0, 1), (64, 200, 0, 25), (2, 3, 1, 5)],
)
def test_an_estimate_counts_no_workers_without_a_trial_or_a_core(
    workers: int, trials: int, confirm: int, turns: int
) -> None:
    search = SearchSettings(trials=trials, confirm=confirm)
    settings = replace(SETTINGS, workers=workers, search=search)
    space = parse("learning_rate uniform 0.001,0.1\n")
    plan = make_plan(settings, space, {}, summary(), allocate_workers(settings, space, {}))
    timing = Timing(train_seconds=8.0, valid_seconds=1.0, steps=1, steps_per_epoch=1)
    assert estimate(plan, [timing], 7.0) == 7.0 + turns * timing.trial_seconds(plan.epochs)
