"""Texts of others on a terminal: nothing in them is acted on."""

from __future__ import annotations

import io
import json

import pytest
from rich.table import Table
from rich.text import Text

from sasrecf_tune.report.terminal.console import SafeConsole, print_command, write_output
from sasrecf_tune.report.text import json_text, visible

HARMFUL = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b2J",
    "\x1b]52;c;aGk=\x07",
    "back\x08",
    "over\rwritten",
    "\u202e",
]


def printed(what: object) -> str:
    text = io.StringIO()
    SafeConsole(file=text, width=100, force_terminal=True, color_system="truecolor").print(
        what, style="bold red"
    )
    return text.getvalue()


@pytest.mark.parametrize("text", HARMFUL)
@pytest.mark.parametrize("wrap", [str, Text, lambda text: _table(text)])
def test_control_characters_are_not_printed(text: str, wrap: object) -> None:
    assert callable(wrap)
    plain = printed(wrap("x"))
    found = printed(wrap(text))
    for character in "\x1b\x07\x08\x9b\r\u202e":
        assert found.count(character) <= plain.count(character)


@pytest.mark.parametrize(
    "text", ["runs[red]", "old[/b]", "[link=file:///etc/passwd]x[/link]", ":smile:", "[@click=x]"]
)
def test_text_is_not_read_as_markup(text: str) -> None:
    assert text in printed(text) and text in printed(_table(text))


def test_other_text_is_unchanged() -> None:
    text = "é 你好 ±\tline\n[5,inf)"
    assert visible(text) == text and visible("\x1b[1m") == "\\x1b[1m"


@pytest.mark.parametrize(("terminal", "shown"), [(True, "a\\x1bb"), (False, "a\x1bb")])
def test_formats_are_exact_in_files_and_harmless_on_a_terminal(
    terminal: bool, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("sys.stdout", stream)
    write_output("a\x1bb", None)
    assert stream.getvalue() == shown


def _table(text: str) -> Table:
    table = Table("column")
    table.add_row(text)
    return table


@pytest.mark.parametrize("text", [*HARMFUL, "\ud800", "a\nb", "é"])
def test_json_is_harmless_and_exact(text: str) -> None:
    written = json_text({"text": text})
    assert json.loads(written) == {"text": text} and visible(written) == written
    written.encode()


@pytest.mark.parametrize(
    ("width", "terminal", "shown"),
    [
        (40, True, "Left. To continue:\n  sasrecf-tune resume NAME\n"),
        (80, True, "Left. To continue: sasrecf-tune resume NAME\n"),
        (40, False, "Left. To continue: sasrecf-tune resume NAME\n"),
    ],
)
def test_a_command_to_copy_is_not_broken_by_a_narrow_terminal(width: int, terminal: bool, shown: str) -> None:
    text = io.StringIO()
    console = SafeConsole(file=text, width=width, force_terminal=terminal, no_color=True)
    print_command(console, "Left. To continue:", "sasrecf-tune resume NAME")
    assert text.getvalue() == shown
