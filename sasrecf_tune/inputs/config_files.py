"""RecBole's YAML config files and --set options, read as data: nothing in them is ever run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sasrecf_tune.errors import ConfigFileError
from sasrecf_tune.inputs.validation import check_config, is_interval

_LIMIT = 1 << 20
_MOST_VALUES = 100_000
_DEEPEST = 50


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that reads 1e-3 as a number and refuses a key given twice."""


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper that puts a string in quotes where `_Loader` would read a number."""


# YAML 1.1 wants a dot in 1.0e-3; RecBole's loader (config/configurator.py) takes 1e-3 too.
_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
        |\.[0-9_]+(?:[eE][-+]?[0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
    re.X,
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"`{key.value}` is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_config_file(path: Path) -> dict[str, Any]:
    """The keys and values of one YAML file, checked against the table of parameters.

    Raises:
        ConfigFileError: unreadable, not YAML, not a mapping, or a value that is not allowed.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT + 1)
    except OSError as error:
        raise ConfigFileError(f"cannot read: {error.strerror or error}", where=str(path)) from error
    except ValueError as error:  # a NUL in the name
        raise ConfigFileError("no file's name", where=repr(str(path))) from error
    if len(content) > _LIMIT:
        raise ConfigFileError("larger than 1 MiB: no config file", where=str(path))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigFileError("not a text file (UTF-8)", where=str(path)) from error
    loaded = _load(text, str(path))
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise ConfigFileError("holds no `key: value` lines", where=str(path))
    return check_config(loaded, str(path))


def read_override(text: str) -> tuple[str, Any]:
    """Key and value of one `--set KEY=VALUE`; the value is YAML, as in a config file.

    Raises:
        ConfigFileError: no `=`, or a value that is not allowed.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*", key):
        raise ConfigFileError(f"{text!r} is not KEY=VALUE", where="--set", fix="For example --set epochs=50.")
    # An interval is not YAML: [5,inf) opens a list that never ends.
    read = value if is_interval(value) else _load(value, f"--set {key}")
    return key, check_config({key: read}, f"--set {key}")[key]


def read_base(files: Iterable[Path], overrides: Iterable[str]) -> dict[str, Any]:
    """The base configuration: files in their order, then --set options, the later one winning.

    Raises:
        ConfigFileError: see above, or one key set twice with --set.
    """
    base: dict[str, Any] = {}
    for path in files:
        base.update(read_config_file(path))
    given: dict[str, Any] = {}
    for text in overrides:
        key, value = read_override(text)
        if key in given and given[key] != value:
            raise ConfigFileError(f"`{key}` is set twice", where="--set", fix="Keep one of the two.")
        given[key] = value
    return base | given


def write_config(config: Mapping[str, Any], header: str) -> str:
    """YAML text that RecBole's loader reads back to the same values, below a comment."""
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    # PyYAML writes some invisible characters, whose repr has a backslash, such that they do not read back.
    legible = "\\" not in repr(dict(config))
    body = yaml.dump(
        dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=legible, default_flow_style=None
    )
    return comment + body


def _load(text: str, where: str) -> Any:
    try:
        # _Loader is a SafeLoader: it builds plain values only.
        loaded = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise ConfigFileError(f"not YAML: {error.problem or error.context}", where=place) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigFileError(f"not YAML: {str(error).splitlines()[0]}", where=where) from error
    _check_extent(loaded, where)
    return loaded


def _check_extent(loaded: Any, where: str) -> None:
    # A few lines of aliases (&a, *a) can stand for billions of values, or for a list within itself.
    left: list[tuple[Any, int]] = [(loaded, 0)]
    seen = 0
    while left:
        value, depth = left.pop()
        seen += 1
        if seen > _MOST_VALUES or depth > _DEEPEST:
            raise ConfigFileError("too many values, or too deep in one another", where=where)
        if isinstance(value, list | tuple | set | dict):
            left += [(inner, depth + 1) for inner in (value.values() if isinstance(value, dict) else value)]
