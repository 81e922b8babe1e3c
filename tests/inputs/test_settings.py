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
from sasrecf_tune.errors import ConfigFileError, InputError, StorageError
from sasrecf_tune.inputs.config_files import BaseConfig
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.metrics import (
    RANKING,
    SMALLER_IS_BETTER,
    VALUE,
    WITH_K,
    Metric,
    check_kinds,
    parse_metric,
    result_keys,
)
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.settings import (
    ConfigOptions,
    EarlierOptions,
    RunSettings,
    SearchSettings,
    format_duration,
    parse_duration,
    parse_gpus,
    parse_size,
    parse_until,
)
from sasrecf_tune.search.plan import base_config
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
    ("text", "seconds"),
    [
        ("45s", 45),
        ("90m", 5400),
        ("1h30m", 5400),
        ("2d", 172800),
        ("3600", 3600),
        ("0.5h", 1800),
        ("1h 5s", 3605),
    ],
)
def test_durations_are_parsed(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("1.5 tb", 15 * 10**11), ("500M", 5 * 10**8), ("2GiB", 2**31), ("7", 7), ("0", 0)],
)
def test_sizes_are_parsed(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.integers(1, 9999), st.sampled_from(["", "KB", "MB", "GB", "TB"]))
def test_sizes_are_written_as_they_are_read(number: int, unit: str) -> None:
    size = parse_size(f"{number}{unit}")
    assert parse_size(str(size)) == size


@pytest.mark.parametrize("text", ["", "GB", "-5GB", "5XB", "nan", "inf", "1e9", "5 G B", "\u0665GB"])
def test_invalid_sizes_are_rejected(text: str) -> None:
    with pytest.raises(InputError, match="invalid size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "m", "-5m", "0", "5x", "nan", "inf", "1e400", "h1"])
def test_invalid_durations_are_rejected(text: str) -> None:
    with pytest.raises(InputError, match="invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0s"), (59, "59s"), (725, "12m 05s"), (12000, "3h 20m"), (187200, "2d 04h")]
)
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_metric_names_ignore_case() -> None:
    assert parse_metric("mrr@10") == Metric("MRR", 10)
    assert parse_metric("ndcg@5").key == "ndcg@5"
    assert parse_metric("gauc") == Metric("GAUC", None)
    assert not parse_metric("giniindex@10").maximize


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NDGC@10", "did you mean `NDCG`"),
        ("MRR", "needs a cut-off"),
        ("MRR@0", "needs"),
        ("AUCC", "unknown metric `AUCC`: did you mean `AUC`"),
    ],
)
def test_invalid_metrics_are_rejected(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_metric(text)


def test_metric_names_and_directions_equal_recboles() -> None:
    from recbole.evaluator import metric_types, smaller_metrics
    from recbole.utils import EvaluatorType

    for kind, names in ((EvaluatorType.RANKING, RANKING), (EvaluatorType.VALUE, VALUE)):
        assert {name.lower() for name in names} == {n for n, found in metric_types.items() if found == kind}
    assert set(smaller_metrics) == SMALLER_IS_BETTER
    assert not parse_metric("logloss").maximize and parse_metric("auc").maximize


def test_result_keys_of_metrics_with_and_without_a_cut_off() -> None:
    assert result_keys(["Recall", "GAUC"], [5, 10]) == ("recall@5", "recall@10", "gauc")
    assert result_keys(["AUC", "LogLoss"], [5, 10]) == ("auc", "logloss")


SAMPLED = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "uni20"}


@pytest.mark.parametrize(
    ("metrics", "eval_args", "message"),
    [
        (["AUC", "Recall"], SAMPLED, "cannot compute AUC together with Recall"),
        (["logloss", "gauc"], SAMPLED, "cannot compute LogLoss together with GAUC"),
        (["AUC"], {}, "AUC cannot be computed where all items are ranked"),
        (["RMSE", "MAE"], {"mode": "full"}, "RMSE, MAE cannot be computed"),
        (["AUC"], {"mode": {"valid": "uni20", "test": "full"}}, "AUC cannot be computed"),
    ],
)
def test_metrics_that_recbole_cannot_compute_are_refused(
    metrics: list[str], eval_args: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigFileError, match=message):
        check_kinds(metrics, eval_args)


@pytest.mark.parametrize("mode", ["uni20", "pop20", {"valid": "uni20"}, {"valid": "uni20", "test": "uni30"}])
def test_metrics_of_one_kind_can_be_computed_with_sampled_candidates(mode: Any) -> None:
    check_kinds(["AUC", "MAE", "RMSE", "LogLoss"], {"mode": mode})
    check_kinds(["GAUC", "NDCG"], {"mode": mode})


def test_a_value_metric_is_computed_alone_unless_metrics_are_set() -> None:
    space = parse("learning_rate choice [0.01]")
    auc = RunSettings(
        params_file=Path("h"), name="s", base={"eval_args": SAMPLED}, metric=parse_metric("auc")
    )
    assert base_config(auc, space)["metrics"] == ["AUC"]
    both = replace(auc, base=auc.base | {"metrics": ["LogLoss"]})
    assert base_config(both, space)["metrics"] == ["LogLoss", "AUC"]
    with pytest.raises(ConfigFileError, match="cannot compute AUC together with Recall"):
        base_config(replace(auc, base=auc.base | {"metrics": ["Recall"]}), space)
    with pytest.raises(ConfigFileError, match="cannot compute AUC together with MRR"):
        base_config(replace(both, base=both.base | {"metrics": "AUC"}, metric=parse_metric("MRR@10")), space)


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


@pytest.mark.parametrize(
    ("text", "value", "written"), [("0.5", 0.5, "0.5"), ("2", 2.0, "2"), (" never ", 0.0, "never")]
)
def test_until_is_a_number_or_never(text: str, value: float, written: str) -> None:
    assert parse_until(text) == value
    assert str(parse_until(text)) == written


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e3", "soon", ""])
def test_other_values_of_until_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="invalid value"):
        parse_until(text)
