"""The arguments of `tune` are the options of `sasrecf-tune run`."""

from __future__ import annotations

import inspect
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sasrecf_tune as st
from sasrecf_tune.api.arguments import is_list
from sasrecf_tune.cli import app
from sasrecf_tune.cli import run as runs
from sasrecf_tune.inputs.settings import RunSettings
from tests.support.known_studies import NAME, plant

SPACE = st.SearchSpace({"learning_rate": [0.01, 0.001]})
ONLY_HERE = {"space", "config", "callbacks", "progress"}
ONLY_THERE = {"params_file", "overrides", "dry_run", "as_json", "yes"}


class Stop(Exception):  # noqa: N818
    """Ends a run before it begins."""


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunSettings]:
    """The settings of the searches that the test starts; none is run."""
    settings: list[RunSettings] = []

    def run(given: RunSettings, *_: object, **__: object) -> int:
        settings.append(given)
        raise Stop

    monkeypatch.setattr(runs, "run", run)
    monkeypatch.chdir(tmp_path)
    return settings


def test_names_and_defaults_are_those_of_the_command() -> None:
    ours = dict(inspect.signature(st.tune).parameters)
    theirs = dict(inspect.signature(app.run).parameters)
    theirs["study"] = theirs.pop("name")
    assert ours.keys() - ONLY_HERE == theirs.keys() - ONLY_THERE
    for name in ours.keys() - ONLY_HERE - {"out", "config_files", "prior", "import_trials", "log"}:
        assert ours[name].default == theirs[name].default, name
    assert Path(ours["out"].default) == theirs["out"].default
    resume = inspect.signature(st.Study.resume).parameters.keys() - {"self", "callbacks", "progress"}
    assert resume == inspect.signature(app.resume).parameters.keys() - {"study", "out", "storage", "as_json"}
    confirm = inspect.signature(st.Study.confirm).parameters
    options = inspect.signature(app.confirm).parameters.keys() - {"study", "out", "storage", "as_json"}
    assert confirm.keys() - {"self", "progress"} == options
    fit = inspect.signature(st.Study.fit).parameters
    options = inspect.signature(app.fit).parameters.keys() - {"study", "out", "storage", "as_json"}
    assert fit.keys() - {"self", "progress"} == options
    recommend = inspect.signature(st.Model.recommend).parameters.keys() - {"self"}
    only_there = {"model", "out", "output", "export_items"}
    assert recommend == inspect.signature(app.recommend).parameters.keys() - only_there


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({}, ""),
        (
            {"config": {"epochs": 5, "user_inter_num_interval": "[5,inf)"}},
            "--set epochs=5 --set user_inter_num_interval=[5,inf)",
        ),
        ({"config": {"weight_decay": 1e-05}}, "--set weight_decay=1e-5"),
        (
            {"config": {"metrics": ["MRR", "NDCG"], "hidden_act": "gelu"}},
            "--set 'metrics=[MRR, NDCG]' --set hidden_act=gelu",
        ),
        ({"timeout": 5400, "grace": 2.5}, "--timeout 90m --grace 2.5s"),
        ({"keep_paused": 3 * 10**9}, "--keep-paused 3GB"),
        ({"timeout": "1h30m", "trials": 7, "patience": 2}, "--timeout 90m --trials 7 --patience 2"),
        ({"gpus": [0, 1], "trials_per_gpu": 2}, "--gpus 0,1 --trials-per-gpu 2"),
        ({"gpus": 1, "fuse": 4}, "--gpus 1 --fuse 4"),
        ({"gpus": "none", "workers": 3, "threads": 1}, "--gpus none --workers 3 --threads 1"),
        ({"model": "SASRec", "metric": "NDCG@10", "seed": 7}, "--model SASRec --metric NDCG@10 --seed 7"),
        ({"config_files": ["a.yaml", Path("b.yaml")]}, "--config-files a.yaml --config-files b.yaml"),
        ({"config_files": "c d.yaml"}, "--config-files 'c d.yaml'"),
        (
            {"out": "elsewhere", "study": "mine", "data_path": "data"},
            "--out elsewhere --study mine --data-path data",
        ),
        ({"log": "mlflow"}, "--log mlflow"),
        ({"log": ("tensorboard", "wandb")}, "--log tensorboard --log wandb"),
        ({"storage": "postgresql://me@host/db"}, "--storage postgresql://me@host/db"),
        (
            {"executor": "ray", "workers": 2, "address": "host:6379"},
            "--executor ray --workers 2 --address host:6379",
        ),
    ],
)
def test_settings_are_those_of_the_command(
    arguments: dict[str, Any],
    options: str,
    asked_for: list[RunSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("a.yaml").write_text("epochs: 3\n")
    Path("b.yaml").write_text("epochs: 4\n")
    Path("c d.yaml").write_text("dataset: shop\nmodel: SASRec\n")
    Path("space").write_text("learning_rate choice [0.01, 0.001]\n")
    with pytest.raises(Stop):
        st.tune(SPACE, **arguments)
    monkeypatch.setattr(sys, "argv", ["sasrecf-tune", "run", "--params-file", "space", *shlex.split(options)])
    with pytest.raises(Stop):
        app.main()
    ours, theirs = asked_for
    assert ours == theirs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "tpee"}, "sampler: 'tpee' is none of auto, freeze-thaw"),
        ({"workers": 0}, "workers: 0 is out of range"),
        ({"workers": 2.5}, "workers: 2.5 is a float, not int"),
        ({"trials": True}, "trials: True is a bool, not int"),
        ({"retries": 101}, "Give 0 to 100."),
        ({"fail_fast": 1}, "fail_fast: 1 is an int, not bool"),
        ({"timeout": 0}, "timeout: invalid duration '0'"),
        ({"gpus": "first"}, "invalid `gpus` value 'first'"),
        ({"fuse": 4, "engine": "recbole"}, "Use engine fast, or remove fuse."),
        ({"model": "SASReck"}, "model: model 'SASReck' cannot be tuned"),
        ({"study": "a/b"}, "study: invalid study name 'a/b'"),
        ({"config": {"epoch": 5}}, "unknown setting `epoch`: did you mean `epochs`?"),
        ({"config": {"epochs": object()}}, "config: epochs: <object"),
        ({"config": {"learning_rate": 0.1}}, "`learning_rate` is searched in space and also set"),
        ({"config_files": ["a b.yaml"]}, "config_files: no such file: 'a b.yaml'"),
        ({"log": ["mlfow"]}, "invalid `log` value 'mlfow': did you mean `mlflow`?"),
        ({"log": 5}, "log: 5 is an int, not str or list"),
        ({"callbacks": [print]}, "none of the methods on_trial_start, on_report, on_trial_end"),
    ],
)
def test_a_wrong_argument_is_named(
    arguments: dict[str, Any], message: str, asked_for: list[RunSettings]
) -> None:
    with pytest.raises(st.InputError) as caught:
        st.tune(SPACE, **arguments)
    assert message in str(caught.value)
    assert "--" not in str(caught.value)
    assert not asked_for


