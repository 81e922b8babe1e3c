from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sasrecf_tune.cli.build_settings import check_workers, override_settings, run_settings
from sasrecf_tune.cli.options import parameters
from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.inputs.config_files import BaseConfig
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.metrics import (
    WITH_K,
    Metric,
)
from sasrecf_tune.inputs.option_values import parse_gpus
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import ConfigOptions, EarlierOptions, RunSettings, SearchSettings
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.manifest import settings_content, settings_from, write_manifest
from tests.support.readme_blocks import commands

SPACE = parse("learning_rate choice [0.01, 0.001]", "space.test")
SECONDS = st.floats(0.001, 1e9)
SEARCHES = st.builds(
    SearchSettings, timeout=st.none() | SECONDS, hang_timeout=st.none() | SECONDS, grace=SECONDS
)
RUNS = st.builds(
    RunSettings,
    params_file=st.just(Path("/spaces/space.test")),
    # The values of RecBole's own keys are checked when they are read.
    base=st.dictionaries(
        st.text().filter(lambda key: key not in TABLE),
        st.none() | st.booleans() | st.integers() | st.lists(st.text()),
    ),
    metric=st.builds(Metric, st.sampled_from(WITH_K), st.integers(1, 100)) | st.just(Metric("GAUC", None)),
    search=SEARCHES,
)


@pytest.mark.parametrize(
    ("workers", "gpus", "each"), [(None, "0,1", 3), (4, "0,1", 1), (3, "none", 1), (4, "0,1", 2)]
)
def test_workers_that_agree_with_gpus_are_accepted(workers: int | None, gpus: str, each: int) -> None:
    check_workers(workers, parse_gpus(gpus), each)


@pytest.mark.parametrize(
    ("workers", "gpus", "message"),
    [(None, "none", "no GPU to share"), (3, "0,1", "2 GPUs with 2 trials each, but 3 workers")],
)
def test_conflicting_workers_and_gpus_are_rejected(workers: int | None, gpus: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_workers(workers, parse_gpus(gpus), 2)


def given_to_run(*arguments: str) -> dict[str, Any]:
    """The options of `run`, by field."""
    context = commands()["run"].make_context("run", ["--params-file", "space.test", *arguments])
    return {
        name: value
        for name, value in context.params.items()
        if name not in ("dry_run", "as_json", "fresh", "yes")
    }


def test_every_setting_has_an_option_with_its_default() -> None:
    expanded = {"base", "search", "earlier_work", "sources"}
    classes = (RunSettings, SearchSettings, ConfigOptions, EarlierOptions)
    declared = {field.name for cls in classes for field in fields(cls)}
    assert {option.name for option in parameters(RunSettings)} == declared - expanded
    given = given_to_run()
    made = run_settings(SPACE, BaseConfig(), given)
    assert given.keys() == declared - expanded
    assert made == RunSettings(
        params_file=Path("space.test"),
        base={},
        name="ml-100k-space",
        out=Path("tuning").absolute(),
        metric=Metric("MRR", 10),
    )


def test_a_new_settings_field_becomes_an_option() -> None:
    @dataclass(frozen=True)
    class More(SearchSettings):
        warm_up: Annotated[int, typer.Option("--warm-up", min=0)] = 3

    [*_, option] = parameters(More)
    assert (option.name, option.default) == ("warm_up", 3)


def test_options_become_settings() -> None:
    given = given_to_run("--timeout", "1h", "--gpus", "0,1", "--fuse", "auto", "--metric", "ndcg@5")
    made = run_settings(SPACE, BaseConfig(), given)
    assert (made.search.timeout, made.gpus, made.workers, made.fuse) == (3600.0, ("0", "1"), None, 0)
    assert made.metric == Metric("NDCG", 5)
    changed = override_settings(made, {"timeout": 60.0, "trials": None, "workers": 3})
    assert (changed.search.timeout, changed.search.trials, changed.workers) == (60.0, None, 3)


def test_a_resumed_study_has_the_workers_of_the_gpus_given() -> None:
    def workers(before: RunSettings, **given: Any) -> int | None:
        return override_settings(before, given).workers

    # A study of an earlier version, which recorded the default.
    two = replace(MADE, gpus=("0", "1"), trials_per_gpu=2, workers=4)
    assert workers(two, gpus=("0",)) is None and workers(two, gpus=("0",), workers=3) == 3
    assert workers(two) == 4
    assert workers(replace(two, workers=3), gpus=("0",)) == 3
    assert override_settings(two, {"gpus": ("",)}).trials_per_gpu == 1
    with pytest.raises(InputError, match="Ray assigns the GPUs"):
        override_settings(replace(MADE, executor="ray", workers=2), {"gpus": ("0",)})


def stored(directory: Path, content: dict[str, Any]) -> StudyDirectory:
    study_dir = StudyDirectory(directory)
    directory.mkdir(exist_ok=True)
    write_manifest(study_dir, content)
    return study_dir


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=RUNS)
def test_every_field_is_in_the_manifest(made: RunSettings, tmp_path: Path) -> None:
    study_dir = stored(tmp_path / "study", settings_content(made, SPACE, made.storage))
    read, space = settings_from(study_dir)
    differing = {name for name, value in vars(made).items() if getattr(read, name) != value}
    assert differing <= {"name", "out"}  # the directory's
    assert (read.name, read.out) == ("study", tmp_path)
    assert space.write() == SPACE.write()


MADE = RunSettings(params_file=Path("/space.test"), name="study", base={}, metric=Metric("MRR", 10))


def test_older_manifests_are_read_with_defaults(tmp_path: Path) -> None:
    content = settings_content(MADE, SPACE, None)
    for key in ("executor", "address", "threads", "trials_per_gpu", "fuse"):
        del content[key]
    del content["search"]["grace"]
    read, _ = settings_from(stored(tmp_path / "study", content))
    assert replace(read, out=MADE.out) == MADE


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("workers", "two", "the value of `workers` is invalid"),
        ("engine", "slow", "the value of `engine` is invalid"),
        ("engine", "\ud800", "a value is invalid"),
        ("gpus", "0", "the value of `gpus` is invalid"),
        ("search", {"trials": 1.5}, "the value of `search.trials` is invalid"),
        ("search", {"warm_up": 3}, "unknown key `search.warm_up`"),
        ("metric", "NDGC@10", "unknown metric"),
        ("metric", None, "the value of `metric` is invalid"),
        ("config", [], "the value of `config` is invalid"),
        ("seed", ..., "`seed` is missing"),
        ("space", 1, "the value of `space` is invalid"),
    ],
)
def test_invalid_manifests_are_rejected(tmp_path: Path, key: str, value: Any, message: str) -> None:
    content = settings_content(MADE, SPACE, None) | {key: value}
    study_dir = stored(
        tmp_path / "study", json.loads(json.dumps({k: v for k, v in content.items() if v is not ...}))
    )
    with pytest.raises(StorageError) as caught:
        settings_from(study_dir)
    assert message in str(caught.value) and str(study_dir.manifest) in str(caught.value)


def test_a_wrong_metric_is_reported_where_it_is_given() -> None:
    config = BaseConfig()
    config.add({"valid_metric": "NDGC@10"}, "base.yaml")
    with pytest.raises(InputError, match=r"base\.yaml: unknown metric `NDGC`: did you mean `NDCG`"):
        run_settings(SPACE, config, given_to_run())
