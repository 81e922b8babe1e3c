"""`sasrecf-tune import`: what it prints, what it refuses, and that `run` takes what it has written."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sasrecf_tune.cli.app import app
from sasrecf_tune.cli.build_settings import read_inputs, run_settings
from sasrecf_tune.cli.help import IMPORT_GROUPS
from sasrecf_tune.cli.options import default_options
from sasrecf_tune.cli.session import check_inputs
from sasrecf_tune.errors import InputError
from tests.cli.test_help import completed
from tests.importing.raw_tables import genres, rows
from tests.support import readme_blocks
from tests.support.loaded_modules import loaded_after
from tests.support.paths import ROOT
from tests.support.synthetic_data import muted

__all__ = ["muted"]

MOVIES = ["import", "ratings.dat", "--items", "movies.dat", "--out", "data/movies"]


@pytest.fixture(autouse=True)
def movielens(muted: None) -> None:
    """Raw files in the layout of MovieLens 1M, in this directory."""
    Path("ratings.dat").write_text("".join("{}::{}::{}::{}\n".format(*row) for row in rows()))
    lines = [f"{item}::Café, The {item} (1999)::{'|'.join(genres(item))}\n" for item in range(1, 13)]
    Path("movies.dat").write_text("".join(lines), encoding="latin-1")


def invoke(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def test_it_shows_what_it_has_understood_and_writes_what_run_takes() -> None:
    printed = invoke(*MOVIES)
    assert "ratings.dat: columns separated by '::', no header" in printed
    assert "token_seq separated by '|'" in printed and "seconds since 1970" in printed
    assert f"{len(rows())} rows read, {len(rows())} interactions" in printed and "not used: rating" in printed
    assert sorted(path.name for path in Path("data/movies").iterdir()) == [
        *("movies.inter", "movies.item", "movies.yaml")
    ]
    command = shlex.split(
        next(line for line in printed.splitlines() if "To search:" in line).partition(": ")[2]
    )
    assert command[:2] == ["sasrecf-tune", "run"] and command[-1] == "data/movies/movies.yaml"
    Path("quickstart.test").write_text((ROOT / "search_spaces" / "quickstart.test").read_text())
    context = readme_blocks.commands()["run"].make_context("run", command[2:])
    space, config = read_inputs(context.params["params_file"], context.params)
    given = {name: context.params.get(name, value) for name, value in default_options().items()}
    checked = check_inputs(run_settings(space, config, given), space)
    assert checked.settings.dataset == "movies" and checked.item_columns == ("genres",)
    assert not [note for note in checked.notes if "float32" in note or "load_col" in note]


def test_without_items_the_command_is_for_sasrec() -> None:
    printed = invoke("import", "ratings.dat")
    assert "--dataset ratings --data-path data" in printed and "--model SASRec" in printed
    settings = yaml.safe_load(Path("data/ratings/ratings.yaml").read_text())
    assert settings["load_col"] == {"inter": ["user_id", "item_id", "timestamp"]}


def test_users_with_few_interactions_are_counted() -> None:
    text = "user,item,time\n" + "a,x,1\n" + "b,x,1\nb,y,2\n" + "c,x,1\nc,y,2\nc,z,3\n"
    Path("few.csv").write_text(text)
    assert "  2 users with fewer than 3 interactions: kept, but" in invoke("import", "few.csv")
    Path("few.csv").write_text(text.replace("a,x,1", "c,a,0").replace("b,", "c,"))
    assert "fewer than" not in invoke("import", "few.csv", "--force")


def test_a_dry_run_and_json() -> None:
    content = json.loads(invoke(*MOVIES, "--dry-run", "--json"))
    assert content["written"] is False and not Path("data").exists()
    assert content["columns"] == {"user": "user_id", "item": "item_id", "time": "timestamp"}
    assert content["selected_features"] == ["genres"] and content["users"] == 15
    assert json.loads(invoke(*MOVIES, "--json"))["written"] is True


def test_what_is_lossy_is_refused_and_nothing_is_written() -> None:
    with Path("ratings.dat").open("a") as file:
        file.write("::3::4::978300760\n9::2::4::once\n")
    with pytest.raises(
        InputError, match=r"rows would be lost(.|\n)*--drop missing --drop unreadable"
    ) as caught:
        invoke(*MOVIES)
    assert caught.value.exit_code == 2 and not Path("data").exists()
    invoke(*MOVIES, "--drop", "missing", "--drop", "unreadable")


def test_an_existing_data_set_is_replaced_only_if_told() -> None:
    invoke(*MOVIES)
    before = Path("data/movies/movies.inter").read_text()
    with pytest.raises(InputError, match=r"the data set exists(.|\n)*--force"):
        invoke(*MOVIES, "--min-rating", "3")
    assert Path("data/movies/movies.inter").read_text() == before
    invoke(*MOVIES, "--min-rating", "3", "--force")
    assert len(Path("data/movies/movies.inter").read_text()) < len(before)


@pytest.mark.parametrize("name", ["data/ml-100k", "data/a b", "..", "data/.x"])
def test_names_that_recbole_cannot_read(name: str) -> None:
    with pytest.raises(InputError, match="--out"):
        invoke("import", "ratings.dat", "--out", name)


def test_hostile_text_reaches_neither_the_terminal_nor_the_settings() -> None:
    evil = "\x1b[2Jx\u202e"
    Path("evil\nkey: !!python.csv").write_text(f"user,item,time\n{evil},a,1\nv,[bold]b,2\n", encoding="utf-8")
    Path("items.csv").write_text(f'item,"name\n: {evil}",brand\na,x,p\n[bold]b,y,q\n', encoding="utf-8")
    printed = invoke("import", "evil\nkey: !!python.csv", "--items", "items.csv", "--out", "data/evil")
    assert "\x1b" not in printed and "\u202e" not in printed and "\\x1b" in printed
    text = Path("data/evil/evil.yaml").read_text()
    assert "\x1b" not in text and "\nkey:" not in text
    assert set(yaml.safe_load(text)) <= {
        *("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "selected_features", "load_col", "seq_separator")
    }


def test_it_loads_no_torch(tmp_path: Path) -> None:
    words = ["sasrecf-tune", "import", str(Path("ratings.dat").absolute()), "--dry-run"]
    code = f"sys.argv = {words!r}; from sasrecf_tune.cli.app import main; main()"
    loaded = loaded_after(code, tmp_path)
    assert "pandas" in loaded and not loaded & {"torch", "recbole", "optuna", "ray"}
    code = "sys.argv = ['sasrecf-tune', 'import', '--help']; from sasrecf_tune.cli.app import main; main()"
    assert not loaded_after(code, tmp_path) & {"torch", "recbole", "optuna", "pandas", "numpy"}


def test_each_option_is_in_one_group_with_a_valid_example() -> None:
    command = readme_blocks.commands()["import"]
    names = [name for _, group in IMPORT_GROUPS.values() for name in group]
    assert len(names) == len(set(names)) and set(names) == {each.name for each in command.params} | {"help"}
    for example, _ in IMPORT_GROUPS.values():
        command.make_context("import", shlex.split(example))


def test_the_shell_completes_what_may_be_left_out(tmp_path: Path) -> None:
    assert completed(["import", "x.csv", "--drop", "un"], tmp_path) == ["unreadable", "unseen-items"]


def test_an_invalid_value_of_drop() -> None:
    with pytest.raises(InputError, match="invalid `--drop` value 'all'\nThe values are missing"):
        invoke(*MOVIES, "--drop", "all")


def test_a_directory_below_a_file() -> None:
    Path("data").write_text("a file")
    with pytest.raises(InputError, match="data: this is no directory") as caught:
        invoke(*MOVIES)
    assert caught.value.exit_code == 2
