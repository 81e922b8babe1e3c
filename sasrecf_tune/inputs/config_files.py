"""Reads RecBole's YAML config files and --set options as data: nothing in them is executed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override
from yaml.constructor import ConstructorError

from sasrecf_tune.errors import ConfigFileError, MistakeCollector
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.literals import MAX_BITS, LiteralError, read_value
from sasrecf_tune.inputs.text_files import read_bytes
from sasrecf_tune.inputs.validation import check_config

_MAX_VALUES = 100_000
_MAX_DEPTH = 50
_MAX_KEYS = 1000


class BaseConfig(dict[str, Any]):
    """Settings of config files and `--set`.

    Attributes:
        sources: For each key, the config file that it is from, or "--set".
    """

    def __init__(self) -> None:
        super().__init__()
        self.sources: dict[str, str] = {}

    def add(self, config: Mapping[str, Any], source: str) -> None:
        """Add the settings of `source`, which replace earlier ones."""
        self.update(config)
        self.sources |= dict.fromkeys(config, source)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that reads 1e-3 as a number, and notes keys that are given twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[yaml.ScalarNode] = []
        self._merged: set[yaml.Node] = set()

    @override
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep=deep)
        except (LookupError, ArithmeticError, AttributeError, TypeError, ValueError) as error:
            # PyYAML's constructors raise these for `!!int ""`, `!!bool x`, 2001-99-99 and the like.
            digits = _DIGITS.search(str(node.value).replace("_", ""))
            what = "the number is too large" if digits else "not a value of its type"
            raise ConstructorError(None, None, what, node.start_mark) from error
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise ConstructorError(None, None, "the number is too large", node.start_mark)
        return value

    @override
    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # A few lines of `<<: [*a, *a]` can stand for billions of keys.
        if node in self._merged:
            return
        self._merged.add(node)
        size = len(node.value)
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(merged, yaml.MappingNode):
                        self.flatten_mapping(merged)
                        size += len(merged.value)
                    if size > _MAX_VALUES:
                        raise ConstructorError(None, None, "too many values", node.start_mark)
        super().flatten_mapping(node)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper that puts a string in quotes where `_Loader` would read a number."""


