"""The language of hyper.test files: RecBole's, read as RecBole reads it, and what is refused."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sasrecf_tune.errors import InputError, ParamsFileError
from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.params_file import parse, read
from sasrecf_tune.inputs.search_space import Choice, Int, Log, LogUniform, QUniform, SearchSpace, Uniform
from tests.support.strategies import close, exactly, quniforms, recbole_files, spaces

in_one_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

DOCUMENTED = """\
learning_rate choice [0.01,0.005,0.001,0.0005,0.0001]
attn_dropout_prob choice [0.2, 0.5]
hidden_dropout_prob choice [0.2, 0.5]
n_heads choice [1, 2]
n_layers choice [1,2,3]
"""


def mistakes_in(error: InputError) -> list[ParamsFileError]:
    found = [mistake for mistake in error.mistakes if isinstance(mistake, ParamsFileError)]
    assert len(found) == len(error.mistakes)
    return found


# ---- RecBole itself ----


def recbole_space(path: Path) -> dict[str, Any]:
    from recbole.trainer.hyper_tuning import HyperTuning

    found: dict[str, Any] = HyperTuning._build_space_from_file(str(path))
    return found


def plain(value: Any) -> Value:
    """RecBole passes on tuples where a file has lists."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def recbole_meaning(path: Path) -> dict[str, tuple[str, tuple[Any, ...]]]:
    """Kind and numbers, or the values as they arrive in RecBole's configuration."""
    from hyperopt.pyll import rec_eval
    from recbole.config import Config

    meaning: dict[str, tuple[str, tuple[Any, ...]]] = {}
    for name, node in recbole_space(path).items():
        if node.name == "switch":
            arrived = []
            for option in node.pos_args[1:]:
                config = Config._convert_config_dict(object.__new__(Config), {name: rec_eval(option)})
                arrived.append(exactly(plain(config[name])))
            meaning[name] = ("choice", tuple(dict.fromkeys(arrived)))
        else:
            drawn = node.pos_args[0].pos_args[1]
            arguments = [a.obj for a in drawn.pos_args] + [a.obj for _, a in drawn.named_args]
            meaning[name] = (drawn.name, tuple(arguments))
    return meaning


def our_meaning(space: SearchSpace) -> dict[str, tuple[str, tuple[Any, ...]]]:
    meaning: dict[str, tuple[str, tuple[Any, ...]]] = {}
    for p in space:
        match p:
            case Choice():
                meaning[p.name] = ("choice", tuple(map(exactly, p.choices)))
            case QUniform():
                meaning[p.name] = ("quniform", (p.low, p.high, p.q))
            case Uniform() | LogUniform():
                meaning[p.name] = (type(p).__name__.lower(), (p.low, p.high))
            case _:
                raise AssertionError(f"RecBole has no {p}")
    return meaning


