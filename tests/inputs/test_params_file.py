"""The language of hyper.test files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sasrecf_tune.errors import InputError, ParamsFileError
from sasrecf_tune.inputs.params_file import parse, read
from sasrecf_tune.inputs.search_space import Choice, Int, Log, LogUniform, QUniform, Uniform
from tests.support.mistakes import mistakes_in
from tests.support.params_files import DOCUMENTED
from tests.support.strategies import recbole_files

in_one_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def test_the_documented_file() -> None:
    space = parse(DOCUMENTED)
    assert space.names == (
        "learning_rate",
        "attn_dropout_prob",
        "hidden_dropout_prob",
        "n_heads",
        "n_layers",
    )
    assert space.size == 120
    assert space["n_layers"] == Choice("n_layers", (1, 2, 3))


def test_every_kind_and_all_the_ways_to_lay_out_a_line() -> None:
    text = (
        "\ufeff# settings\r\n\r\n"
        " a\tchoice\t [ gelu ,\t'two words' ]   # which\r\n"
        "b  choice  1, x-y\r\n"
        "c uniform 0 , 1.5#near\r\n"
        "d   int 1,9\r"
        "e int 2, 10, 4 # whole\n"
        "f\t\tlog 1e-4,1E-1\n"
        "g loguniform -8,0\n"
        "h quniform 0,1,.25\n"
        "\t\n#i choice [1]"
    )
    assert parse(text).parameters == (
        Choice("a", ("gelu", "two words")),
        Choice("b", (1, "x-y")),
        Uniform("c", 0, 1.5),
        Int("d", 1, 9),
        Int("e", 2, 10, 4),
        Log("f", 1e-4, 0.1),
        LogUniform("g", -8, 0),
        QUniform("h", 0, 1, 0.25),
    )


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("a choise [1]", 1, 3, "unknown kind `choise`: did you mean `choice`?"),
        ("a grid 0,1", 1, 3, "the kinds are choice, uniform, quniform, loguniform, int, log"),
        ("\n\n  a  Uniform  0,1", 3, 6, "did you mean `uniform`?"),
        ("a", 1, 2, "`a` has no kind"),
        ("a # choice [1]", 1, 2, "`a` has no kind"),
        ("a choice[1, 2]", 1, 9, "a space is missing after `choice`"),
        ("a choice(1, 2)", 1, 9, "a space is missing after `choice`"),
        ("a 2", 1, 3, "Write: a choice [2]"),
        ("a [1, 2]  # c", 1, 3, "Write: a choice [1, 2]"),
        ("a 0.1,0.2", 1, 3, "Write: a choice [0.1,0.2]"),
        ("a in ['[64]', 'x']", 1, 3, "Write: a choice ['[64]', 'x']"),
        ("a: [1, 2]", 1, 2, "Write: a choice [1, 2]"),
        ("a = 2", 1, 3, "Write: a choice [2]"),
        ("a=2", 1, 2, "Write: a choice [2]"),
        ("a: log 1,2", 1, 2, "Write: a log 1,2"),
        ("a choice [64\uff0c128]", 1, 13, "Write `,` between two values"),
        ("a choice", 1, 9, "an empty choice"),
        ("a choice []", 1, 10, "an empty choice"),
        ("a choice # [1]", 1, 10, "an empty choice"),
        ("a choice 5", 1, 10, "a choice needs a list of values"),
        ("a choice [1, 2", 1, 10, "this `[` is never closed"),
        ("a choice [1, 'x]", 1, 14, "this quote is never closed"),
        ("a choice [1,, 2]", 1, 13, "a value is missing"),
        ("a choice [1 2]", 1, 13, "expected `,` or `]`"),
        ("a choice [1] 2", 1, 14, "unexpected text after the list"),
        ("a choice [2*3]", 1, 12, "Expressions are not evaluated"),
        ("a choice [range(3)]", 1, 11, "function calls are not evaluated"),
        ("a choice [nan]", 1, 11, "values must be finite"),
        ("9a choice [1]", 1, 1, "is not a parameter name"),
        ("-b choice [1]", 1, 1, "is not a parameter name"),
        ("a normal 0,1", 1, 3, "unknown kind `normal`; the kinds are choice, uniform"),
        ("a lognormal 0,1", 1, 3, "unknown kind `lognormal`; the kinds are choice, uniform"),
        ("a choice [1]\n# b\n\ta choice [2]", 3, 2, "`a` occurs twice; first in line 1"),
        ("a uniform 1", 1, 11, "needs LOW,HIGH, not 1 number"),
        ("a uniform 1,2,3", 1, 15, "needs LOW,HIGH, not 3 numbers"),
        ("a uniform", 1, 10, "`uniform` needs LOW,HIGH"),
        ("a uniform 0,,1", 1, 13, "a number is missing"),
        ("a uniform [0,1]", 1, 11, "bounds need no brackets"),
        ("a uniform 0, x", 1, 14, "'x' is not a number"),
        ("a uniform 2,1", 1, 11, "the lower bound 2 is not below the upper bound 1"),
        ("a log 1,1", 1, 7, "the lower bound 1 is not below"),
        ("a uniform 0, inf", 1, 14, "bounds must be finite"),
        ("a uniform -Infinity,0", 1, 11, "bounds must be finite"),
        ("a uniform 0,NaN", 1, 13, "bounds must be finite"),
        ("a uniform 0,1e999", 1, 13, "bounds must be finite"),
        ("a quniform 0,1", 1, 14, "needs LOW,HIGH,Q, not 2 numbers"),
        ("a quniform 0,1,0", 1, 16, "q must be above zero"),
        ("a quniform 0,1,-1", 1, 16, "q must be above zero"),
        ("a quniform 0,1,1e-300", 1, 16, "q is too small"),
        ("a loguniform 0,710", 1, 16, "exp(710) is too large"),
        ("a loguniform -750,0", 1, 14, "exp(-750) is too small"),
        ("a log 0,1", 1, 7, "must be above zero"),
        ("a log -1,1", 1, 7, "must be above zero"),
        ("a int 1,2.5", 1, 9, "takes whole numbers, not 2.5"),
        ("a int 1,5,0", 1, 11, "the step must be above zero"),
        ("a int 1,5,9", 1, 11, "the step is larger than the range"),
        ("a int 0,1000000", 1, 9, "more than 100,000 values"),
        ("a int 0,9007199254740993", 1, 9, "takes whole numbers"),
        ("a choice [1]\x00", 1, 13, "an invisible control character"),
        ("a choice [1]\ufeff", 1, 13, "unexpected text after the list"),
    ],
)
def test_an_error_names_its_place(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(ParamsFileError) as caught:
        parse(text, "hyper.test")
    error = caught.value
    assert isinstance(error, InputError)
    assert said in str(error)
    assert error.at is not None
    assert (error.at.line, error.at.column) == (line, column), str(error)
    assert str(error).startswith(f"hyper.test:{line}:{column}: ")


def test_the_caret_stands_below_the_column() -> None:
    with pytest.raises(ParamsFileError) as caught:
        parse("a\tchoise [1]")
    assert str(caught.value).splitlines()[1:] == ["    a\tchoise [1]", "     \t^"]
    with pytest.raises(ParamsFileError) as caught:
        parse(f"a choice [{'1, ' * 500}x y]")
    shown, caret = str(caught.value).splitlines()[1:3]
    assert len(shown) <= 104 and shown[caret.index("^")] == "y"


@pytest.mark.parametrize("text", ["", "\n\n", "# only\n#comments", "\ufeff", " \t"])
def test_a_file_without_parameters(text: str) -> None:
    with pytest.raises(ParamsFileError, match="there are no parameters"):
        parse(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x7fELF\x02\x00\x00", "it is binary"),
        (b"a choice [1]\nb choice ['\xff']", r"hyper\.test:2: not UTF-8 text"),
        ("a choice [1]".encode("utf-16"), "it is binary"),
        (b"a" * (10 << 20), "larger than 1 MiB"),
        (b"\0" * (10 << 20), "larger than 1 MiB"),
        (b"a choice [" + b"[" * 100_000, "brackets are nested more than 20 deep"),
        (b"a choice [" + b"9" * 100_000 + b"]", "is not a number"),
        (b"a choice [0x" + b"f" * 100_000 + b"]", "the number is too large"),
        (b"a uniform 0," + b"9" * 100_000, "must be finite"),
    ],
)
def test_files_that_are_no_params_files(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "hyper.test"
    path.write_bytes(content)
    with pytest.raises(ParamsFileError, match=said) as caught:
        read(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["nope.test", ".", "nul\0.test"])
def test_files_that_cannot_be_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParamsFileError):
        read(tmp_path / name)


def test_as_many_values_as_are_allowed() -> None:
    # A megabyte of words: minutes if reading one took time in proportion to the rest of the line.
    words = [f"w{number}" for number in range(100_000)]
    assert parse(f"a choice [{','.join(words)}]").size == 100_000
    with pytest.raises(ParamsFileError, match="more than 100,000 values"):
        parse(f"a choice [{','.join([*words, 'one_more'])}]")


def assert_a_space_or_a_clear_error(text: str) -> None:
    try:
        space = parse(text)
    except InputError as caught:
        for error in mistakes_in(caught):
            if error.at is None:
                assert "there are no parameters" in error.what
                return
            lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
            line = lines[error.at.line - 1]
            assert error.at.line >= 1 and line.startswith(error.at.text)
            assert 1 <= error.at.column <= len(error.at.text) + 1
    else:
        assert parse(space.write()) == space


@settings(deadline=None, max_examples=200)
@given(st.text())
def test_any_text(text: str) -> None:
    assert_a_space_or_a_clear_error(text)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["choice ", "uniform ", "quniform ", "loguniform ", "int ", "log "]),
    st.text("0123456789eE.,-+_[](){}'\"ax#\\ \t:"),
)
def test_any_value(kind: str, value: str) -> None:
    assert_a_space_or_a_clear_error(f"a {kind}{value}")


@settings(deadline=None, max_examples=300)
@given(
    recbole_files(), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.text(max_size=3)), max_size=4)
)
def test_damaged_files(text: str, damages: list[tuple[float, int, str]]) -> None:
    for where, removed, added in damages:
        at = int(where * len(text))
        text = text[:at] + added + text[at + removed :]
    assert_a_space_or_a_clear_error(text)


@in_one_file
@given(st.one_of(st.binary(), st.binary().map(lambda tail: b"a choice [1, 2" + tail)))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hyper.test"
    path.write_bytes(content)
    try:
        assert len(read(path)) >= 1
    except InputError as caught:
        assert all(str(path) in str(error) for error in mistakes_in(caught))


def test_bounds_that_can_be_no_exponents_are_noted() -> None:
    (note,) = parse("learning_rate loguniform 0.0001,0.01\n").notes
    assert "values from 1.0001 to 1.0101" in note and "write: log 0.0001,0.01" in note
    assert not parse("learning_rate loguniform -9,-4\n").notes
