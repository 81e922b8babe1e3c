"""Earlier searches from the command line, on the real RecBole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import synthetic_data
from tests.support.command_line import Cli

OPTIONS = ("--dataset", synthetic_data.NAME, "--data-path", "data", "--config-files", "base.yaml")
RUN = ("run", "--params-file", "hyper.test", *OPTIONS, "--study", "study", "--workers", "1")
RESULT = """\
learning_rate:0.01
Valid result:
recall@10 : 0.5    mrr@10 : 0.25
Test result:
recall@10 : 0.4    mrr@10 : 0.2

"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the command line runs: a params file, settings, a data set, and results of run_hyper.py."""
    (tmp_path / "hyper.result").write_text(RESULT)
    return synthetic_data.write_inputs(tmp_path, "learning_rate choice [0.01]\n", epochs=1)


def test_an_imported_winner_is_trained_from_its_configuration(directory: Path, cli: Cli) -> None:
    searched = cli(*RUN, "--import-trials", "hyper.result", "--trust")
    assert searched.returncode == 0, searched.stderr
    assert "imported 1 trial\n" in searched.stdout
    assert "hyper.result: 1 finished trial, 1 in this space (1 configuration)" in searched.stdout
    assert "Every configuration has a finished trial, which was imported." in searched.stdout
    assert "(trial 0, imported from hyper.result; not trained here)" in searched.stdout
    (row,) = json.loads(cli("report", "study", "--format", "json").stdout)["trials"]
    assert (row["rank"], row["state"], row["imported"]) == (1, "complete", "hyper.result")
    best = cli("best", "study").stdout
    assert "Imported from hyper.result: it was not trained in this study." in best
    assert "learning_rate: 0.01" in best
    # A hyper.result has neither the best epoch nor the seed.
    refused = cli("fit", "study")
    assert refused.returncode == 2
    assert "trial 0 was imported from hyper.result without its best epoch" in refused.stderr
    again = cli("reproduce", "study")
    assert again.returncode == 1, again.stderr
    assert "It was imported from hyper.result: it has not been trained in this study" in again.stdout
    assert "valid mrr@10" in again.stdout and "best epoch" not in again.stdout
    resumed = cli("resume", "study")
    assert resumed.returncode == 0, resumed.stderr


def test_check_shows_earlier_work_below_the_parameters(directory: Path, cli: Cli) -> None:
    lines = cli("check", "hyper.test", *OPTIONS, "--import-trials", "hyper.result").stdout.splitlines()
    parameter = lines.index("  learning_rate choice [0.01]")
    assert [line.startswith("earlier: ") for line in lines].index(True) > parameter


def test_an_imported_winner_that_is_reproduced_has_the_metrics_of_users(directory: Path, cli: Cli) -> None:
    """Although a hyper.result may have fewer metrics than a trial."""
    assert cli(*RUN).returncode == 0
    (row,) = json.loads(cli("report", "study", "--show-test", "--format", "json").stdout)["trials"]
    valid, test = row["valid"], row["test"]
    assert len(valid) > 1
    (directory / "hyper.result").write_text(
        f"learning_rate:0.01\nValid result:\nmrr@10 : {valid['mrr@10']}\n"
        f"Test result:\nmrr@10 : {test['mrr@10']}\n\n"
    )
    imports = ("--import-trials", "hyper.result", "--trust")
    assert cli(*RUN, *imports, "--study", "second").returncode == 0
    again = cli("reproduce", "second", "--per-user")
    assert again.returncode == 0, again.stdout
    assert "All metrics are identical." in again.stdout and "were not written" not in again.stdout
    assert len(list((directory / "tuning" / "second" / "per-user").glob("*.csv"))) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prior", "nothing"), "--prior nothing: no study named 'nothing'"),
        (("--import-trials", "hyper.test"), "hyper.test: the format of this file is not one that is read"),
        (("--trust",), "--trust: `--trust` requires `--prior` or `--import-trials`"),
        (("--import-trials", "nothing"), "--import-trials nothing: there is no such file"),
        (("--import-trials", "data"), "--import-trials data: this is a directory"),
        (("--import-trials", "mongodb://u:secret@h/x"), "mongodb:// is not a supported database"),
    ],
)
def test_what_cannot_be_read_is_refused_before_any_work(
    directory: Path, cli: Cli, options: tuple[str, ...], message: str
) -> None:
    for command in (RUN, ("check", "hyper.test", *OPTIONS)):
        refused = cli(*command, *options)
        assert refused.returncode == 2
        assert message in refused.stderr and "secret" not in refused.stderr
    assert not (directory / "tuning").exists()
