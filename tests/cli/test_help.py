"""Help texts and shell completion."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sasrecf_tune.cli.app import app
from sasrecf_tune.cli.help import GROUPS
from sasrecf_tune.errors import InputError
from sasrecf_tune.search.plan import DEFAULT_TRIALS, WHOLE_GRID
from tests.support import readme_blocks
from tests.support.known_studies import NAME, plant


def help_of(*command: str, columns: int = 80) -> str:
    return CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": str(columns)}).stdout


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_summaries_of_commands_are_whole(columns: int) -> None:
    text = help_of(columns=columns)
    assert "..." not in text.split("Commands:")[1]
    assert "differ significantly" in " ".join(text.split())


def test_each_option_of_run_is_in_one_group() -> None:
    names = [name for _, group in GROUPS.values() for name in group]
    assert len(names) == len(set(names))
    assert set(names) == {option.name for option in readme_blocks.commands()["run"].params} | {"help"}


@pytest.mark.parametrize("title", GROUPS)
def test_groups_have_an_example_that_is_valid(title: str) -> None:
    example, names = GROUPS[title]
    assert f"{title}, such as {example}:" in help_of("run", columns=110)
    needed = "" if "--params-file" in example else "--params-file hyper.test "
    context = readme_blocks.commands()["run"].make_context("run", (needed + example).split())
    assert context.params["params_file"] == Path("hyper.test")
    given = {name for name in context.params if context.get_parameter_source(name).name == "COMMANDLINE"}
    assert given - {"params_file"} <= set(names)


@pytest.mark.parametrize("command", ["run", "import", "check", "recommend", "studies", "doctor"])
def test_only_commands_on_a_study_have_options_as_before(command: str) -> None:
    assert "as before" not in help_of(command, columns=200)


def test_the_default_number_of_trials_is_said() -> None:
    text = " ".join(help_of("run").split())
    assert f"[default: {WHOLE_GRID:,} with freeze-thaw, all with grid, else {DEFAULT_TRIALS}]" in text


def test_help_is_the_last_option_of_run() -> None:
    assert help_of("run").rstrip().endswith("Show this message and exit.")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run --trials abc", "--trials: must be a whole number, not 'abc'"),
        ("run --trials 1.5", "--trials: must be a whole number, not '1.5'"),
        ("run --workers 0", "--workers: must be at least 1, not 0"),
        ("dashboard --port 99999", "--port: must be at most 65535, not 99999"),
        ("run --executor slurm", "--executor: 'slurm' is not one of 'local', 'ray'"),
        ("init other", "SPACE: 'other' is not one of 'quickstart', 'sasrecf', 'full'"),
        ("report --top x", "--top: must be a whole number, not 'x'"),
    ],
)
def test_an_invalid_value_is_named_in_plain_words(line: str, said: str) -> None:
    error = CliRunner().invoke(app, line.split()).exception
    assert isinstance(error, InputError) and str(error) == said


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("studies")
    plant(directory, 8)
    return directory


def completed(words: list[str], out: Path) -> list[str]:
    """What bash offers for the last of `words`."""
    line = ["sasrecf-tune", *words]
    protocol = {"_SASRECF_TUNE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(line)}
    protocol["COMP_CWORD"] = str(len(line) - 1)
    program = Path(sysconfig.get_path("scripts")) / "sasrecf-tune"
    found = subprocess.run(
        [program], env=os.environ | protocol, cwd=out.parent, capture_output=True, text=True, check=False
    )
    assert not found.stderr
    return found.stdout.split()


def test_completion_knows_studies_metrics_keys_and_columns(out: Path) -> None:
    place = ["--out", str(out)]
    assert completed(["report", *place, NAME[:2]], out) == [NAME]
    assert completed(["run", "--metric", "ND"], out) == ["NDCG@5", "NDCG@10", "NDCG@20"]
    assert completed(["run", "--model", "SASRecF"], out) == ["SASRecF"]
    assert completed(["run", "--set", "n_"], out) == ["n_layers=", "n_heads="]
    assert completed(["report", *place, "--sort", "sec"], out) == ["seconds"]
    assert "n_layers" in completed(["report", *place, "--sort", "n_"], out)
    assert "n_layers=" in completed(["report", *place, "--filter", "n_"], out)


def test_completion_offers_nothing_where_there_is_no_study(tmp_path: Path) -> None:
    assert completed(["report", "--out", str(tmp_path / "none"), ""], tmp_path) == []
