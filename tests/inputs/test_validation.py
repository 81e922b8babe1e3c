"""Values against the table, config files, combinations that cannot exist, Optuna's distributions."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sasrecf_tune.cli.arguments import base_settings
from sasrecf_tune.errors import ConfigFileError, InputError, InputErrors, ParameterError, ParamsFileError
from sasrecf_tune.inputs import constraints as module
from sasrecf_tune.inputs.config_files import read_base, read_config_file, read_override, write_config
from sasrecf_tune.inputs.constraints import Feasibility, feasibility, feasible_cells, resolve, violations
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.literals import Value
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.search_space import Choice, LogUniform, Parameter, SearchSpace
from sasrecf_tune.inputs.validation import (
    check_config,
    check_keys,
    check_model,
    check_space,
)
from sasrecf_tune.inputs.value_checks import check_value, is_interval
from sasrecf_tune.search.strategies.distributions import distributions
from tests.support.strategies import exactly, parameters, spaces, values

# ---- One value ----


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("hidden_size", 64, 64),
        ("hidden_size", 64.0, 64),
        ("hidden_size", 1, 1),
        ("stopping_step", 0, 0),
        ("seed", 2**32 - 1, 2**32 - 1),
        ("hidden_dropout_prob", 0, 0),
        ("hidden_dropout_prob", 1.0, 1.0),
        ("learning_rate", 5e-324, 5e-324),
        ("layer_norm_eps", 0, 0),
        ("hidden_act", "swish", "swish"),
        ("loss_type", "BPR", "BPR"),
        ("enable_amp", True, True),
        ("selected_features", ["class"], ["class"]),
        ("selected_features", "['class','year']", ["class", "year"]),
        ("clip_grad_norm", {"max_norm": 5}, {"max_norm": 5}),
        ("clip_grad_norm", "{'max_norm':5,'norm_type':1}", {"max_norm": 5, "norm_type": 1}),
        ("clip_grad_norm", None, None),
        ("train_neg_sample_args", {"distribution": "popularity"}, {"distribution": "popularity"}),
        ("train_neg_sample_args", None, None),
        ("user_inter_num_interval", "[5,inf)", "[5,inf)"),
        ("user_inter_num_interval", None, None),
        ("gpu_id", 10**400, 10**400),
        ("load_col", None, None),
    ],
)
def test_values_that_are_taken(name: str, value: Value, taken: Value) -> None:
    assert exactly(check_value(name, value)) == exactly(taken)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("hidden_size", 0, "`hidden_size` must be a whole number of at least 1 and at most 65536, not 0"),
        ("hidden_size", 65537, "not 65537"),
        ("hidden_size", 1.5, "not 1.5"),
        ("hidden_size", True, "not True"),
        ("hidden_size", "64", "not '64'"),
        ("hidden_size", None, "not None"),
        ("hidden_size", [64], r"not \[64\]"),
        ("hidden_size", math.inf, "not inf"),
        ("hidden_size", math.nan, "not nan"),
        ("seed", -1, "not -1"),
        ("seed", 2**32, "not 4294967296"),
        ("hidden_dropout_prob", 1.0000001, "at most 1, not"),
        ("hidden_dropout_prob", -0.1, "at least 0"),
        ("hidden_dropout_prob", math.nan, "not nan"),
        ("hidden_dropout_prob", False, "not False"),
        ("learning_rate", 0, "a number above 0"),
        ("learning_rate", math.inf, "not inf"),
        ("initializer_range", 0.0, "above 0"),
        ("hidden_act", "Relu", "one of gelu, relu, swish, tanh, sigmoid, not 'Relu': did you mean `relu`?"),
        ("hidden_act", 5, "not 5"),
        ("pooling_mode", "min", "one of max, mean, sum"),
        ("loss_type", "ce", "did you mean `CE`?"),
        ("learner", "sparse_adam", "one of adam"),
        ("enable_amp", 1, "True or False, not 1"),
        ("enable_amp", "yes", "not 'yes'"),
        ("selected_features", "class", "a list, not 'class'"),
        ("selected_features", [], "must name at least one item column"),
        ("selected_features", ["class", 5], "must name at least one"),
        ("selected_features", ["class", "class"], "names a column twice"),
        ("selected_features", {"class": 1}, "a list"),
        ("clip_grad_norm", {}, "needs a max_norm above zero"),
        ("clip_grad_norm", {"max_norm": 0}, "max_norm of clip_grad_norm must be a number above zero"),
        ("clip_grad_norm", {"max_norm": math.nan}, "max_norm of clip_grad_norm must be"),
        ("clip_grad_norm", {"max_norm": True}, "max_norm of clip_grad_norm must be"),
        ("clip_grad_norm", {"max_nrom": 5}, "clip_grad_norm has no `max_nrom`: did you mean `max_norm`?"),
        ("clip_grad_norm", 5, "a mapping"),
        ("train_neg_sample_args", {"distrbution": "uniform"}, "did you mean `distribution`?"),
        ("train_neg_sample_args", {"distribution": "normal"}, "must be uniform or popularity"),
        (
            "clip_grad_norm",
            {"max_norm": 1, "norm_type": None},
            "norm_type of clip_grad_norm must be a number above",
        ),
        (
            "clip_grad_norm",
            {"max_norm": 1, "foreach": 1},
            "foreach of clip_grad_norm must be True, False or None, not 1",
        ),
        ("train_neg_sample_args", {"sample_num": 0}, "sample_num .* must be a whole number from 1, not 0"),
        ("train_neg_sample_args", {"alpha": "1"}, "alpha .* must be a number from 0, not '1'"),
        ("train_neg_sample_args", {"dynamic": 1}, "dynamic .* must be True or False"),
        ("train_neg_sample_args", {"dynamic": True}, "need a candidate_num of at least 1"),
        ("metrics", [5], r"metrics must be names, not \[5\]"),
        ("metrics", [], "metrics must be names"),
        ("topk", [5, 0], "topk must be whole numbers from 1"),
        ("topk", {"a": 1}, "topk must be whole numbers from 1"),
        ("NEG_PREFIX", [{}], r"`NEG_PREFIX` must be text, not \[{}\]"),
        ("TIME_FIELD", None, "`TIME_FIELD` must be text, not None"),
        ("load_col", ["item_id"], "`load_col` must be a mapping .* or None"),
        ("rm_dup_inter", "frist", "did you mean `first`"),
        ("user_inter_num_interval", "[5,inf", "not an interval"),
        ("user_inter_num_interval", 5, "not an interval"),
        ("gpu_id", math.nan, "not nan"),
    ],
)
def test_values_that_are_not(name: str, value: Value, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        check_value(name, value)


_BOUNDED = sorted(name for name, known in TABLE.items() if known.kind in ("int", "float"))


@given(st.sampled_from(_BOUNDED), st.one_of(st.integers(), st.floats()))
def test_a_number_is_taken_exactly_when_it_is_within_its_bounds(name: str, number: float) -> None:
    known = TABLE[name]
    above = number > known.low if known.open_low else number >= known.low
    legal = above and number <= known.high and (known.kind == "float" or number == int(number))
    try:
        taken = check_value(name, number)
    except ParameterError:
        assert not legal
    else:
        assert legal and taken == number
        assert known.kind == "float" or type(taken) is int


@given(st.sampled_from(sorted(TABLE)), values)
def test_any_value_is_taken_unchanged_or_refused(name: str, value: Value) -> None:
    try:
        taken = check_value(name, value)
    except InputError as error:
        assert len(str(error)) < 2000
    else:
        assert exactly(check_value(name, taken)) == exactly(taken)


@pytest.mark.parametrize("text", ["[5,inf)", "(0, 1]", "[1,2);[3,4]", " [1e2,+inf) ", "(-inf,5)", "[1,1]"])
def test_intervals(text: str) -> None:
    assert is_interval(text)


@pytest.mark.parametrize(
    "text",
    ["", "5", "[5]", "[5,6", "5,6", "[a,b]", "[e,f)", "[2,1]", "[1,2];", "[1,2];x", "[1,2,3]", "[nan,1]"],
)
def test_no_intervals(text: str) -> None:
    assert not is_interval(text)


# ---- A space ----


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("hiden_size choice [32]", 1, "unknown parameter `hiden_size`: did you mean `hidden_size`?"),
        ("  zzz choice [32]", 3, "unknown parameter `zzz`"),
        ("valid_metric choice ['MRR@10']", 1, "cannot be searched"),
        ("eval_batch_size choice [1, 2]", 1, "One value for all trials is fine"),
        ("n_layers choice [1, 2, 0]", 24, "not 0"),
        ("n_layers choice [1, 2.0]", 21, "2.0 must be written 2"),
        ("n_layers choice [1, x]", 21, "not 'x'"),
        ("n_layers int 0,3", 14, "not 0"),
        ("n_layers uniform 1,3", 18, "Write: n_layers int 1,3"),
        ("n_layers uniform 0.1,0.9", 18, "Write: n_layers int 1,2"),
        ("n_layers quniform 1,3,0.5", 19, "takes whole numbers"),
        ("n_layers log 1,8", 14, "takes whole numbers"),
        ("hidden_act uniform 0,1", 20, "not a range"),
        ("hidden_act int 0,1", 16, "Write for example: hidden_act choice ['gelu', 'relu']"),
        ("hidden_dropout_prob uniform 0,1.1", 29, "not 1.1"),
        ("hidden_dropout_prob quniform 0,0.9,0.4", 30, None),
        ("hidden_dropout_prob quniform 0,1,0.6", 30, "not 1.2"),
        ("learning_rate loguniform 0.0001,0.1", 26, None),
        ("learning_rate loguniform 1,5", 26, "not 148"),
        ("learning_rate uniform 0,1", 23, "above 0"),
    ],
)
def test_a_space_is_checked_at_the_place(text: str, column: int, said: str | None) -> None:
    space = parse(text)
    if said is None:
        check_space(space)
        return
    with pytest.raises(ParamsFileError) as caught:
        check_space(space)
    assert said in str(caught.value)
    assert caught.value.at is not None and caught.value.at.column == column, str(caught.value)


def test_what_may_be_searched_and_what_may_only_be_fixed() -> None:
    for name, known in TABLE.items():
        several = SearchSpace((Choice(name, (known.default, "another value")),))
        if known.tunable != "yes":
            with pytest.raises(ParamsFileError, match="cannot be searched"):
                check_space(several)
        one = SearchSpace((Choice(name, (known.default,)),))
        if known.tunable == "no":
            with pytest.raises(ParamsFileError, match="cannot be searched"):
                check_space(one)
        else:
            check_space(one)


def test_a_params_file_of_the_other_model_says_which_lines_do_not_fit() -> None:
    text = "n_layers choice [1]\npooling_mode choice [sum]\n\nselected_features choice [[class]]\n"
    space = parse(text, "hyper.test")
    check_space(space, "SASRecF")
    with pytest.raises(InputErrors) as caught:
        check_space(space, "SASRec")
    first, second = map(str, caught.value.mistakes)
    assert first.startswith("hyper.test:2:1: `pooling_mode` is not a parameter of SASRec")
    assert second.startswith("hyper.test:4:1: `selected_features` is not a parameter of SASRec")
    assert "Remove the line, or give SASRec a params file of its own." in first
    check_space(parse("n_layers choice [1]\n"), "SASRec")


def test_settings_of_the_other_model_and_other_models() -> None:
    check_keys(["selected_features", "n_layers", "a_setting_of_mine"], "SASRecF", "--set")
    check_keys(["n_layers", "a_setting_of_mine"], "SASRec", "--set")
    with pytest.raises(
        ConfigFileError, match="--set: `selected_features` is not a parameter of SASRec"
    ) as caught:
        check_keys(["n_layers", "selected_features"], "SASRec", "--set")
    assert "Leave it out. If a config file is for both models" in caught.value.fix
    assert check_model("SASRec") == "SASRec"
    for wrong in ("sasrec", "BERT4Rec", ""):
        with pytest.raises(InputError, match="cannot be tuned"):
            check_model(wrong)


@pytest.mark.parametrize(
    ("option", "line", "model"),
    [
        (None, "", "SASRecF"),
        ("SASRec", "", "SASRec"),
        (None, "model: SASRec", "SASRec"),
        ("SASRec", "model: SASRec", "SASRec"),
        ("SASRecF", "model: SASRec", None),
        ("SASRec", "selected_features: [class]", None),
        (None, "model: GRU4Rec", None),
    ],
)
def test_the_model_is_the_options_or_the_config_files(
    tmp_path: Path, option: str | None, line: str, model: str | None
) -> None:
    space = parse("n_layers choice [1]\n")
    file = config_file(tmp_path, f"epochs: 3\n{line}\n")
    if model is None:
        with pytest.raises(InputError, match=r"--config-files|--model"):
            base_settings(space, None, "ml-100k", str(file), [], option)
    else:
        assert base_settings(space, None, "ml-100k", str(file), [], option) == (model, {"epochs": 3})


# ---- Config files ----


def config_file(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "base.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_config_file(tmp_path: Path) -> None:
    text = (
        "\ufefflearning_rate: 1e-3  # a number, as RecBole reads it\r\n"
        "weight_decay: .5e-1\r\n"
        "epochs: 5.0\r\n"
        "selected_features: [class, release_year]\r\n"
        "train_neg_sample_args: ~\r\n"
        "load_col: {item: [item_id, class]}\r\n"
        "user_inter_num_interval: '[5,inf)'\r\n"
        "my_own: [1, {a: b}]\r\n"
    )
    assert exactly(read_config_file(config_file(tmp_path, text))) == exactly(
        {
            "learning_rate": 0.001,
            "weight_decay": 0.05,
            "epochs": 5,
            "selected_features": ["class", "release_year"],
            "train_neg_sample_args": None,
            "load_col": {"item": ["item_id", "class"]},
            "user_inter_num_interval": "[5,inf)",
            "my_own": [1, {"a": "b"}],
        }
    )


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n"])
def test_an_empty_config_file(tmp_path: Path, text: str) -> None:
    assert read_config_file(config_file(tmp_path, text)) == {}


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 49))

CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 2000))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("epochs: 5\nn_layers: 1\nepochs: 6\n", r"base\.yaml:3:1: `epochs` is given twice"),
        ("load_col:\n  item: [a]\n  item: [b]\n", "`item` is given twice"),
        ("epochs: !!python/object/apply:os.system ['true']", r"base\.yaml:1:9: not YAML"),
        ("epochs: !!python/name:os.system ''", r"base\.yaml:1:9: not YAML"),
        ("epochs: [1, 2", "not YAML"),
        ("epochs: 5\n  x: 6", "not YAML"),
        ("a: 5\n---\nb: 6", "not YAML"),
        ("\tepochs: 5", "not YAML"),
        ("epochs: \x01", "not YAML"),
        ("[" * 20_000, "not YAML"),
        (LAUGHS, "too many values"),
        ("x: &x [*x]", "recursive"),
        ("x: &x {y: *x}", "recursive"),
        (CHAIN, "too deep"),
        ("- epochs", "has no `key: value` lines"),
        ("epochs", "has no `key: value` lines"),
        ("5: epochs", "has no `key: value` lines"),
        ("? [a]\n: b", "not YAML"),
        (b"epochs: 5 # \xff", "not UTF-8 text"),
        ("epochs: 5".encode("utf-16"), "not UTF-8 text"),
        ("#" * (1 << 20) + "\n", "larger than 1 MiB"),
        ("epochs: many", "`epochs` must be a whole number"),
        ("hidden_siz: 64", "unknown setting `hidden_siz`: did you mean `hidden_size`?"),
        ("my_day: 2020-01-31", "`my_day` holds a date"),
        ("my_day: 2020-99-99", "not YAML"),
        ("my_set: !!set {a, b}", "`my_set` holds a set"),
        ("my_map: {1: 2}", "`my_map` holds a dict"),
        ("user_inter_num_interval: '[5,oo)'", "not an interval"),
    ],
)
def test_config_files_that_are_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(ConfigFileError, match=said):
        read_config_file(config_file(tmp_path, content))


@pytest.mark.parametrize("name", ["nope.yaml", ".", "nul\0.yaml"])
def test_config_files_that_cannot_be_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigFileError):
        read_config_file(tmp_path / name)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(), st.text().map(str.encode), st.text("abx:-[]{}&*!?|>%@`'\"#,0159.eE~ \n").map(str.encode)
    )
)
def test_any_bytes_are_a_config_or_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = config_file(tmp_path, content)
    try:
        assert all(isinstance(key, str) for key in read_config_file(path))
    except InputError as error:
        assert all(str(path) in str(mistake) for mistake in error.mistakes)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"q[a-z]{0,5}", fullmatch=True),
        st.one_of(
            values,
            st.sampled_from(["1e-3", "1e3", "1:30", "0o7", "yes", "~", "=", "2020-01-01", "[5,inf)", "-"]),
        ),
    )
)
def test_a_written_config_reads_back_equal_here_and_in_recbole(config: dict[str, Any]) -> None:
    import yaml
    from recbole.config import Config

    text = write_config(config, "made by\na test")
    assert text.startswith("# made by\n# a test\n")
    loaded = yaml.load(text, Loader=Config._build_yaml_loader(object.__new__(Config)))
    assert exactly(loaded) == exactly(config)


def test_set_options() -> None:
    assert read_override("epochs=5") == ("epochs", 5)
    assert read_override(" learning_rate = 1e-3") == ("learning_rate", 0.001)
    assert read_override("user_inter_num_interval=[5,inf)") == ("user_inter_num_interval", "[5,inf)")
    assert read_override("selected_features=[class]") == ("selected_features", ["class"])
    assert read_override("my_own=a=b") == ("my_own", "a=b")
    assert read_override("clip_grad_norm=") == ("clip_grad_norm", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs", "is not KEY=VALUE"),
        ("=5", "is not KEY=VALUE"),
        ("5x=5", "is not KEY=VALUE"),
        ("epochs=", "--set epochs: `epochs` must be a whole number"),
        ("epochs=[", "--set epochs:.* not YAML"),
        ("x=!!python/name:os.system", "not YAML"),
        ("epoch=5", "did you mean `epochs`?"),
    ],
)
def test_set_options_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigFileError, match=said):
        read_override(text)


def test_the_later_file_wins_and_set_wins_over_files(tmp_path: Path) -> None:
    one, two = tmp_path / "1.yaml", tmp_path / "2.yaml"
    one.write_text("epochs: 1\nn_layers: 1\nseed: 1\n")
    two.write_text("epochs: 2\nn_layers: 2\n")
    assert read_base([one, two], ["epochs=3", "epochs=3"]) == {"epochs": 3, "n_layers": 2, "seed": 1}
    with pytest.raises(ConfigFileError, match="`epochs` is set twice"):
        read_base([], ["epochs=3", "epochs=4"])


def test_a_setting_of_ones_own_passes_unless_it_is_nearly_recboles() -> None:
    assert check_config({"my_own": (1, 2)}, "x.yaml") == {"my_own": [1, 2]}
    with pytest.raises(ConfigFileError, match=r"x\.yaml: unknown setting `epoch`: did you mean `epochs`"):
        check_config({"epoch": 5}, "x.yaml")


# ---- Combinations ----


@pytest.mark.parametrize(
    ("given_config", "args"),
    [
        ({}, None),
        ({"loss_type": "CE", "train_neg_sample_args": {"sample_num": 2}}, None),
        ({"loss_type": "BPR"}, {"distribution": "uniform", "sample_num": 1}),
        ({"loss_type": "BPR", "train_neg_sample_args": None}, {"distribution": "uniform", "sample_num": 1}),
        ({"loss_type": "BPR", "train_neg_sample_args": {"sample_num": 2}}, {"sample_num": 2}),
        (
            {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "none"}},
            {"distribution": "uniform", "sample_num": 1},
        ),
    ],
)
def test_negative_samples_follow_the_loss(given_config: dict[str, Value], args: Value) -> None:
    assert resolve(given_config)["train_neg_sample_args"] == args


def test_violations_count_defaults_in() -> None:
    assert violations({"hidden_size": 30, "n_heads": 4}) == ("hidden_size 30 is not divisible by n_heads 4",)
    assert violations({"n_heads": 3}) == ("hidden_size 64 is not divisible by n_heads 3",)
    assert violations({"hidden_size": 63}) == ("hidden_size 63 is not divisible by n_heads 2",)
    assert violations({}) == ()


sizes = st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def constrained(draw: st.DrawFn) -> tuple[SearchSpace, dict[str, Value]]:
    """A finite space with some of the constrained parameters, and a base that may fix others."""
    possible = [Choice("n_layers", (1, 2)), Choice("hidden_act", ("gelu", "relu"))]
    possible += [Choice(name, draw(sizes)) for name in ("hidden_size", "n_heads")]
    picked = draw(st.lists(st.sampled_from(possible), min_size=1, unique_by=lambda p: p.name))
    base = draw(st.dictionaries(st.sampled_from(["hidden_size", "n_heads"]), st.integers(1, 12)))
    return SearchSpace(tuple(picked)), dict(base)


def by_brute_force(space: SearchSpace, base: dict[str, Value]) -> Iterator[dict[str, Value]]:
    for cell in itertools.product(*(p.values for p in space)):
        config = {"hidden_size": 64, "n_heads": 2} | base | dict(zip(space.names, cell, strict=True))
        size, heads = config["hidden_size"], config["n_heads"]
        assert isinstance(size, int) and isinstance(heads, int)
        if size % heads == 0:
            yield {name: config[name] for name in space.names}


@given(constrained())
def test_counts_and_cells_are_those_of_brute_force(case: tuple[SearchSpace, dict[str, Value]]) -> None:
    space, base = case
    expected = list(by_brute_force(space, base))
    counted = feasibility(space, base)
    assert list(feasible_cells(space, base)) == expected
    assert space.size is not None
    left_out = space.size - len(expected)
    rule = "hidden_size is not divisible by n_heads"
    reasons = ((rule, left_out),) if left_out else ()
    assert counted == Feasibility(space.size, len(expected), reasons)


@given(constrained())
def test_the_cells_are_the_same_when_there_are_too_many_to_count(
    case: tuple[SearchSpace, dict[str, Value]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MAX_COUNTED", 0)
        assert list(feasible_cells(*case)) == list(by_brute_force(*case))
        assert feasibility(*case).reasons == ()


def test_an_infinite_space() -> None:
    space = parse("learning_rate log 0.001,0.1\nhidden_size choice [30, 64]\nn_heads choice [4, 2]")
    counted = feasibility(space, {})
    assert counted.total is None and counted.feasible is None
    assert counted.reasons == (("hidden_size is not divisible by n_heads", None),)
    nothing = feasibility(parse("learning_rate log 0.001,0.1\nn_heads choice [3]"), {})
    assert nothing.total is None and nothing.feasible == 0


def test_huge_spaces_neither_hang_nor_are_listed() -> None:
    # The dead ends alone are more than could ever be walked through.
    rest = "".join(f"{name} int 1,1000\n" for name in ("n_layers", "inner_size", "epochs", "seed"))
    dead = parse(f"n_heads choice [3]\n{rest}hidden_size choice [64]\n")
    assert next(feasible_cells(dead, {}), None) is None
    late = parse(f"hidden_size choice [31, 64]\n{rest}n_heads choice [4]\n")
    assert next(feasible_cells(late, {}))["hidden_size"] == 64
    assert feasibility(late, {}).feasible == 1000**4
    both = parse("hidden_size int 1,65536\nn_heads int 1,1024")
    assert feasibility(both, {}).total == feasibility(both, {}).feasible == 65536 * 1024
    assert next(feasible_cells(both, {})) == {"hidden_size": 1, "n_heads": 1}


# ---- Distributions ----


def internal_values(distribution: Any) -> list[Any]:
    """All values of a finite Optuna distribution, as Optuna gives them to a trial."""
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    steps = round((distribution.high - distribution.low) / distribution.step)
    return [distribution.low + k * distribution.step for k in range(steps + 1)]


@settings(deadline=None, max_examples=200)
@given(parameters("x").filter(lambda p: p.size is None or p.size <= 2000))
def test_a_distribution_holds_exactly_the_values_of_the_space(parameter: Parameter) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns when it changes a bound
        distribution = distributions(SearchSpace((parameter,)))["x"]
    if parameter.size is None:
        ends = parameter.bounds if isinstance(parameter, LogUniform) else (parameter.low, parameter.high)
        assert (distribution.low, distribution.high) == ends  # type: ignore[attr-defined]
        assert all(parameter.contains(parameter.value(end)) for end in ends)
        return
    labels = internal_values(distribution)
    assert exactly([parameter.value(label) for label in labels]) == exactly(list(parameter.values))
    for value in parameter.values:
        label = parameter.label(value)
        assert distribution._contains(distribution.to_internal_repr(label))
        assert exactly(parameter.value(label)) == exactly(value)


@settings(deadline=None)
@given(st.data(), spaces().filter(lambda space: all(p.size for p in space)))
def test_decode_is_the_inverse_of_encode(data: st.DataObject, space: SearchSpace) -> None:
    cell: dict[str, Value] = {}
    for p in space:
        assert p.size is not None
        cell[p.name] = p.values[data.draw(st.integers(0, p.size - 1))]
    labels = space.encode(cell)
    assert exactly(space.decode(labels)) == exactly(cell)
    first = space.names[0]
    del labels[first]
    assert first not in space.decode(labels)


def test_multiples_with_many_digits_are_all_there() -> None:
    # Optuna's decimal arithmetic finds seven times this number, rounded, one step too short.
    (parameter,) = parse("x quniform 0,2.4,0.3333333333333333")
    distribution = distributions(SearchSpace((parameter,)))["x"]
    assert [parameter.value(label) for label in internal_values(distribution)] == list(parameter.values)
    assert (
        parameter.size == 8 and parameter.value(parameter.label(parameter.values[-1])) == parameter.values[-1]
    )


def test_labels_are_readable_where_they_can_be() -> None:
    assert Choice("x", (1, 2)).labels == (1, 2)
    assert Choice("x", ("a", None, True, 2.5)).labels == ("a", None, True, 2.5)
    assert Choice("x", (["class"], "b")).labels == ("['class']", "b")
    assert Choice("x", (1, 1.0, True)).labels == ("1", "1.0", "True")
    assert Choice("x", ([1], "[1]")).labels == ("[1]", "'[1]'")


@settings(deadline=None, max_examples=25)
@given(parameters("x"), st.integers(0, 1000))
def test_whatever_optuna_samples_is_a_value_of_the_space(parameter: Parameter, seed: int) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(5):
        trial = study.ask(distributions(SearchSpace((parameter,))))
        assert parameter.contains(parameter.value(trial.params["x"]))
