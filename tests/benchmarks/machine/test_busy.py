"""The benchmark of busy machines; how fast the settings are cannot be tested here."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest

from benchmarks.engine.processes import ProcessSetting
from benchmarks.machine import busy
from benchmarks.machine.busy import BESIDE, DEFAULT, QUIET, STOCK, TWICE, markdown_table, summarize
from sasrecf_tune.machine import Machine


class FakeProcess(contextlib.AbstractContextManager["FakeProcess"]):
    """Answers as a process of the benchmark does; stock RecBole is ten times as slow."""

    def __init__(self, setting: ProcessSetting) -> None:
        self.rate = 1.0 if setting.engine == "recbole" else 10.0
        self.threads = os.environ.get("OMP_NUM_THREADS", "")

    def __exit__(self, *_: object) -> None:
        """Nothing is left."""

    def call(self, request: str, *_: object) -> Any:
        return {"build": {"steps_per_epoch": 36}, "train": self.rate}.get(request)


def test_every_setting_is_measured_under_every_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "MeasuredProcess", FakeProcess)
    monkeypatch.setattr(busy, "cores", lambda: 2)
    monkeypatch.setattr(busy, "examine_machine", lambda: Machine(2))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with contextlib.ExitStack() as stack:
        processes = busy.Processes({}, stack)
        turns = busy.measure(processes, repeats=2, seconds=1.0)
    threads = {key: [one.threads for one in made] for key, made in processes.made.items()}  # type: ignore[attr-defined]
    assert threads == {("fast", 1): ["1"] * 4, ("fast", 2): ["2"] * 2, ("recbole", 0): [""] * 2}
    rates = {DEFAULT: 200, "1 x 1": 100, "1 x 2": 100, "2 x 1": 200, STOCK: 10}
    assert len(turns) == 2 * 3 * 5
    for turn in turns:
        assert turn["rate"] == rates[turn["setting"]] * (2 if turn["load"] == TWICE else 1)
        assert (" and " in turn["workers"]) == (turn["load"] == TWICE)
    assert {turn["load"] for turn in turns} == {QUIET, BESIDE, TWICE}
    assert len(markdown_table(summarize(turns)).splitlines()) == 2 + 3


def test_ratios_compare_the_turns_of_a_repeat() -> None:
    rates = {DEFAULT: (9.0, 8.0), "1 x 1": (5.0, 6.0), "2 x 1": (10.0, 10.0), STOCK: (1.0, 0.5)}
    turns = [
        {"load": QUIET, "setting": name, "workers": "2 x 1", "rate": rate}
        for name, each in rates.items()
        for rate in each
    ]
    (row,) = summarize(turns)
    assert row["best_fixed"] == "2 x 1"
    assert row["to_best_fixed"] == pytest.approx([0.85, 0.8, 0.9])
    assert row["to_stock"] == pytest.approx([12.5, 9.0, 16.0])
    assert "0.85 [0.80-0.90] of 2 x 1 | 12.50 [9.00-16.00]" in markdown_table([row])
