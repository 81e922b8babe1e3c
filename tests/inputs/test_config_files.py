"""YAML config files and --set options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sasrecf_tune.cli.build_settings import base_settings, chosen_dataset, read_config
from sasrecf_tune.errors import ConfigFileError, InputError
from sasrecf_tune.inputs.config_files import (
    config_paths,
    read_base,
    read_config_file,
    read_override,
    write_config,
)
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.inputs.unused_settings import effective
from sasrecf_tune.inputs.validation import (
    check_config,
)
from tests.support.strategies import exactly, values

# A text of a few lines that a reader would copy many keys for.
MERGED = f"a: &a {{{', '.join(f'k{n}: 1' for n in range(1000))}}}\nb: {{<<: [{', '.join(['*a'] * 1000)}]}}\n"


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
        ("? [a]\n: b", "not YAML"),
        ("x: !mine 3", "base.yaml:1:4: not YAML: a tag that is not known here"),
        ("load_col: {inter: *}", "base.yaml:1:20: not YAML: `[*]` is not in quotes"),
        (b"epochs: 5 # \xff", "not UTF-8 text"),
        ("epochs: 5".encode("utf-16"), "not UTF-8 text"),
        ("#" * (1 << 20) + "\n", "larger than 1 MiB"),
        ("epochs: many", "`epochs` must be a whole number"),
        ("hidden_siz: 64", "unknown setting `hidden_siz`: did you mean `hidden_size`?"),
        ("encoding: 2020-01-31", "`encoding` holds a date"),
        ("my_day: 2020-99-99", "not YAML"),
        ("numerical_features: !!set {a, b}", "`numerical_features` holds a set"),
        ("user_inter_num_interval: '[5,oo)'", "`user_inter_num_interval` must be an interval"),
    ],
)
def test_config_files_that_are_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(ConfigFileError, match=said):
        read_config_file(config_file(tmp_path, content))


def test_keys_and_tags_that_recbole_reads_too(tmp_path: Path) -> None:
    path = tmp_path / "base.yaml"
    path.write_text("2: a\non: b\ntopk: !!python/tuple [5, 10]\nthreshold: {1: 2}\n")
    assert read_config_file(path) == {"2": "a", "True": "b", "topk": [5, 10], "threshold": {"1": 2}}


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


@pytest.mark.parametrize(
    ("option", "line", "model"),
    [
        (None, "", "SASRecF"),
        ("SASRec", "", "SASRec"),
        (None, "model: SASRec", "SASRec"),
        ("SASRec", "model: SASRec", "SASRec"),
        ("SASRecF", "model: SASRec", None),
        ("SASRec", "selected_features: [class]", "SASRec"),
        (None, "model: GRU4Rec", None),
    ],
)
def test_the_model_is_the_options_or_the_config_files(
    tmp_path: Path, option: str | None, line: str, model: str | None
) -> None:
    space = parse("n_layers choice [1]\n")
    file = config_file(tmp_path, f"epochs: 3\n{line}\n")
    given: dict[str, Any] = {"config_files": [str(file)], "overrides": [], "data_path": None}
    given |= {"dataset": None, "model": option}
    config = read_config(given)
    if model is None:
        with pytest.raises(InputError, match=r"--config-files|base\.yaml: "):
            base_settings(space, config, given)
    else:
        chosen, base = base_settings(space, config, given)
        assert (chosen, effective(base, chosen)) == (model, {"epochs": 3})


def given_options(file: Path, **options: object) -> dict[str, Any]:
    given = {"config_files": [str(file)], "overrides": [], "data_path": None, "dataset": None, "model": None}
    return given | options


@pytest.mark.parametrize(
    ("option", "line", "dataset"),
    [
        (None, "", "ml-100k"),
        (None, "dataset: shop", "shop"),
        (None, "dataset: ~", "ml-100k"),
        ("shop", "", "shop"),
        ("shop", "dataset: shop", "shop"),
        ("shop", "dataset: ml-1m", None),
    ],
)
def test_the_data_set_is_the_options_or_the_config_files(
    tmp_path: Path, option: str | None, line: str, dataset: str | None
) -> None:
    file = config_file(tmp_path, f"epochs: 3\n{line}\n")
    given = given_options(file, dataset=option)
    config = read_config(given)
    space = parse("n_layers choice [1]\n")
    if dataset is None:
        with pytest.raises(ConfigFileError) as caught:
            base_settings(space, config, given)
        assert str(caught.value).startswith(f"{file}: names the data set 'ml-1m', but `--dataset` is 'shop'")
    else:
        assert chosen_dataset(config, given) == dataset
        assert base_settings(space, config, given) == ("SASRecF", {"epochs": 3})


def test_the_data_path_of_a_config_file_may_be_the_data_sets_own_directory(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "shop.inter").touch()
    file = config_file(tmp_path, f"dataset: shop\ndata_path: {tmp_path / 'shop'}\n")
    given = given_options(file)
    space = parse("n_layers choice [1]\n")
    assert base_settings(space, read_config(given), given)[1] == {"data_path": str(tmp_path)}
    given["data_path"] = Path("elsewhere")
    assert base_settings(space, read_config(given), given)[1] == {"data_path": "elsewhere"}
    given = given_options(config_file(tmp_path, 'data_path: "a\\0b"\n'))
    with pytest.raises(InputError, match="not the name of a directory"):
        base_settings(space, read_config(given), given)


def test_a_searched_parameter_is_not_set_however_it_is_written(tmp_path: Path) -> None:
    given = given_options(config_file(tmp_path, ""), overrides=["n-layers=2"])
    with pytest.raises(ConfigFileError, match="`n_layers` is searched in <text> and also set"):
        base_settings(parse("n_layers choice [1]\n"), read_config(given), given)


def test_a_config_files_option_names_one_file_or_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "b.yaml", "my a.yaml", "two  spaces.yaml"):
        Path(name).write_text("epochs: 3\n")

    def names(text: str) -> list[str]:
        return list(map(str, config_paths(text)))

    assert names("") == names("  ") == []
    assert names("a.yaml") == names(" a.yaml ") == ["a.yaml"]
    assert names("a.yaml  b.yaml") == ["a.yaml", "b.yaml"]
    assert names("my a.yaml") == ["my a.yaml"]
    assert names("b.yaml my a.yaml a.yaml") == ["b.yaml", "my a.yaml", "a.yaml"]
    assert names("two  spaces.yaml") == ["two  spaces.yaml"]
    assert names("nope.yaml") == ["nope.yaml"]  # `cannot read` when it is opened
    for text, said in [
        ("my b.yaml c.yaml", "no such file: 'my', 'c.yaml'"),
        ("a.yaml c.yaml", "no such file: 'c.yaml'"),
        ("no such.yaml", "no such file: 'no such.yaml'"),
        ("nul\0 .yaml", "no such file"),
    ]:
        with pytest.raises(ConfigFileError, match=said):
            config_paths(text)


def test_config_files_in_several_options_are_all_read(tmp_path: Path) -> None:
    for name, text in [
        ("my a.yaml", "epochs: 1\nn_layers: 1"),
        ("b.yaml", "epochs: 2"),
        ("c.yaml", "seed: 3"),
    ]:
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / "my a.yaml"), f"{tmp_path / 'b.yaml'} {tmp_path / 'c.yaml'}"]
    config = read_config({"config_files": files, "overrides": ["seed=4"]})
    assert config == {"epochs": 2, "n_layers": 1, "seed": 4}
    assert config.sources == {"epochs": str(tmp_path / "b.yaml"), "n_layers": files[0], "seed": "--set"}


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("user_inter_num_interval: [5,inf)", 'user_inter_num_interval: "[5,inf)"'),
        ("val_interval: {rating: [3, inf)}", 'rating: "[3, inf)"'),
    ],
)
def test_an_interval_without_quotes_is_explained(tmp_path: Path, line: str, written: str) -> None:
    file = config_file(tmp_path, f"epochs: 5\n{line}\nseed: 1\n")
    with pytest.raises(ConfigFileError, match="not YAML") as caught:
        read_config_file(file)
    assert caught.value.fix == f"Write the interval in quotes: {written}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"epochs: {'9' * 5000}", "not YAML: the number is too large"),
        (f"epochs: [1, {{a: -{'9' * 5000}}}]", "not YAML: the number is too large"),
        *(
            (line, "not YAML: the number is too large")
            for line in (
                f"epochs: 0x{'F' * 5000}",
                f"topk: [0b{'1' * 20_000}]",
                f"epochs: 9{':59' * 4000}",
                f"load_col: {{inter: [0x{'F' * 5000}]}}",
                f"threshold: {{rating: 0x{'F' * 256}}}",
            )
        ),
        *(
            (f"epochs: {value}", "not YAML: not a value of its type")
            for value in ('!!int ""', '!!float ""', "!!bool x", "!!timestamp x", "2001-99-99", "!!float 1:x")
        ),
        ("[" * 5000, "not YAML: nested too deeply"),
        (MERGED, "not YAML: too many values"),
    ],
)
def test_what_python_cannot_hold_is_a_message(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        read_config_file(config_file(tmp_path, line))
    assert caught.value.what == said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("encoding", "\0"),
        ("encoding", "utf-9"),
        ("encoding", "é\ud800"),
        ("encoding", "base64"),
        ("encoding", "punycode"),
        ("encoding", "IDNA"),
        ("encoding", "a" * 5000),
        ("field_separator", ""),
        ("load_col", {"inter": [1, 2]}),
    ],
)
def test_values_that_no_file_can_be_read_with_are_refused(key: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"`{key}`"):
        check_config({key: value}, "base.yaml")