class Odd:
    def __repr__(self) -> str:
        return "<odd>"


@pytest.mark.parametrize("value", [Odd(), b"a", ..., pd.NA, pd.DataFrame({"a": [1]}), np.array(1)])
def test_arguments_of_other_types_are_named(value: Any, tmp_path: Path) -> None:
    study = st.load_study(plant(tmp_path, 1).directory)
    model = object.__new__(st.Model)
    functions = (st.tune, st.read_params_file, st.load_study, st.compare, st.load_model, st.import_data)
    methods = (study.confirm, study.resume, study.fit, study.report_html, study.save_best, model.recommend)
    for function in (*functions, *methods):
        known = inspect.signature(function).parameters
        required: dict[str, Any] = {
            name: "x" for name, one in known.items() if one.default is inspect.Parameter.empty
        }
        required |= {"space": SPACE} if function is st.tune else {}
        required |= {"studies": ["x"]} if function is st.compare else {}
        for name in known.keys() - {"interactions", "items", "histories"}:  # which name the types themselves
            with pytest.raises(st.InputError, match=rf"^{name}: .*(an?) {type(value).__name__}, not "):
                function(**required | {name: value})


@pytest.mark.parametrize("items", [5, None, "a", b"a", {"a", "b"}, {"a": 1}, pd.DataFrame({"a": [1]})])
def test_items_of_a_user_are_a_list(items: Any) -> None:
    assert not is_list(items)
    with pytest.raises(st.InputError, match="histories: the items of a user must be a list"):
        object.__new__(st.Model)._chosen({"me": items}, None, {})
    assert all(map(is_list, ([], ("a",), range(3), np.array(["a"]), pd.Series(["a"]), pd.Index(["a"]))))


def test_the_database_of_the_environment_is_used(
    asked_for: list[RunSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SASRECF_TUNE_STORAGE", "postgresql://me@host/db")
    with pytest.raises(Stop):
        st.tune(SPACE)
    assert asked_for[0].storage == "postgresql://me@host/db"


def test_a_study_resumes_as_the_command_does(
    asked_for: list[RunSettings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(tmp_path / "tuning", 8)
    study = st.load_study(NAME)
    with pytest.raises(Stop):
        study.resume(trials=20, timeout=90, workers=2)
    options = ["--trials", "20", "--timeout", "90s", "--workers", "2"]
    monkeypatch.setattr(sys, "argv", ["sasrecf-tune", "resume", NAME, *options])
    with pytest.raises(Stop):
        app.main()
    assert asked_for[0] == asked_for[1]
    with pytest.raises(st.InputError, match="trials: 0 is out of range"):
        study.resume(trials=0)
