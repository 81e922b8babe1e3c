"""hyper.test files that RecBole reads are read as it reads them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.params_file import read
from sasrecf_tune.inputs.search_space import Choice, LogUniform, QUniform, SearchSpace, Uniform
from tests.support.mistakes import mistakes_in
from tests.support.strategies import close, exactly, quniforms, recbole_files

in_one_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


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
