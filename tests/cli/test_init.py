"""`init` writes the search spaces of the repository, which are in the wheel too."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sasrecf_tune.cli import init
from sasrecf_tune.cli.app import app
from sasrecf_tune.cli.options import Space
from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.inputs.params_file import read
from tests.support.paths import ROOT

SPACES = sorted(path.stem for path in (ROOT / "search_spaces").iterdir())


def invoke(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_search_space_can_be_written() -> None:
    assert sorted(Space.__args__) == SPACES  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SPACES)
def test_init_writes_a_search_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    printed = invoke("init", *([] if name == "quickstart" else [name]))
    assert f"sasrecf-tune run --params-file {name}.test" in printed
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.test"]
    written = read(Path(f"{name}.test"))
    assert written.write() == read(ROOT / "search_spaces" / f"{name}.test").write()
    text = Path(f"{name}.test").read_text()
    assert f"#     sasrecf-tune run --params-file {name}.test" in text and "search_spaces" not in text


def test_init_replaces_no_file_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstart.test").write_text("mine\n")
    with pytest.raises(InputError, match=r"quickstart.test: the file exists(.|\n)*--force"):
        invoke("init")
    assert Path("quickstart.test").read_text() == "mine\n"
    invoke("init", "--force")
    assert "learning_rate" in Path("quickstart.test").read_text()
    Path("full.test").mkdir()
    with pytest.raises((InputError, StorageError)):
        invoke("init", "full", "--force")


def test_run_without_a_search_space_names_init() -> None:
    result = CliRunner().invoke(app, ["run", "--dataset", "ml-100k"])
    assert isinstance(result.exception, InputError) and "`sasrecf-tune init`" in str(result.exception)
    other = CliRunner().invoke(app, ["run", "--params-file", "x", "--trials", "0"]).exception
    assert isinstance(other, InputError) and other.where == "--trials"


def test_the_installed_package_has_the_search_spaces() -> None:
    try:
        installed = distribution("sasrecf-tune")
    except PackageNotFoundError:
        pytest.skip("sasrecf-tune is not installed")
    if '"editable": true' in (installed.read_text("direct_url.json") or ""):
        pytest.skip("an editable installation has those of the checkout")
    names = [f"sasrecf_tune/search_spaces/{name}.test" for name in SPACES]
    assert {str(path) for path in installed.files or ()} >= set(names)


def test_init_takes_the_search_spaces_of_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "search_spaces", tmp_path / "package" / "search_spaces")
    monkeypatch.setattr(init, "files", lambda _: tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    invoke("init", "sasrecf")
    assert Path("sasrecf.test").is_file()
