"""Whatever is wrong with the input: exit code 2, one clear message, no traceback, nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.synthetic_data import NAME, write_data_set

Cli = Callable[..., subprocess.CompletedProcess[str]]

GOOD = "learning_rate choice [0.01, 0.001]\n"


@pytest.mark.parametrize(
    ("space", "options", "said"),
    [
        (
            "hiden_size choice [32]",
            "",
            "hyper.test:1:1: unknown parameter `hiden_size`: did you mean `hidden_size`?",
        ),
        ("n_layers choice [1, 0]", "", "hyper.test:1:21: `n_layers` must be a whole number of at least 1"),
        ("n_layers uniform 1,3", "", "Write: n_layers int 1,3"),
        ("hidden_act choice [gelu, reul]", "", "did you mean `relu`?"),
        ("valid_metric choice ['MRR@10']", "", "`valid_metric` cannot be searched"),
        ("learning_rate choice []", "", "an empty choice"),
        ("learning_rate choice [__import__('os')]", "", "function calls are not evaluated"),
        ("", "", "there are no parameters"),
        (
            "n_heads choice [3]\nhidden_size choice [64]",
            "",
            "is feasible: hidden_size is not divisible by n_heads",
        ),
        (GOOD, "--set learning_rate=0.1", "`learning_rate` is searched in hyper.test and also set"),
        (GOOD, "--set hidden_size=abc", "--set hidden_size: `hidden_size` must be a whole number"),
        (GOOD, "--set hidden_siz=4", "unknown setting `hidden_siz`: did you mean `hidden_size`?"),
        (GOOD, "--set epochs", "'epochs' is not KEY=VALUE"),
        (GOOD, "--set epochs=[", "not YAML"),
        (GOOD, "--config-files nope.yaml", "nope.yaml: cannot read"),
        (GOOD, "--metric NDGC@10", "unknown metric `NDGC`: did you mean `NDCG`?"),
        (GOOD, "--metric MRR", "needs a cut-off"),
        (GOOD, "--timeout soon", "invalid duration 'soon'"),
        (GOOD, "--gpus first", "invalid `--gpus` value 'first'"),
        (GOOD, "--gpus 97", "torch cannot use GPU 97"),
        (GOOD, "--study ../x", "invalid study name"),
        (GOOD, "--model sasrecf", "cannot be tuned: did you mean `SASRecF`?"),
        (GOOD, "--set epoks=5", "--set epoks: unknown setting `epoks`: did you mean `epochs`?"),
        (GOOD, "--sampler best", "--sampler: 'best' is not one of"),
        (GOOD, "--trials 0", "must be at least 1"),
        (GOOD, "--workers many", "must be a whole number"),
        (GOOD, "--sampel tpe", "No such option"),
        ("learning_rate log 1e-4,1e-2", "--sampler grid", "the space is infinite (learning_rate)"),
        (GOOD, "--dataset nope", "no data set 'nope'"),
        (GOOD, "--dataset ../ml-100k", "is not a data set name"),
        ("selected_features choice [[clas]]", "", "has no such item column: did you mean `class`?"),
        (GOOD, "--set load_col={inter:[user_id,item_id,timestamp]}", "RecBole is not told to load: item_id"),
        (GOOD, "--set TIME_FIELD=when", "there is no column 'when' (TIME_FIELD)"),
        (GOOD, "--set user_inter_num_interval=[5000,inf)", "no interactions are left after filtering"),
        (GOOD, "--set eval_args={'order':RO}", "order of eval_args must be TO"),
    ],
)
def test_bad_input(cli: Cli, tmp_path: Path, space: str, options: str, said: str) -> None:
    (tmp_path / "hyper.test").write_text(space)
    done = cli("run", "--params-file", "hyper.test", *options.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "started" not in done.stdout
    assert not (tmp_path / "tuning").exists()


SEVERAL = """\
hiden_size choice [30, 64]
n_heads choice [4, 0]
n_layers choice [1
"""


@pytest.mark.parametrize("command", [["check"], ["run", "--params-file"], ["check", "--json"]])
def test_all_mistakes_of_a_file_and_of_the_configuration_are_reported(
    cli: Cli, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "hyper.test").write_text(SEVERAL)
    (tmp_path / "base.yaml").write_text("epochs: 0\nselected_features: [nope]\n")
    done = cli(*command, "hyper.test", "--config-files", "base.yaml", "--set", "hidden_size=30")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == (
        "error: base.yaml: `epochs` must be a whole number of at least 1 and at most 1000000, not 0\n"
        "\n"
        "error: hyper.test:1:1: unknown parameter `hiden_size`: did you mean `hidden_size`?\n"
        "    hiden_size choice [30, 64]\n"
        "    ^\n"
        "\n"
        "error: hyper.test:2:20: `n_heads` must be a whole number of at least 1 and at most 1024, not 0\n"
        "    n_heads choice [4, 0]\n"
        "                       ^\n"
        "\n"
        "error: hyper.test:3:17: this `[` is never closed\n"
        "    n_layers choice [1\n"
        "                    ^\n"
        "Add `]` at the end.\n"
    )
    assert not (tmp_path / "tuning").exists()


def test_settings_in_conflict_with_the_search_are_all_reported(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "hyper.test").write_text(GOOD)
    (tmp_path / "base.yaml").write_text("dataset: other\npooling_mode: max\n")
    options = "--dataset ml-100k --set learning_rate=0.1 --model SASRec"
    done = cli("check", "hyper.test", "--config-files", "base.yaml", *options.split())
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and [line.removeprefix("error: ").partition("`")[0] for line in said] == [
        "--set: ",
        "base.yaml: names the data set 'other', but ",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["report"],
        ["report", "nope"],
        ["best"],
        ["resume", "nope"],
        ["check", "nope.test"],
        ["run", "--params-file", "nope.test"],
        ["run"],
        ["nonsense"],
    ],
)
def test_what_is_not_there(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert done.stderr and "Traceback" not in done.stderr


def test_a_config_file_with_code_in_it_is_refused_and_not_run(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "hyper.test").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text("epochs: !!python/object/apply:os.system ['touch pwned']\n")
    done = cli("run", "--params-file", "hyper.test", "--config-files", "bad.yaml")
    assert done.returncode == 2 and "bad.yaml:1:9: not YAML" in done.stderr
    assert not (tmp_path / "pwned").exists()


def test_a_string_that_is_code_stays_a_string(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "hyper.test").write_text(GOOD)
    code = "__import__('os').system('touch pwned')"
    done = cli("run", "--params-file", "hyper.test", "--set", f"my_own_setting={code}", "--set", "epochs=0")
    assert done.returncode == 2
    done = cli("run", "--params-file", "hyper.test", "--set", f'TIME_FIELD="{code}"')
    assert done.returncode == 2 and "there is no column" in done.stderr
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("out", "harm", "said"),
    [
        (
            "new/tuning",
            lambda item: item.unlink(),
            "every-kind.item: the file does not exist, and SASRecF takes item features",
        ),
        ("mine", lambda item: item.write_text(item.read_text() + "i99\n"), "every-kind.item:39: "),
    ],
    ids=["missing", "ragged"],
)
def test_data_that_cannot_be_used_leaves_nothing_behind(
    cli: Cli, tmp_path: Path, out: str, harm: Callable[[Path], object], said: str
) -> None:
    (tmp_path / "hyper.test").write_text(GOOD)
    data = write_data_set(tmp_path, users=8)
    harm(data / NAME / f"{NAME}.item")
    options = ["--dataset", NAME, "--data-path", ".", "--gpus", "none"]
    options += ["--set", "selected_features=[colour]", "--set", "load_col=null"]
    (tmp_path / "mine").mkdir()
    before = set(tmp_path.rglob("*"))
    done = cli("run", "--params-file", "hyper.test", *options, "--out", out)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert set(tmp_path.rglob("*")) == before


def test_check(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "hyper.test").write_text(
        "hidden_size choice [30, 64]\nn_heads choice [1, 4]\nn_layers int 1,3\n"
    )
    done = cli("check", "hyper.test")
    assert done.returncode == 0, done.stderr
    assert "hyper.test: 12 configurations of 3 parameters" in done.stdout
    assert "not possible: 3 of them (hidden_size is not divisible by n_heads)" in done.stdout
    done = cli("check", "hyper.test", "--set", "load_col={inter:[user_id,item_id]}")
    assert done.returncode == 2 and "RecBole is not told to load: timestamp" in done.stderr
    (tmp_path / "hyper.test").write_text("selected_features choice [[genre]]\n")
    assert cli("check", "hyper.test", "--syntax-only").returncode == 0
    done = cli("check", "hyper.test")
    assert done.returncode == 2 and "movie_title, release_year, class" in done.stderr


def test_config_files_may_be_pipes(tmp_path: Path) -> None:
    (tmp_path / "hyper.test").write_text("n_heads choice [1, 2]\n")
    command = f"{sys.executable} -m sasrecf_tune check hyper.test --json --config-files"
    done = subprocess.run(
        ["bash", "-c", f"{command} <(printf 'hidden_size: 63\\n')"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["possible"] == 1
