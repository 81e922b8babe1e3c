"""Searches from Python on the real RecBole, on a tiny slice of ml-100k."""

from __future__ import annotations

import asyncio
import csv
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import yaml

import sasrecf_tune as st
from sasrecf_tune.cli import worker_allocation
from sasrecf_tune.machine import Machine
from sasrecf_tune.messages import Report
from sasrecf_tune.trials import TrialRecord
from tests.support.command_line import Cli
from tests.support.loaded_modules import loaded_after
from tests.support.readme_blocks import README, ROOT
from tests.support.tiny import TINY

SPACE = st.SearchSpace({"learning_rate": [0.01, 0.001], "hidden_dropout_prob": st.uniform(0.1, 0.6)})
OPTIONS: dict[str, Any] = {
    "config": TINY,
    "sampler": "random",
    "pruner": "none",
    "progress": False,
    "workers": 1,
}


class Recorder:
    """A callback that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def on_trial_start(self, number: int, params: dict[str, Any]) -> None:
        assert params.keys() == set(SPACE.names)
        self.events.append(("start", number))

    def on_report(self, report: Report) -> None:
        self.events.append(("report", report.number))

    def on_trial_end(self, record: TrialRecord) -> None:
        self.events.append(("end", record.number))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The module's current directory."""
    found, before = tmp_path_factory.mktemp("notebook"), Path.cwd()
    os.chdir(found)
    yield found
    os.chdir(before)


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def study(directory: Path, recorder: Recorder) -> st.Study:
    """A search of three trials, which began while an event loop was running."""

    async def search() -> st.Study:
        return st.tune(SPACE, trials=3, callbacks=[recorder], **OPTIONS)

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    found = asyncio.run(search())
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    return found


def test_the_study_directory_is_that_of_the_command_line(
    study: st.Study, directory: Path, cli: Cli, tiny_yaml: Path
) -> None:
    (directory / "space").write_text(SPACE.write())
    options = ["--config-files", tiny_yaml, "--pruner", "none", "--trials", "3", "--out", "theirs"]
    done = cli("run", "--params-file", "space", *options, cwd=directory)
    assert done.returncode == 0, done.stderr
    theirs = directory / "theirs" / study.name

    def listed(path: Path) -> list[str]:
        return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())

    assert listed(theirs) == listed(study.path)

    def trained(path: Path) -> list[dict[str, str]]:
        with (path / "trials.csv").open() as file:
            return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]

    assert trained(theirs) == trained(study.path)
    shown = cli("report", study.name, cwd=directory)
    assert f"{study.best.score:.4f}" in shown.stdout


def test_results_are_those_of_the_files(study: st.Study) -> None:
    frame = study.trials_dataframe()
    written = pd.read_csv(study.path / "ranking.csv")
    assert list(frame.drop(columns="score")) == list(written)
    assert list(frame["number"]) == list(written["number"])
    assert list(frame["score"]) == list(frame["valid mrr@10"])
    best = study.best
    assert (best.number, best.score) == (frame["number"][0], frame["score"][0])
    assert best.params == {name: frame[name][0] for name in SPACE.names} and not best.confirmed
    assert best.config == study.best_config == yaml.safe_load((study.path / "best.yaml").read_text())
    assert study.save_best("mine.yaml").read_text() == (study.path / "best.yaml").read_text()
    curves = study.curves()
    assert list(curves.index) == [1, 2] and sorted(map(int, curves.columns)) == [0, 1, 2]
    assert curves[best.number].max() == best.score
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    assert study.optuna_study().best_trial.number == best.number
    report = study.report_html("mine.html")
    assert report.is_absolute() and f"trial {best.number}" in report.read_text()
    assert study.report_html() == study.path / "report.html"


def test_a_loaded_study_is_the_same_and_loads_no_torch(study: st.Study, directory: Path) -> None:
    for given in (study.path, str(study.path), study.name, f"tuning/{study.name}", f"{study.path}/"):
        assert st.load_study(given).best == study.best
    code = f"import sasrecf_tune as st; st.load_study({str(study.path)!r}).best"
    assert not loaded_after(code, directory) & {"torch", "recbole", "ray"}
    with pytest.raises(st.InputError, match=f"Studies there: {study.name}"):
        st.load_study("another")


