"""Names that mean something to shells, globs, URLs or RecBole: taken as they are, or refused."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sasrecf_tune.cli.app import app
from sasrecf_tune.errors import InputError, TuneError
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support.synthetic_data import NAME, write_data_set

Cli = Callable[..., subprocess.CompletedProcess[str]]

ODD = "-a b'c\"d\ne*[f]?{g}%41#h;$(touch pwned)é漢"


def everything(directory: Path) -> set[Path]:
    return set(directory.rglob("*"))


def odd_data_set(parent: Path, name: str, column: str) -> None:
    """The made-up data set under another name, its column `colour` too."""
    source = write_data_set(parent, users=12) / NAME
    target = parent / name
    target.mkdir()
    for suffix in ("inter", "item"):
        text = (source / f"{NAME}.{suffix}").read_text()
        (target / f"{name}.{suffix}").write_text(text.replace("colour:", f"{column}:"))
    shutil.rmtree(source)


def test_names_with_special_characters_work_in_every_command(tmp_path: Path, cli: Cli) -> None:
    column = "a 'b' *[{c}]?%41.#"
    odd_data_set(tmp_path, ODD, column)
    (tmp_path / f"{ODD}.test").write_text(f"selected_features choice [[{column!r}]]\n")
    settings = {"load_col": None, "epochs": 1, "hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1}
    (tmp_path / "odd.yaml").write_text(
        "".join(f"{key}: {value or 'null'}\n" for key, value in settings.items())
    )
    before = everything(tmp_path)
    arguments = ["run", f"--params-file={ODD}.test", f"--dataset={ODD}", "--data-path=.", f"--out=out {ODD}"]
    done = cli(*arguments, "--config-files", "odd.yaml", "--gpus", "none")
    assert done.returncode == 0, done.stdout + done.stderr
    # Only the directory that was asked for is new.
    new = everything(tmp_path) - before
    out = tmp_path / f"out {ODD}"
    assert {path for path in new if path.parent == tmp_path} == {out}
    (study,) = out.iterdir()
    assert StudyDirectory(study).database.is_file() and StudyDirectory(study).checkpoint(0).is_file()
    for command in ("report", "best", "studies", "resume"):
        assert cli(command, f"--out=out {ODD}").returncode == 0, command
    assert everything(tmp_path) - before == new


LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ["--study", name]
            for name in ("../x", "a/b", "a b", "a\nb", "-x", ".", "..", "a*", "é", "~", LONG)
        ),
        *(["--dataset", name] for name in ("../x", "a/b", ".", "..", "", "/etc", "nope", "a\nb", "-x", LONG)),
        *(["--data-path", name] for name in ("nope", "/dev/null", "../..", "a\nb", "*", LONG)),
        *(["--config-files", name] for name in ("nope", "..", "/dev/null/x", "*", LONG)),
        *(["--params-file", name] for name in ("nope", "..", "/dev/null", "a\nb", "*", LONG)),
        *(["--set", text] for text in ("../x=1", "a b=1", "-x=1", "=", "dataset=../x", "data_path=[]")),
    ],
    ids=lambda arguments: " ".join(arguments)[:30],
)
def test_invalid_names_are_rejected_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    Path("hyper.test").write_text("learning_rate choice [0.01]\n")
    before = everything(tmp_path)
    given = {"--params-file": "hyper.test", "--dataset": "every-kind", "--gpus": "none"} | {
        arguments[0]: arguments[1]
    }
    words = [word for pair in given.items() for word in pair]
    result = CliRunner().invoke(app, ["run", "--dry-run", *words])
    assert isinstance(result.exception, InputError | SystemExit), repr(result.exception)
    assert result.exit_code == 2 or isinstance(result.exception, TuneError)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["item_id_list", "item_length", "timestamp_list", "neg_item_id", "user_id"])
def test_item_columns_with_names_reserved_by_recbole_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    odd_data_set(tmp_path, "mine", name)
    Path("hyper.test").write_text(f"selected_features choice [[{name}]]\n")
    arguments = ["check", "hyper.test", "--dataset", "mine", "--data-path", "."]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, InputError)
    assert f"the item column '{name}' has a name that RecBole gives" in str(result.exception)
    # One that is not loaded does no harm.
    Path("hyper.test").write_text("selected_features choice [[tags]]\n")
    load = "load_col={inter: [user_id, item_id, timestamp], item: [item_id, tags]}"
    assert CliRunner().invoke(app, [*arguments, "--set", load]).exit_code == 0