_DIGITS = re.compile(r"(?<!\d)\d{4000}")
# YAML 1.1 requires the dot of 1.0e-3; RecBole's loader (config/configurator.py) does not.
_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
        |\.[0-9_]+(?:[eE][-+]?[0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
    re.X,
)
_UNQUOTED_INTERVAL = re.compile(
    r"""(?:^|[{,])[ \t]*["']?(\w+)["']?[ \t]*:[ \t]*(\[[^\[\]"'\n]*\))""", re.MULTILINE
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                loader.repeated.append(key)
            seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _sequence(loader: _Loader, node: yaml.SequenceNode) -> list[Any]:
    return loader.construct_sequence(node, deep=True)


# RecBole's loader knows this tag of Python too.
_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _sequence)


def read_config_file(path: Path) -> dict[str, Any]:
    """The keys and values of one YAML file, checked against the table of RecBole's keys.

    Raises:
        ConfigFileError: the file cannot be read, is not a YAML mapping, repeats a key or has a wrong value.
        InputErrors: several of these.
    """
    content = read_bytes(path, "config file", ConfigFileError)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigFileError("not UTF-8 text", where=str(path)) from error
    with MistakeCollector() as mistakes:
        loaded, repeated = _load(text, str(path))
        mistakes.add(*repeated)
        if not isinstance(loaded, dict | None):
            raise ConfigFileError("has no `key: value` lines", where=str(path))
        if loaded and len(loaded) > _MAX_KEYS:
            raise ConfigFileError(f"more than {_MAX_KEYS:,} settings", where=str(path))
        # YAML reads the name of a key as a number or, for `on` and `yes`, as a truth value.
        return check_config({str(key): value for key, value in (loaded or {}).items()}, str(path))


def read_override(text: str) -> tuple[str, Any]:
    """Key and value of one `--set KEY=VALUE`; how the value is read depends on the key.

    A text or an interval may be without quotes. Any other value is YAML, as in a config file, or a Python
    literal, as on RecBole's command line.

    Raises:
        ConfigFileError: no `=`, or a value that is not allowed.
        InputErrors: several mistakes in the value.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if (underscored := key.replace("-", "_")) in TABLE:
        key = underscored
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*", key):
        raise ConfigFileError(f"{text!r} is not KEY=VALUE", where="--set", fix="For example --set epochs=50.")
    where = f"--set {key}"
    kind = TABLE[key].kind if key in TABLE else "any"
    if value == str(Path("~").expanduser()) and key in TABLE and not TABLE[key].is_path:
        value = "~"  # which a shell has replaced
    with MistakeCollector() as mistakes:
        if kind in ("str", "interval") and value.strip()[:1] not in ("'", '"'):
            # An interval is not YAML: [5,inf) opens a list that never ends.
            loaded = value if value.isspace() else value.strip()
        else:
            loaded, repeated = _read_literal(value.strip(), where)
            mistakes.add(*repeated)
        checked = check_config({key: loaded}, where)
    return key, checked[key]


def config_paths(text: str) -> list[Path]:
    """The files that one `--config-files` names: RecBole's separated by spaces, which a name may also have.

    Raises:
        ConfigFileError: there is no file of the whole name, nor of its parts.

    Example:
        >>> config_paths("base.yaml")
        [PosixPath('base.yaml')]
    """
    words = [match.span() for match in re.finditer(r"\S+", text)]
    if len(words) < 2 and not re.search(r"[,\[\]]", text):
        return [Path(text[start:end]) for start, end in words]
    found: list[Path] = []
    missing: list[str] = []
    while words:
        # The longest name that exists, since it may have spaces; else one word.
        names = [text[words[0][0] : end] for _, end in reversed(words)]
        name = next(filter(_exists, names), None)
        if name is None:
            missing.append(names[-1])
        found.append(Path(name or names[-1]))
        words = words[len(words) - names.index(str(name)) if name else 1 :]
    if missing:
        # Without any file it may be one name that has spaces.
        which = ", ".join(map(repr, missing)) if len(missing) < len(found) else repr(text.strip())
        raise ConfigFileError(
            f"no such file: {which}",
            where="--config-files",
            fix="Separate several files by spaces, or repeat the option.",
        )
    return found


def read_base(files: Iterable[Path], overrides: Iterable[str]) -> BaseConfig:
    """The base configuration: files in their order, then --set options; a later value replaces an earlier.

    Raises:
        ConfigFileError: a file or an option is wrong, or --set gives a key two values.
        InputErrors: several of these.
    """
    base = BaseConfig()
    given: dict[str, Any] = {}
    with MistakeCollector() as mistakes:
        for path in files:
            with mistakes.collect():
                base.add(read_config_file(path), str(path))
        for text in overrides:
            with mistakes.collect():
                key, value = read_override(text)
                if given.setdefault(key, value) != value:
                    raise ConfigFileError(f"`{key}` is set twice", where="--set", fix="Keep one of the two.")
    base.add(given, "--set")
    return base


def load_yaml(text: str) -> Any:
    """The content of a YAML text, in which 1e-3 is a number as for RecBole."""
    return yaml.load(text, Loader=_Loader)  # a SafeLoader: it builds plain values only


def write_config(config: Mapping[str, Any], header: str) -> str:
    """YAML text that RecBole's loader reads back to the same values, below a comment."""
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    # PyYAML writes some invisible characters (their repr has a backslash) in a way that does not read back.
    legible = "\\" not in repr(dict(config))
    body = yaml.dump(
        dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=legible, default_flow_style=None
    )
    return comment + body


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long, or a NUL in it
        return False


def _read_literal(text: str, where: str) -> tuple[Any, list[ConfigFileError]]:
    """What `_load` returns, for a value that may also be a Python list or mapping with None in it."""
    if text[:1] in ("[", "{", "("):
        try:
            return read_value(text), []
        except LiteralError:
            pass
    return _load(text, where)


def _load(text: str, where: str) -> tuple[Any, list[ConfigFileError]]:
    """What the YAML text holds, and a mistake for each key that is given twice."""
    try:
        loader = _Loader(text)  # a SafeLoader: it builds plain values only
        try:
            loaded = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = _place(where, mark) if mark else where
        what = f"not YAML: {error.problem or error.context}"
        fix = _unquoted_interval(text)
        if "for the tag" in what:
            what, fix = "not YAML: a tag that is not known here", "Remove it: write the value alone."
        elif mark and text[mark.index - 1 : mark.index] == "*":
            what, fix = "not YAML: `*` is not in quotes", "Write '*' with quotes."
        raise ConfigFileError(what, where=place, fix=fix) from error
    except RecursionError as error:
        raise ConfigFileError("not YAML: nested too deeply", where=where) from error
    except yaml.YAMLError as error:
        raise ConfigFileError(f"not YAML: {str(error).splitlines()[0]}", where=where) from error
    _check_extent(loaded, where)
    return loaded, [
        ConfigFileError(f"`{key.value}` is given twice", where=_place(where, key.start_mark))
        for key in loader.repeated
    ]


def _unquoted_interval(text: str) -> str:
    """How to write an interval that YAML takes for a list that never ends; "" if there is none."""
    match = _UNQUOTED_INTERVAL.search(text)
    return f'Write the interval in quotes: {match[1]}: "{match[2]}"' if match else ""


def _place(where: str, mark: yaml.Mark) -> str:
    return f"{where}:{mark.line + 1}:{mark.column + 1}"


def _check_extent(loaded: Any, where: str) -> None:
    # A few lines of aliases (&a, *a) can stand for billions of values, or for a list within itself.
    left: list[tuple[Any, int]] = [(loaded, 0)]
    seen = 0
    while left:
        value, depth = left.pop()
        seen += 1
        if seen > _MAX_VALUES or depth > _MAX_DEPTH:
            raise ConfigFileError("too many values, or values nested too deep", where=where)
        if isinstance(value, list | tuple | set | dict):
            left += [(inner, depth + 1) for inner in (value.values() if isinstance(value, dict) else value)]
