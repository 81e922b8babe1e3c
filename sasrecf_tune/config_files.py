"""RecBole's YAML config files and --set options, read as data: nothing in them is ever run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sasrecf_tune.checks import check_config, is_interval
from sasrecf_tune.errors import ConfigFileError

_LIMIT = 1 << 20


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that reads 1e-3 as a number and refuses a key given twice."""


# YAML 1.1 wants a dot in 1.0e-3; RecBole's loader (config/configurator.py) takes 1e-3 too.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
            |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
            |\.[0-9_]+(?:[eE][-+]?[0-9]+)?
            |[-+]?\.(?:inf|Inf|INF)
            |\.(?:nan|NaN|NAN))$""",
        re.X,
    ),
    list("-+0123456789."),
)


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
    """The keys and values of one YAML file, checked against SASRecF's table.

    Raises:
        ConfigFileError: unreadable, not YAML, not a mapping, or a value that is not allowed.
    """
    try:
        if path.stat().st_size > _LIMIT:
            raise ConfigFileError("larger than 1 MiB: no config file", where=str(path))
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigFileError(f"cannot read: {error.strerror or error}", where=str(path)) from error
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
    body = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, default_flow_style=None)
    return comment + body


def _load(text: str, where: str) -> Any:
    try:
        # _Loader is a SafeLoader: it builds plain values only.
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise ConfigFileError(f"not YAML: {error.problem or error.context}", where=place) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigFileError(f"not YAML: {str(error).splitlines()[0]}", where=where) from error
