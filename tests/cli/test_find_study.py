"""Commands of a study: given by name or path, with an output file, and with an address of no use."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sasrecf_tune as st
from sasrecf_tune.cli.app import app, main
from sasrecf_tune.errors import InputError, StorageError, StudyNotFoundError
from sasrecf_tune.report.terminal.console import write_output
from sasrecf_tune.storage.directory import StudyDirectory, find_study, studies, study_directory
from sasrecf_tune.storage.manifest import settings_from
from tests.support.command_line import Cli
from tests.support.known_studies import NAME, plant

EARLIER, LATER = 1_800_000_000, 1_800_003_600


@pytest.fixture
def study_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyDirectory:
    monkeypatch.chdir(tmp_path)
    return plant(tmp_path / "tuning", 6)


def invoke(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_study_is_found_by_its_name_its_directory_or_a_file_in_it(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given in (
        None,
        NAME,
        f"tuning/{NAME}",
        f"tuning/{NAME}/",
        f"./tuning/{NAME}/study.db",
        str(study_dir.manifest),
    ):
        assert find_study(Path("tuning"), given).directory == study_dir.directory, given
    monkeypatch.chdir(study_dir.directory)
    for given in (
        ".",
        "study.db",
        "report.html" if study_dir.report.exists() else "manifest.json",
        f"../{NAME}",
    ):
        assert find_study(Path("tuning"), given).directory == study_dir.directory, given


@pytest.mark.parametrize("name", ["my paper study", "étude", "beauty (copy)", "_x"])
def test_a_directory_that_was_given_another_name_is_found_and_named_for_a_shell(
    study_dir: StudyDirectory, name: str
) -> None:
    moved = study_dir.directory.rename(study_dir.directory.with_name(name))
    for given in (name, f"tuning/{name}", str(moved / "study.db")):
        assert find_study(Path("tuning"), given).directory == moved, given
    settings, _ = settings_from(find_study(Path("tuning"), name))
    assert study_directory(settings.out, settings.name).directory == moved
    assert shlex.split(StudyDirectory(moved).arguments) == [name]


@pytest.mark.parametrize("given", ["tuning/other", ".", "/", "nope/study.db", "/dev/null", "x" * 300 + "/y"])
def test_another_path_is_no_study(study_dir: StudyDirectory, given: str) -> None:
    with pytest.raises(StudyNotFoundError, match="not a study directory"):
        find_study(Path("tuning"), given)


def test_an_unknown_study_beside_others_is_answered_with_their_names(study_dir: StudyDirectory) -> None:
    for given in ("other", "tuning/other"):
        with pytest.raises(StudyNotFoundError, match=rf"Studies .*{NAME}"):
            find_study(Path("tuning"), given)


@pytest.mark.parametrize("command", ["report", "best"])
def test_commands_take_a_path(study_dir: StudyDirectory, command: str) -> None:
    by_name = invoke(command, NAME)
    assert invoke(command, f"tuning/{NAME}") == invoke(command, str(study_dir.database)) == by_name


def test_studies_shows_the_last_change(study_dir: StudyDirectory) -> None:
    other = StudyDirectory(Path("tuning/other").absolute())
    other.directory.mkdir()
    other.manifest.write_text(study_dir.manifest.read_text())
    for path in (*study_dir.directory.iterdir(), other.manifest):
        os.utime(path, (EARLIER, EARLIER))
    assert [row["updated"] for row in json.loads(invoke("studies", "--json"))] == [
        "2027-01-15T08:00:00+00:00"
    ] * 2
    os.utime(study_dir.database, (LATER, LATER))
    rows = json.loads(invoke("studies", "--json"))
    assert [(row["study"], row["updated"][11:16]) for row in rows] == [(NAME, "09:00"), ("other", "08:00")]
    # Reading changes nothing.
    invoke("report", NAME)
    assert study_dir.changed_at() == LATER
    assert [study.name for study in studies(Path("tuning"))] == [NAME, "other"]


def test_studies_shows_whole_names_in_a_narrow_window(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a-study-with-a-name-of-forty-characters1"
    shutil.copytree(study_dir.directory, f"tuning/{name}")
    monkeypatch.setenv("COLUMNS", "60")
    assert name in invoke("studies")


@pytest.mark.parametrize(
    "words", [["report"], ["report", "--format", "csv"], ["report", "--format", "html"], ["best"]]
)
def test_an_output_file_in_no_directory_is_refused(study_dir: StudyDirectory, words: list[str]) -> None:
    before = sorted(Path().rglob("*"))
    for output in ("nope/deep/x.csv", "tuning"):
        with pytest.raises(InputError, match=r"no directory|is a directory") as caught:
            CliRunner().invoke(app, [*words, "--output", output], catch_exceptions=False)
        assert "same command" not in str(caught.value)
    assert sorted(Path().rglob("*")) == before


def test_an_output_file_is_replaced_but_no_pipe_and_no_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_output("new", tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_output("through", tmp_path / "pipe")
    assert os.read(reader, 99) == b"through" and (tmp_path / "pipe").is_fifo()
    os.close(reader)
    # One without a name, as /dev/stdout may be, and what bash's >(command) stands for.
    reader, writer = os.pipe()
    write_output("through", Path(f"/dev/fd/{writer}"))
    assert os.read(reader, 99) == b"through"
    os.close(reader)
    os.close(writer)


def test_an_output_that_cannot_be_written_is_no_reason_to_run_again(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        write_output("text", Path("/dev/full"))
    assert "same command" not in str(caught.value)


ADDRESS = "postgresql://me:secret@host/db"


@pytest.mark.parametrize("command", ["report", "best", "resume", "confirm", "reproduce", "dashboard"])
def test_an_address_for_a_study_in_sqlite_is_refused(study_dir: StudyDirectory, command: str) -> None:
    for words in ([NAME, "--storage", ADDRESS], [f"--storage={ADDRESS}"]):
        with pytest.raises(InputError, match="is in its directory") as caught:
            CliRunner().invoke(app, [command, *words], catch_exceptions=False)
        assert "secret" not in str(caught.value)


def test_compare_refuses_an_address_where_no_study_is_on_a_server(
    study_dir: StudyDirectory, tmp_path: Path
) -> None:
    other = plant(tmp_path / "others", 6)
    with pytest.raises(InputError, match="is in its directory"):
        CliRunner().invoke(
            app, ["compare", NAME, str(other.directory), "--storage", ADDRESS], catch_exceptions=False
        )


def test_the_address_in_the_environment_is_for_studies_on_a_server(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SASRECF_TUNE_STORAGE", ADDRESS)
    assert NAME in invoke("report", NAME)
    assert st.load_study(NAME).trials
    with pytest.raises(st.InputError, match="is in its directory") as caught:
        st.load_study(NAME, storage="mysql://me@host/db")
    assert not re.search("--storage ", str(caught.value).partition("\n")[0])


@pytest.mark.parametrize(("name", "out"), [("x\0", "tuning"), ("a/x\0", "tuning"), ("x", "tuning\0")])
def test_a_null_character_is_part_of_no_name(study_dir: StudyDirectory, name: str, out: str) -> None:
    with pytest.raises(InputError):
        st.load_study(name, out=out)


@pytest.mark.parametrize(
    "words", [("report", "--out", "{}"), ("check", "hyper.test", "--import-trials", "{}"), ("import", "{}")]
)
def test_a_path_that_is_too_long_is_bad_input(cli: Cli, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01]\n")
    found = cli(*(word.format("x" * 5000) for word in words))
    assert (found.returncode, found.stdout) == (2, "") and found.stderr.startswith("error: ")


def test_a_path_that_is_too_long_is_bad_input_in_python(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        st.load_study("a", out="x" * 5000)
    with pytest.raises(InputError, match="too long"):
        st.import_data("x" * 5000, "data/x")


def test_a_working_directory_that_was_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(sys, "argv", ["sasrecf-tune", "studies"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