@settings(in_one_file, max_examples=300)
@given(recbole_files())
def test_what_recbole_reads_is_read_the_same(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hyper.test"
    path.write_text(text, encoding="utf-8", newline="")
    assert our_meaning(read(path)) == recbole_meaning(path)


@pytest.mark.parametrize(
    "line",
    [
        'selected_features choice [\'["class"]\',\'["class","release_year"]\']',
        "selected_features choice [['class'],['class','release_year']]",
        "selected_features choice ['class'],['class','release_year']",
        "selected_features choice ('class',),",
        "clip_grad_norm choice [{'max_norm':5},None]",
        "hidden_size choice [0x40, 6_4, +64, - 64]",
        "epochs choice 1,2",
        "gpu_id choice ['0,1']",
        "learning_rate loguniform -8,0",
        "x quniform 0,10,15",
        "x quniform 0,1000000,1",
        "x uniform 1_0,2_0",
    ],
)
def test_examples_that_recbole_reads(tmp_path: Path, line: str) -> None:
    path = tmp_path / "hyper.test"
    path.write_text(line)
    assert our_meaning(read(path)) == recbole_meaning(path)


@settings(in_one_file, max_examples=40)
@given(quniforms("x", most=50), st.integers(0, 2**31))
def test_quniform_is_hyperopts(tmp_path: Path, parameter: QUniform, seed: int) -> None:
    from hyperopt.pyll.stochastic import sample

    path = tmp_path / "hyper.test"
    path.write_text(parameter.write())
    node = recbole_space(path)["x"]
    rng = np.random.default_rng(seed)
    for _ in range(20):
        drawn = float(sample(node, rng))
        assert any(close(drawn, value) for value in parameter.values)
    # Both ends are reached from inside the bounds, so no value is one too many.
    low, high, q = float(parameter.low), float(parameter.high), float(parameter.q)
    last_digits = 12 * max(math.ulp(low), math.ulp(high))  # which no draw ever meets
    reached = [round((low + last_digits) / q) * q, round((high - last_digits) / q) * q]
    assert close(reached[0], parameter.values[0]) and close(reached[1], parameter.values[-1])


@pytest.mark.parametrize(
    ("low", "high", "q", "count"),
    [
        (0, 8.45669401045808, 1.879265335657351, 5),  # 4.5 times q in floats, a little more in decimals
        (0, 0.15, 0.1, 2),
        (0, 0.15000000000000002, 0.1, 2),
        (0.15, 0.45, 0.1, 3),
        (0.15000000000000002, 0.45000000000000001, 0.1, 3),
        (0.35000000000000003, 0.75, 0.1, 4),
        (4.499999999999999, 4.500000000000001, 1, 1),
        (0, 4.5000001, 1, 6),
        (1e9, 1e9 + 5, 2, 3),
    ],
)
def test_a_bound_half_way_between_two_multiples(low: float, high: float, q: float, count: int) -> None:
    parameter = QUniform("x", low, high, q)
    assert len(parameter.values) == parameter.size == count
    drawn = np.round(np.linspace(low, high, 100_001)[1:-1] / q)
    assert {drawn[0], drawn[-1]} <= set(parameter.factors) or high - low < q


@settings(in_one_file, max_examples=20)
@given(st.floats(-20, 0), st.floats(0.1, 10), st.integers(0, 2**31))
def test_loguniform_is_hyperopts(tmp_path: Path, low: float, width: float, seed: int) -> None:
    from hyperopt.pyll.stochastic import sample

    path = tmp_path / "hyper.test"
    path.write_text(f"x loguniform {low!r},{low + width!r}")
    (parameter,) = read(path)
    node = recbole_space(path)["x"]
    rng = np.random.default_rng(seed)
    drawn = [float(sample(node, rng)) for _ in range(50)]
    assert all(parameter.contains(value) for value in drawn)
    assert isinstance(parameter, LogUniform)
    least, greatest = parameter.bounds
    assert close(math.log(least), low) and close(math.log(greatest), low + width)


# ---- Where this reader knowingly differs: RecBole drops or runs what stands in the file ----

LOST = {
    "lines with tabs are skipped": "a choice [1]\nb\tchoice\t[2]\n",
    "a repeated name wins": "a choice [1]\na choice [2]\n",
    "a word and nothing else is skipped": "a choice [1]\nb choice\n",
    "no space before the bracket: skipped": "a choice [1]\nb choice[1,2]\n",
    "a commented-out line is a parameter #b": "a choice [1]\n#b choice [2]\n",
    "a byte order mark becomes part of the name": "\ufeffa choice [1]\n",
    "a name that no setting has": "größe choice [1]\n",
    "spaces inside of strings vanish": "a choice ['b c']\n",
    "a missing comma joins numbers": "a choice [1 2]\n",
    "a missing comma joins bounds": "a uniform 1 0,2 0\n",
    "a missing comma joins strings": "a choice ['b' 'c']\n",
    "a string is its letters": "a choice 'abc'\n",
    "a mapping is its keys": "a choice {'b':1}\n",
    "a set is in no order": "a choice {1,2}\n",
    "calculations are run": "a choice [1+1]\n",
    "calculations are run, unary": "a choice [--1]\n",
    "functions are called": "a choice list(range(3))\n",
    "comprehensions are run": "a choice [(x)for(x)in(1,2)]\n",
    "lists are repeated": "a choice [1]*3\n",
    "names of Python are looked up": "a choice [max]\n",
    "strings are evaluated once more": "a choice ['1+1','key']\n",
    "strings of other kinds": "a choice [r'b',b'c',f'd',u'e']\n",
    "strings in three quotes": "a choice ['''b''']\n",
    "numbers that are not real": "a choice [1j]\n",
    "numbers that are not finite": "a choice [1e999]\n",
    "keys that are not strings": "a choice [{1:2}]\n",
    "sets among the values": "a choice [{1,2}]\n",
    "invisible characters inside of a line": "a choice ['b\x01']\n",
    "infinite bounds": "a uniform 0,inf\n",
    "a nan is no bound": "a uniform 0,nan\n",
    "bounds in the wrong order, if one is zero": "a uniform 0,-1\n",
    "equal bounds of zero": "a uniform 0,0\n",
    "a q below zero": "a quniform 1,2,-1\n",
    "a q of zero": "a quniform 1,2,0\n",
    "a q beyond the precision of numbers": "a quniform 1,2,1e-20\n",
    "exp of the upper bound is infinite": "a loguniform 0,800\n",
    "exp of the lower bound is zero": "a loguniform -800,0\n",
    "brackets nested 30 deep": f"a choice {'[' * 30}1,{']' * 30}\n",
}
READ = {
    "a commented-out line is a parameter #b": {"a": ("choice", ("1",))},
    "a byte order mark becomes part of the name": {"a": ("choice", ("1",))},
    "spaces inside of strings vanish": {"a": ("choice", ("'b c'",))},
    "strings are evaluated once more": {"a": ("choice", ("'1+1'", "'key'"))},
    "lines with tabs are skipped": {"a": ("choice", ("1",)), "b": ("choice", ("2",))},
    "names of Python are looked up": {"a": ("choice", ("'max'",))},
}


@pytest.mark.parametrize("why", LOST)
def test_what_recbole_silently_loses_is_read_in_full_or_refused(tmp_path: Path, why: str) -> None:
    path = tmp_path / "hyper.test"
    path.write_text(LOST[why], encoding="utf-8")
    recbole_space(path)  # without an error
    if why in READ:
        assert our_meaning(read(path)) == READ[why]
    else:
        with pytest.raises(InputError) as caught:
            read(path)
        assert all(error.at is not None and "^" in str(error) for error in mistakes_in(caught.value))


# ---- The language ----


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
    ("line", "values"),
    [
        ("a int 1,3", [1, 2, 3]),
        ("a int -4,5,3", [-4, -1, 2, 5]),
        ("a int 2,9,3", [2, 5, 8]),
        ("a quniform 8,32,8", [8, 16, 24, 32]),
        ("a quniform 1.0,3.0,1.0", [1, 2, 3]),
        ("a quniform 0,0.3,0.1", [0.0, 0.1, 0.2, 0.3]),
        ("a quniform 5,30,16", [0, 16, 32]),
        ("a quniform 0.5,2.5,1", [1.0, 2.0]),
        ("a quniform 0,1,5", [0]),
        ("a choice [1, 1.0, True]", [1, 1.0, True]),
    ],
)
def test_values(line: str, values: list[Value]) -> None:
    (parameter,) = parse(line)
    assert exactly(list(parameter.values)) == exactly(values)
    assert parameter.size == len(values)
    assert all(parameter.contains(value) for value in values)


