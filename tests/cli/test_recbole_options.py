"""Options of RecBole's run_hyper.py on our command line."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from sasrecf_tune.cli import app as application
from sasrecf_tune.errors import InputError


def parsed(command: str, line: str) -> dict[str, Any]:
    group: Any = get_command(application.app)
    context = group.commands[command].make_context(command, shlex.split(line))
    return dict(context.params)


def refused(line: str) -> InputError:
    error = CliRunner().invoke(application.app, shlex.split(line)).exception
    assert isinstance(error, InputError), error
    return error


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_setting_of_recbole_is_a_set_option(command: str) -> None:
    own = "--params_file=hyper.test --dataset=shop --config_files='a.yaml b.yaml' --data_path=data"
    keys = "--epochs=3 --learning_rate=0.01 --topk=[5,10] --metrics=\"['NDCG', 'MRR']\" --learning-rate=0.01"
    options = parsed(command, f"{own} --set n_layers=1 {keys} --worker=2 --model=SASRec")
    assert options["overrides"] == [
        "n_layers=1",
        "epochs=3",
        "learning_rate=0.01",
        "topk=[5,10]",
        "metrics=['NDCG', 'MRR']",
        "learning_rate=0.01",
        "worker=2",
    ]
    assert (options["dataset"], options["model"]) == ("shop", "SASRec")
    assert options["config_files"] == ["a.yaml b.yaml"]
    assert str(options.get("params_file") or options["file"]) == "hyper.test"


def test_an_option_without_effect_is_a_set_option() -> None:
    assert parsed("check", "h.test --cuda=0 --num_workers=4")["overrides"] == ["cuda=0", "num_workers=4"]


def test_options_of_ours_stay_ours() -> None:
    options = parsed("run", "--params-file hyper.test --seed=5 --max_evals=7 --metric=NDCG@10 --workers=2")
    assert options["overrides"] == [] and (options["seed"], options["trials"]) == (5, 7)


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("run --params_file=h.test --output_file=x.result", "run --params_file=h.test"),
        ("run --params_file=h.test --output_file x.result --seed 5", "run --params_file=h.test --seed 5"),
        ("run --output_file=x --tool=Hyperopt --params_file=h.test", "run --params_file=h.test"),
        ("check --params_file=h.test --display_file=x", "check h.test"),
        ("check --params-file h.test --display_file=x", "check h.test"),
        ("run --params_file h.test --epochs 3", "run --params_file h.test --set epochs=3"),
        (
            "run --params_file h.test --metrics \"['NDCG']\" --algo=bayes",
            "run --params_file h.test --set \"metrics=['NDCG']\" --sampler tpe",
        ),
        ("run --params_file 'my h.test' --early_stop=10", "run --params_file 'my h.test' --patience 10"),
        ("check h.test --algo=random", "check h.test"),
        ("check h.test --max_evals=10", "check h.test"),
        ("check h.test --lr=0.01", "check h.test --set learning_rate=0.01"),
        ("check h.test --max_seq_len 20", "check h.test --set MAX_ITEM_LIST_LENGTH=20"),
        ("check h.test --optimizer=Adam", "check h.test --set learner=Adam"),
        ("check h.test --min_user_inter_num=5", "check h.test"),
        ("check h.test --verbose", "check h.test"),
        ("check h.test --config_file=a.yaml", "check h.test --config-files a.yaml"),
        (
            "check h.test --config_file_list=\"['a.yaml', 'b.yaml']\"",
            "check h.test --config-files 'a.yaml b.yaml'",
        ),
        ("run --params_file h.test --study_name=mine", "run --params_file h.test --study mine"),
        ("--params_file=h.test --epochs=3", "run --params_file=h.test --epochs=3"),
        ("--output_file=x", "run --output_file=x"),
    ],
)
def test_an_option_with_another_form_is_refused_with_the_command_to_write(line: str, written: str) -> None:
    prefix, _, command = refused(line).texts[-1].rpartition("Write: ")
    assert shlex.split(command) == ["sasrecf-tune", *shlex.split(written)]
    assert prefix


@pytest.mark.parametrize(
    ("option", "near"), [("--epoch=3", "epochs"), ("--learning_rat=0.1", "learning_rate")]
)
def test_a_misspelt_setting_is_refused(option: str, near: str) -> None:
    assert f"{option.partition('=')[0]}: no such option: did you mean `{near}`?" in str(
        refused(f"check h.test {option}")
    )


def test_an_option_of_a_fork_of_recbole_is_refused_in_words() -> None:
    assert "--fork_rate: no such option, and no setting of RecBole" in str(
        refused("check h.test --fork_rate=2")
    )


@pytest.mark.parametrize("line", ["--config_files a.yaml b.yml", "--config-files=a.yaml b.yml --seed 1"])
def test_config_files_need_no_quotes(line: str) -> None:
    assert parsed("run", f"--params_file h.test {line}")["config_files"] == ["a.yaml", "b.yml"]
    assert parsed("check", f"{line.removesuffix(' --seed 1')} h.test")["config_files"] == ["a.yaml", "b.yml"]


@pytest.mark.parametrize(
    ("line", "written"),
    [
        (
            "run --params_file h.test --set epochs=2 hidden_size=16 'topk=[5, 10]'",
            "run --params_file h.test --set epochs=2 --set hidden_size=16 --set 'topk=[5, 10]'",
        ),
        ("check --set=epochs=2 n_layers=1 h.test", "check --set=epochs=2 --set n_layers=1 h.test"),
    ],
)
def test_settings_after_the_first_of_a_set_option_are_refused_with_the_command_to_write(
    line: str, written: str
) -> None:
    error = refused(line)
    assert "each setting needs its own --set" in error.texts[0]
    assert shlex.split(error.texts[-1].rpartition("Write: ")[2]) == ["sasrecf-tune", *shlex.split(written)]
