"""README says what is: its tables, its commands and its numbers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer import Exit

from sasrecf_tune.inputs.constraints import feasibility
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.params_file import parse, read
from sasrecf_tune.inputs.validation import check_space
from sasrecf_tune.storage.directory import StudyDirectory
from tests import readme

TEXT = readme.README.read_text()
LINES = sorted(set(readme.command_lines(TEXT)))


def test_generated_sections_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(readme.generated_names(TEXT)) == sorted(readme.SECTIONS)
    for width in ("40", "300"):
        monkeypatch.setenv("COLUMNS", width)
        assert readme.current(TEXT) == TEXT, "run: python -m tests.readme --write"


def test_every_command_is_shown_in_use() -> None:
    assert {line.split()[1] for line in LINES} >= set(readme.commands())


@pytest.mark.parametrize("line", LINES)
def test_command_lines_are_valid(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    if name.startswith("-"):
        assert name in ("--help", "--version")
        return
    command = readme.commands()[name]
    try:
        command.make_context(name, arguments)
    except Exit as done:
        assert done.exit_code == 0


def test_the_commands_that_ci_runs_are_marked() -> None:
    for marker in ("install", "install-new", "test"):
        assert re.search(rf"<!-- ci:{marker} -->\n```[a-z]*\n[^`]+\n```\n", TEXT)


@pytest.mark.parametrize("path", readme.SPACES, ids=lambda path: path.name)
def test_search_spaces_can_be_used(path: Path) -> None:
    space = read(path)
    check_space(space)
    counted = feasibility(space, {})
    assert counted.feasible == counted.total
    for line in path.read_text().splitlines():
        assert line.isascii() and len(line) <= 105


def test_the_documented_grid() -> None:
    lines = (readme.ROOT / "search_spaces" / "sasrecf.test").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "learning_rate choice [0.01,0.005,0.001,0.0005,0.0001]",
        "attn_dropout_prob choice [0.2, 0.5]",
        "hidden_dropout_prob choice [0.2, 0.5]",
        "n_heads choice [1, 2]",
        "n_layers choice [1,2,3]",
    ]
    assert parse("\n".join(lines)).size == 120


def test_every_sasrecf_parameter_is_in_the_full_space() -> None:
    names = set(read(readme.ROOT / "search_spaces" / "full.test").names)
    assert names >= {name for name, known in TABLE.items() if known.group == "model"}


def test_the_files_of_a_study_are_listed() -> None:
    directory = Path("study")
    study_dir = StudyDirectory(directory)
    properties = [name for name, value in vars(StudyDirectory).items() if isinstance(value, property)]
    paths = [getattr(study_dir, name) for name in properties if name != "name"]
    listed = {path.name for path in paths if isinstance(path, Path) and path != directory}
    assert len(listed) > 5
    for name in listed | {"logs"}:
        assert f"`{name}" in TEXT, f"README does not list {name}"


def test_prose_numbers_of_configurations() -> None:
    said = re.findall(r"`(?:search_spaces/)?(\w+\.test)`:? (\d[\d,]*) configurations", TEXT)
    said += re.findall(r"^space +(\w+\.test): (\d[\d,]*) configurations", TEXT, re.MULTILINE)
    assert said
    for name, count in said:
        assert read(readme.ROOT / "search_spaces" / name).size == int(count.replace(",", ""))


def test_yaml_blocks_are_yaml() -> None:
    for block in re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE):
        assert isinstance(yaml.safe_load(block), dict)
