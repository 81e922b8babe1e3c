"""Hypothesis strategies for what a user may hand to `check`: right, nearly right, and anything at all."""

from __future__ import annotations

import json
from dataclasses import dataclass

import yaml
from hypothesis import strategies as st

from sasrecf_tune.inputs.hyperparameters import TABLE, Hyperparameter
from sasrecf_tune.inputs.literals import Value
from tests.support.strategies import recbole_files, spaces, values
from tests.support.synthetic_data import NAME


@dataclass(frozen=True)
class Case:
    """One call of `check`: the bytes of its files and its options; `dataset` is empty for --syntax-only."""

    params: bytes
    config: bytes | None
    sets: tuple[str, ...]
    dataset: str


# What a mutation inserts.
_WORDS = [
    *"#[]{}(),:'\"\\-e10. \t\n\r\0é\ufeff\u2028_|>",
    *("choice", "uniform", "int", "nan", "inf", "1e999", "1e-400", "0x", "9" * 400, "None", "hidden_size"),
    *("!!", "&a", "*a", "---", "lambda: 0", "__import__('os')"),
]
_FEATURES = st.lists(st.sampled_from(["colour", "tags", "class", "release_year"]), min_size=1, max_size=2)
_LOADED = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "colour", "tags"]}

_SPECIAL: dict[str, st.SearchStrategy[Value]] = {
    "selected_features": _FEATURES.map(list),
    "clip_grad_norm": st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {"max_norm": st.one_of(st.integers(-1, 9), st.floats(allow_nan=False))},
            optional={
                "norm_type": st.one_of(st.integers(-1, 3), st.sampled_from([2.0, "inf", None])),
                "error_if_nonfinite": st.booleans(),
                "foreach": st.sampled_from([None, False, True, 1]),
            },
        ),
    ),
    "train_neg_sample_args": st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {"distribution": st.sampled_from(["uniform", "popularity", "none"])},
            optional={
                "sample_num": st.integers(-1, 3),
                "alpha": st.floats(-1, 2),
                "dynamic": st.booleans(),
                "candidate_num": st.integers(-1, 3),
            },
        ),
    ),
    "load_col": st.sampled_from([None, {**_LOADED}, {"inter": "*", "item": "*"}, {}]),
    "eval_args": st.fixed_dictionaries(
        {},
        optional={
            "split": st.sampled_from(
                [{"LS": "valid_and_test"}, {"LS": "valid_only"}, {"RS": [8, 1, 1]}, {"LS": "x"}, {}, None]
            ),
            "order": st.sampled_from(["TO", "RO", "x", None]),
            "mode": st.sampled_from(
                ["full", "uni10", "pop10", "uniX", {"valid": "full", "test": "uni5"}, None]
            ),
            "group_by": st.sampled_from(["user", "none", None, "x"]),
        },
    ),
    "metrics": st.sampled_from(["MRR", ["MRR", "NDCG"], ["mrr", "GAUC"], ["AUC"], [], ["x"], 5, [5], None]),
    "topk": st.sampled_from([10, [5, 10], [0], [-1], [], ["x"], [1.5], None, {"a": 1}]),
    "valid_metric": st.sampled_from(["MRR@10", "NDCG@5", "GAUC", "mrr@10", "MRR", "x", "@", "MRR@0"]),
    "numerical_features": st.sampled_from([[], ["price"], ["x"], "price", None]),
    "user_inter_num_interval": st.sampled_from(["[0,inf)", "[5,inf)", "(1,9]", "[3,4];[6,9]"]),
    "item_inter_num_interval": st.sampled_from(["[0,inf)", "[2,inf)", "(0,50]"]),
}


def _legal(known: Hyperparameter) -> st.SearchStrategy[Value]:
    """Mostly values within the range of `known`, small ones first."""
    if known.name in _SPECIAL:
        return _SPECIAL[known.name]
    if known.choices:
        return st.sampled_from(known.choices)
    low, high = known.low, known.high
    if known.kind == "int":
        return st.one_of(
            st.sampled_from([8, 16]),
            st.integers(int(low), int(min(low + 20, high))),
            st.integers(int(low), int(high)),
        )
    if known.kind == "float":
        return st.one_of(
            st.sampled_from([0.001, 0.1, 0.5]),
            st.floats(low, high, exclude_min=known.open_low, allow_nan=False),
        )
    if known.kind == "bool":
        return st.booleans()
    return st.one_of(st.just(known.default), values)