def test_a_notebook_shows_the_study_without_loading_anything(study: st.Study) -> None:
    shown = study._repr_html_()
    root = ElementTree.fromstring(shown)
    assert {element.tag.split("}")[-1] for element in root.iter()} >= {"table", "svg", "polyline"}
    assert len(shown) < 20_000
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|<script|src=|@import|url\(", shown)
    assert f"best MRR@10 {study.best.score:.4f} (trial {study.best.number})" in shown
    assert repr(study).startswith(f"<Study {study.name}: 3 complete; best MRR@10 ")


def test_callbacks_hear_of_every_trial(study: st.Study, recorder: Recorder) -> None:
    assert [event for event in recorder.events if event[0] == "end"] == [("end", n) for n in range(3)]
    assert recorder.events[:4] == [("start", 0), ("report", 0), ("report", 0), ("end", 0)]


def test_the_same_call_continues_and_an_exception_of_a_callback_ends_it(study: st.Study) -> None:
    class Failing:
        def on_trial_end(self, record: TrialRecord) -> None:
            raise KeyError(f"after trial {record.number}")

    with pytest.raises(KeyError, match="after trial 3"):
        st.tune(SPACE, trials=6, callbacks=[Failing()], **OPTIONS)
    found = st.load_study(study.name)
    assert [trial.state for trial in found.trials if trial.number <= 3] == ["complete"] * 4
    assert len(pd.read_csv(study.path / "ranking.csv")) == 4

    # In a thread, as of a server; signals are the main thread's.
    recorder, again = Recorder(), []

    def search() -> None:
        again.append(found.resume(trials=5, callbacks=[recorder], progress=False))

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert len(again[0].trials_dataframe()) == 5
    assert [event for event in recorder.events if event[0] == "end"] == [("end", 4)]


def test_another_space_needs_another_name(study: st.Study) -> None:
    with pytest.raises(st.InputError, match='study="NEW-NAME"'):
        st.tune({"learning_rate": [0.01]}, **OPTIONS)


def test_a_confirmation(study: st.Study) -> None:
    found = st.load_study(study.name)
    assert found.confirmation is None
    with pytest.raises(st.InputError, match="top: 0 is out of range"):
        found.confirm(top=0)
    result = found.confirm(top=2, seeds=2, progress=False)
    assert result.complete and result.seeds == (2021, 2022) and len(result.trials) == 2
    frame = result.to_dataframe()
    assert list(frame["trial"]) == result.trials and frame["mean"].is_monotonic_decreasing
    assert {"p", "half_interval", "valid mrr@10", "test mrr@10", "learning_rate"} <= set(frame)
    runs = result.runs_dataframe()
    assert len(runs) == 4 and set(runs["seed"]) == {2021, 2022}
    assert result.text in repr(result) and set(result.tied) <= set(result.trials)
    assert ElementTree.fromstring(result._repr_html_()).tag == "div"
    best = found.best
    assert best.confirmed and best.number == result.trials[0]
    assert best.score == frame["mean"][0] and best.config["seed"] in result.seeds
    assert "Confirmation: " in found._repr_html_()
    assert len(found.confirm(seeds=2, progress=False).runs_dataframe()) == 4  # nothing is left to train


SCRIPT = f"""
import sasrecf_tune as st
space = st.SearchSpace({{"learning_rate": st.log(1e-4, 1e-1)}})
study = st.tune(space, trials=500, config={TINY!r}, sampler="random", pruner="none")
"""


def test_ctrl_c_keeps_what_has_ended_in_a_script_without_a_main_guard(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "-u", "script.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("trial 2 started"):  # of the two before it, one has ended with two workers
            process.send_signal(signal.SIGINT)
            break
    out, error = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGINT and error.rstrip().endswith("KeyboardInterrupt"), error
    assert "Stopped. What has ended is kept in tuning/ml-100k-space." in out
    study = st.load_study(tmp_path / "tuning" / "ml-100k-space")
    assert any(trial.state == "complete" for trial in study.trials) and len(study.trials) < 10


def test_a_study_without_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    diverging = OPTIONS | {"config": {**TINY, "learner": "sgd"}}
    with pytest.raises(st.TuneError, match="trial 0 failed: the training loss became NaN"):
        st.tune({"learning_rate": [100.0]}, **diverging)
    study = st.load_study("ml-100k-space")
    with pytest.raises(st.TuneError, match="no trial of this study has completed\nWait for one"):
        study.best  # noqa: B018
    assert "1 failed" in repr(study) and "1 failed" in study._repr_html_()


def test_readme_and_the_example_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker_allocation, "examine_machine", lambda: Machine(1))
    block = re.search(
        r"^## From Python\n.*?```python\n(.*?)```", README.read_text(), re.DOTALL | re.MULTILINE
    )
    assert block is not None
    small = re.sub(r"config=\{.*?\}", f"config={TINY!r}", block[1].replace("trials=8", "trials=2"))
    small = small.replace("seeds=5", "top=1, seeds=1")
    assert small.count("=2") == 1 and repr(TINY) in small and "seeds=1" in small
    exec(compile(small, "README.md", "exec"), {})

    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    from python_api import search

    config = {name: value for name, value in TINY.items() if name != "n_layers"}
    study = search(trials=2, seeds=2, **config)
    assert study.confirmation is not None and len(study.trials) == 2