@pytest.mark.parametrize(
    ("line", "inside", "outside"),
    [
        ("a uniform 0,1", [0, 0.5, 1.0], [-0.1, 1.1, True, "1", None]),
        ("a log 0.1,1", [0.1, 1], [0.09, 0, False]),
        ("a loguniform -1,0", [math.exp(-1), 1.0], [0.36, 1.01, -1]),
        ("a int 1,7,3", [1, 4, 7], [2, 10, 1.0, True, "1"]),
        ("a quniform 0,1,0.25", [0.25, 1.0, 1], [0.3, 1.25, True, [0.25]]),
        ("a choice [1, 'x', [2]]", [1, "x", [2]], [1.0, True, "1", [2.0]]),
    ],
)
def test_contains(line: str, inside: list[Value], outside: list[Value]) -> None:
    (parameter,) = parse(line)
    assert [parameter.contains(value) for value in inside] == [True] * len(inside)
    assert [parameter.contains(value) for value in outside] == [False] * len(outside)


def test_only_finite_spaces_have_a_size() -> None:
    assert parse("a choice [1, 2]\nb int 1,4\nc quniform 0,1,.5").size == 24
    infinite = parse("a choice [1, 2]\nb uniform 0,1")
    assert infinite.size is None
    with pytest.raises(TypeError, match="infinitely many"):
        _ = infinite["b"].values


def test_values_given_twice_are_tried_once() -> None:
    space = parse("a choice [1, '1', 1, 2, ['x'], ['x']]")
    assert space["a"].values == (1, 2, ["x"])
    assert space.notes == (
        "line 1: a lists 1 more than once; it is tried once",
        "line 1: a lists ['x'] more than once; it is tried once",
    )


# ---- Writing back, fingerprint ----


@settings(deadline=None)
@given(spaces())
def test_a_written_space_reads_back_equal(space: SearchSpace) -> None:
    again = parse(space.write())
    assert again == space
    assert [exactly(list(p.choices)) for p in again if isinstance(p, Choice)] == [
        exactly(list(p.choices)) for p in space if isinstance(p, Choice)
    ]
    assert again.fingerprint == space.fingerprint and again.size == space.size
    assert all("are exponents of e" in note for note in again.notes)


@settings(deadline=None)
@given(spaces(), st.randoms(use_true_random=False))
def test_the_fingerprint_is_of_the_meaning_alone(space: SearchSpace, order: random.Random) -> None:
    mixed = []
    for p in space:
        if isinstance(p, Choice):
            p = Choice(p.name, tuple(order.sample(p.choices, len(p.choices))))
        mixed += ["# comment", f"  {p.write()}\t# comment", ""]
    order.shuffle(mixed)
    assert parse("\n".join(mixed)).fingerprint == space.fingerprint


def test_other_meanings_have_other_fingerprints() -> None:
    lines = [
        *("a choice [1]", "a choice [1.0]", "a choice [True]", "a choice [\"'1'\"]", "a choice [[1]]"),
        *("b choice [1]", "a choice [1, 2]", "a int 1,2", "a quniform 1,2,1", "a uniform 1,2"),
        *("a loguniform 1,2", "a log 1,2", "a choice [1]\nb choice [1]", "a choice [{'a': 1}]"),
    ]
    assert len({parse(line).fingerprint for line in lines}) == len(lines)


def test_the_fingerprint_stays_the_same_over_versions() -> None:
    # A study finds itself again by it, so a change here breaks every study that exists.
    assert parse(DOCUMENTED).fingerprint == "97979688bbb98d7e"


# ---- Errors ----


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
        ("a-b choice [1]", 1, 1, "is not a parameter name"),
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


# ---- Anything at all ----


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