def _value(known: Hyperparameter, careful: bool) -> st.SearchStrategy[Value]:
    if careful:
        return _legal(known) if known.kind in ("int", "float", "str", "bool") else _structure(known)
    return st.integers(0, 9).flatmap(lambda chance: values if chance == 0 else _legal(known))


def _structure(known: Hyperparameter) -> st.SearchStrategy[Value]:
    return _SPECIAL.get(known.name, st.just(known.default))


_SEARCHED = [known for known in TABLE.values() if known.tunable == "yes"]
_SET = [known for known in TABLE.values() if known.tunable != "no" or known.group == "evaluation"]
_ANY = list(TABLE.values())
_RANGES = {"int": ["int"], "float": ["uniform", "log", "quniform"]}


@st.composite
def _line(draw: st.DrawFn, known: Hyperparameter, careful: bool) -> str:
    ranges = _RANGES.get(known.kind, []) if careful else [*_RANGES["int"], *_RANGES["float"], "loguniform"]
    kind = draw(st.sampled_from(["choice", "choice", *ranges]))
    if kind == "choice":
        several = draw(st.lists(_value(known, careful), min_size=1, max_size=3, unique_by=repr))
        return f"{known.name} choice {several!r}"
    numbers = [draw(_value(known, careful)), draw(_value(known, careful))]
    ordered = sorted(numbers, key=lambda number: number if isinstance(number, int | float) else 0)
    step = [draw(st.sampled_from([1, 2, 0.1, 0]))] if kind == "quniform" else []
    return f"{known.name} {kind} " + ",".join(map(repr, [*ordered, *step]))


@st.composite
def _params(draw: st.DrawFn, careful: bool) -> str:
    known = st.sampled_from(_SEARCHED if careful else _ANY)
    several = draw(st.lists(known, min_size=1, max_size=4, unique_by=lambda parameter: parameter.name))
    return "".join(draw(_line(parameter, careful)) + "\n" for parameter in several)


@st.composite
def _settings(draw: st.DrawFn, careful: bool) -> dict[str, Value]:
    known = st.sampled_from(_SET if careful else _ANY)
    several = draw(st.lists(known, max_size=3, unique_by=lambda parameter: parameter.name))
    config = {parameter.name: draw(_value(parameter, careful)) for parameter in several}
    if not careful and draw(st.integers(0, 5)) == 0:
        config[draw(st.text(max_size=12))] = draw(values)
    return config


@st.composite
def mutated(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A text with a few slips in it."""
    text = draw(texts)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 3))
        text = text[:place] + draw(st.sampled_from(["", *_WORDS])) + text[place + length :]
    return text


def _encoded(texts: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    return texts.map(lambda text: text.encode("utf-8", "replace"))


def _yaml(config: dict[str, Value]) -> str:
    return yaml.safe_dump(config, allow_unicode=True)


def _options(config: dict[str, Value]) -> tuple[str, ...]:
    return tuple(f"{key}={json.dumps(value)}" for key, value in config.items())


_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
_noise = st.one_of(st.binary(max_size=60), _encoded(_text))
_written = st.one_of(recbole_files(), spaces().map(lambda space: space.write()))
_a_few_slips = st.one_of(mutated(_params(True)), mutated(_params(True)), mutated(_written), _written)
_option = st.one_of(mutated(_settings(False).map(lambda config: " ".join(_options(config)))), _text)

_right = st.builds(
    Case,
    params=_encoded(_params(True)),
    config=st.one_of(st.none(), _encoded(_settings(True).map(_yaml))),
    sets=st.one_of(st.just(()), _settings(True).map(_options)),
    dataset=st.sampled_from(["", "ml-100k", NAME, NAME]),
)
_wrong = st.builds(
    Case,
    params=st.one_of(_encoded(_params(False)), _encoded(_a_few_slips), _encoded(_params(True)), _noise),
    config=st.one_of(
        st.none(),
        _encoded(_settings(False).map(_yaml)),
        _encoded(mutated(_settings(True).map(_yaml))),
        _noise,
    ),
    sets=st.one_of(st.just(()), _settings(False).map(_options), st.lists(_option, max_size=2).map(tuple)),
    dataset=st.sampled_from(["", "ml-100k", NAME]),
)
cases: st.SearchStrategy[Case] = st.one_of(_right, _wrong)
