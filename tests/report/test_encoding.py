"""Output in an encoding that lacks characters, and names that are not UTF-8."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from sasrecf_tune.cli.app import main
from sasrecf_tune.errors import DataError
from sasrecf_tune.inputs.dataset_files import locate
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.report.terminal.encoding import allow_any_text
from sasrecf_tune.storage.files import append_line, atomic_write
from sasrecf_tune.storage.manifest import settings_content, settings_from, write_manifest
from tests.support.known_studies import SPACE, plant, settings

NOT_UTF8 = os.fsdecode(b"d\xff/p\xe9.test")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("out")
    plant(directory, 20)
    return directory


def output(
    monkeypatch: pytest.MonkeyPatch, encoding: str, *words: str, columns: str = "200"
) -> tuple[str, str]:
    """What the command line writes to standard output and to standard error."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr("sys.argv", ["sasrecf-tune", *words])
    monkeypatch.setattr("sys.stdout", streams[0])
    monkeypatch.setattr("sys.stderr", streams[1])
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        main()
    texts = []
    for stream in streams:
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        texts.append(stream.buffer.getvalue().decode(encoding))
    return texts[0], texts[1]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_report_is_printed_in_every_encoding(
    out: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    printed, errors = output(monkeypatch, encoding, "report", "planted", "--out", str(out))
    assert "planted: MRR@10" in printed and "failed: RuntimeError" in printed and not errors
    assert ("█" in printed) == (encoding == "utf-8")


@pytest.mark.parametrize("columns", ["0", "-5", "x", ""])
def test_a_width_that_is_not_known_is_ignored(
    out: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    printed, _ = output(monkeypatch, "ascii", "report", "planted", "--out", str(out), columns=columns)
    assert "planted: MRR@10" in printed and max(map(len, printed.splitlines())) > 80


def test_an_error_that_cannot_be_written_keeps_its_exit_code(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w") as full:  # closing it would fail if something were still buffered
        monkeypatch.setattr("sys.argv", ["sasrecf-tune", "report", "none", "--out", str(out)])
        monkeypatch.setattr("sys.stderr", full)
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 2


@pytest.mark.parametrize("form", ["csv", "json", "markdown", "latex"])
def test_every_format_is_printed_in_ascii(out: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    printed, errors = output(monkeypatch, "ascii", "report", "--out", str(out), "--format", form)
    assert not errors
    if form == "json":
        trials = json.loads(printed)["trials"]
        assert any((trial["error"] or "").endswith("<b>é") for trial in trials)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_an_error_about_any_name_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    for words in (["check", "é漢😀.test"], ["check", NOT_UTF8], ["report", "--out", NOT_UTF8], ["--help"]):
        printed, errors = output(monkeypatch, encoding, *words)
        assert ("error: " in errors) != bool(printed)


@example("±█⠋┏😀\udcff\n")
@given(st.text())
def test_json_in_ascii_has_the_same_names(text: str) -> None:
    drawn = "▁▂▃▄▅▆▇█×·…━╸╺─│┃±"
    plain = "".join(c for c in text if c not in drawn and not 0x2500 <= ord(c) < 0x2900)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        allow_any_text()
    stream.write(json.dumps([plain], ensure_ascii=False))
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    # Pairs of surrogates are one character in JSON, as everywhere but in a Python string.
    same = plain.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")
    assert json.loads(stream.buffer.getvalue()) == [same]


def test_a_params_file_with_a_name_that_is_not_utf8_is_recorded(tmp_path: Path) -> None:
    study_dir = plant(tmp_path, 3)
    space = parse(SPACE, NOT_UTF8)
    given = replace(settings(tmp_path), params_file=Path(NOT_UTF8), base={"data_path": NOT_UTF8})
    write_manifest(study_dir, settings_content(given, space, None))
    read, _ = settings_from(study_dir)
    assert read.params_file == Path(NOT_UTF8).absolute() and read.base == given.base


def test_a_data_set_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d\udcff").mkdir()
    (tmp_path / "d\udcff" / "d\udcff.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n")
    with pytest.raises(DataError, match="not UTF-8"):
        locate("d\udcff", str(tmp_path))


def test_a_file_is_written_whatever_its_text(tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    atomic_write(path, yaml.safe_dump({"data_path": NOT_UTF8}, allow_unicode=True) + f"# {NOT_UTF8}\n")
    append_line(path, f"# {NOT_UTF8}\n")
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == {"data_path": NOT_UTF8}
    with pytest.raises(TypeError):
        atomic_write(path, None)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [path]
