"""The settings that the installed RecBole knows; it ignores any other without a message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sasrecf_tune.inputs.hyperparameters import MODELS

# A setting that RecBole's code reads, that its lists of settings name, and that its YAML files give.
_READ = re.compile(r"""\bconfig\[\s*["']([\w-]+)["']""")
_NAMED = re.compile(r"""^\s+((?:["']\w+["'],?\s*)+)""", re.MULTILINE)
_GIVEN = re.compile(r"^([\w-]+)\s*:", re.MULTILINE)
# Files of addresses of data sets: their keys are no settings.
_ADDRESSES = ("url.yaml", "kg_url.yaml")


def _package() -> Path | None:
    spec = find_spec("recbole")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _names(pattern: re.Pattern[str], file: Path) -> set[str]:
    return set(pattern.findall(file.read_text(encoding="utf-8")))


@cache
def recbole_keys() -> frozenset[str]:
    """Names found in the files of RecBole, for any model; empty if it is not installed."""
    package = _package()
    if package is None:
        return frozenset()
    found: set[str] = set()
    for path in package.rglob("*.py"):
        found |= _names(_READ, path)
    for line in _names(_NAMED, package / "utils" / "argument_list.py"):
        found.update(re.findall(r"\w+", line))
    for path in (package / "properties").rglob("*.yaml"):
        if path.name not in _ADDRESSES:
            found |= _names(_GIVEN, path)
    return frozenset(found)


@cache
def _settings_of_models() -> Mapping[str, frozenset[str]]:
    """The settings of each of RecBole's models: those that can be tuned first, then sequential ones.

    Of these, those with few settings come first.
    """
    package = _package()
    if package is None:
        return {}
    code = {path.stem: path for path in sorted((package / "model").glob("*_recommender/*.py"))}
    files = {path.stem: path for path in sorted((package / "properties" / "model").glob("*.yaml"))}

    settings = {
        model: frozenset(
            _names(_GIVEN, file) | (_names(_READ, code[model.lower()]) if model.lower() in code else set())
        )
        for model, file in files.items()
    }

    def distance(model: str) -> tuple[bool, bool, int]:
        source = code.get(model.lower())
        sequential = source is not None and source.parent.name == "sequential_recommender"
        return model not in MODELS, not sequential, len(settings[model])

    return {model: settings[model] for model in sorted(settings, key=distance)}


def models_with(names: Iterable[str], beside: Iterable[str] = ()) -> tuple[str, ...]:
    """RecBole's models that have all settings in `names`; first those that have most of `beside`.

    Example:
        >>> models_with(["step", "weight"])
        ('GCSAN',)
    """
    wanted, others = set(names), set(beside)
    found = [(len(others & own), model) for model, own in _settings_of_models().items() if wanted <= own]
    return tuple(model for _, model in sorted(found, key=lambda pair: -pair[0]))
