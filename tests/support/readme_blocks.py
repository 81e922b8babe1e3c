"""The generated sections of README and docs/.

`python -m tests.support.readme_blocks --write` brings them up to date.
Such a section stands between `<!-- generated:NAME -->` and `<!-- /generated -->`, in one page.
"""

from __future__ import annotations

import dataclasses
import html
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

import sasrecf_tune
from sasrecf_tune.cli.app import app
from sasrecf_tune.errors import InputErrors
from sasrecf_tune.inputs.constraints import feasibility
from sasrecf_tune.inputs.hyperparameters import MODELS, TABLE, Hyperparameter
from sasrecf_tune.inputs.params_file import parse, read
from sasrecf_tune.inputs.search_space import SearchSpace
from sasrecf_tune.inputs.validation import space_mistakes
from sasrecf_tune.trials import cell_text

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [
    README,
    *(ROOT / f"{name}.md" for name in ("ARCHITECTURE", "CONTRIBUTING")),
    *sorted(DOCS.rglob("*.md")),
]
SPACES = sorted((ROOT / "search_spaces").glob("*.test"))

_SECTION = re.compile(r"(<!-- generated:(\w+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
_MISTAKES = """\
lerning_rate choice [0.01, 0.001]
learning_rate choice [0.01, 0.001
n_layers uniform 1,3
hidden_act choice [gelu, swiss]
topk choice [[10], [20]]
"""


def commands() -> dict[str, Any]:
    """The command line's commands by name, as Typer built them."""
    group: Any = get_command(app)
    return dict(group.commands)


def spaces() -> str:
    """Each file in search_spaces/ with its number of configurations."""
    rows = []
    for path in SPACES:
        space = read(path)
        total = feasibility(space, {}).total
        first = path.read_text().splitlines()[0].lstrip("# ")
        count = "infinitely many" if total is None else f"{total:,}"
        rows.append([f"`search_spaces/{path.name}`", count, first])
    return _table(["file", "configurations", "what it is"], rows)


def options() -> str:
    """Every command with its arguments and options."""
    parts = []
    for name, command in commands().items():
        context = command.make_context(name, [], resilient_parsing=True)
        rows = []
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if record is not None and parameter.name != "help":
                left, meaning = record
                rows.append([f"`{left}`", re.sub(r"\s+", " ", meaning)])
        title = " ".join(["sasrecf-tune", name, *command.collect_usage_pieces(context)])
        text = re.sub(r"\s+", " ", command.help)
        parts.append(f"## `{title}`\n\n{text}\n\n{_table(['option', 'meaning'], rows)}")
    return "\n".join(parts)


def parameters() -> str:
    """Every key that a search may give several values."""
    found = [known for known in TABLE.values() if known.tunable == "yes"]
    groups = (
        ("model", [known for known in found if known.group == "model"]),
        ("training", [known for known in found if known.group != "model"]),
    )
    return "\n".join(
        f"**{title}**\n\n"
        + _table(["name", "default", "values", "meaning"], [_parameter_row(known) for known in group])
        for title, group in groups
    )


def errors() -> str:
    """What `check` prints for a params file with some mistakes."""
    try:
        parse(_MISTAKES, "hyper.test", space_mistakes)
    except InputErrors as error:
        assert len(error.mistakes) == len(_MISTAKES.splitlines())
        shown = "\n".join(f"error: {mistake}\n" for mistake in error.mistakes)
        return f"```text\n{shown}```\n"
    raise AssertionError("no mistakes")


def python() -> str:
    """The public names of the package with their signatures and docstrings."""
    functions = [name for name in sasrecf_tune.__all__ if inspect.isfunction(getattr(sasrecf_tune, name))]
    parts = [f"## `{name}`\n\n{_described(name, getattr(sasrecf_tune, name))}" for name in functions]
    for name in sasrecf_tune.__all__:
        known = getattr(sasrecf_tune, name)
        if not inspect.isclass(known) or issubclass(known, Exception):
            continue
        text = f"## `{name}`\n\n```text\n{inspect.getdoc(known)}\n```\n"
        if dataclasses.is_dataclass(known) and not issubclass(known, SearchSpace):
            fields = [[f"`{one.name}`", str(one.type)] for one in dataclasses.fields(known)]
            text += "\n" + _table(["field", "type"], fields)
        members = {key: value for key, value in vars(known).items() if not key.startswith("_")}
        found = [
            (key, value.fget) for key, value in members.items() if isinstance(value, property) and value.fget
        ]
        if found and all(inspect.getdoc(value) for _, value in found):
            rows = [
                [f"`{key}`", str(inspect.signature(value).return_annotation), _first_line(value)]
                for key, value in found
            ]
            text += "\n" + _table(["property", "type", "meaning"], rows)
        for key, value in members.items():
            if inspect.isfunction(value) and key != "plain":
                text += f"\n### `{name}.{key}`\n\n{_described(key, value)}"
        parts.append(text)
    return "\n".join(parts)


def _described(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    given = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    parameters = [
        f"{one.name}: {one.annotation}" + ("" if one.default is one.empty else f" = {one.default!r}")
        for one in given
    ]
    if keywords := [index for index, one in enumerate(given) if one.kind is one.KEYWORD_ONLY]:
        parameters.insert(keywords[0], "*")
    line = f"{name}({', '.join(parameters)}) -> {signature.return_annotation}"
    if len(line) > 100:
        lines = "".join(f"    {parameter},\n" for parameter in parameters)
        line = f"{name}(\n{lines}) -> {signature.return_annotation}"
    return f"```text\n{line}\n```\n\n```text\n{inspect.getdoc(function)}\n```\n"


def _first_line(function: Any) -> str:
    return str(inspect.getdoc(function)).splitlines()[0]


SECTIONS = {
    "spaces": spaces,
    "options": options,
    "parameters": parameters,
    "errors": errors,
    "python": python,
}


def current(text: str) -> str:
    """`text` with its generated sections as they should be."""
    return _SECTION.sub(lambda found: f"{found[1]}\n{SECTIONS[found[2]]()}\n{found[3]}", text)


def prose(text: str) -> str:
    """`text` without its fenced code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What a link to a heading of `text` may have after its `#`."""
    titles = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def generated_names(text: str) -> list[str]:
    """The names of the generated sections in `text`."""
    return [found[2] for found in _SECTION.finditer(text)]


def command_lines(text: str) -> Iterator[str]:
    """Each `sasrecf-tune ...` in the fenced code blocks of `text`, without comment."""
    for block in re.findall(r"^```(?:console|bash|sh)?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"&&|\|\s", line.partition(" #")[0]):
                if command.strip().startswith("sasrecf-tune "):
                    yield command.strip()


def _parameter_row(known: Hyperparameter) -> list[str]:
    default = cell_text(known.default) if not isinstance(known.default, dict) else "1 uniform negative"
    only = "" if known.models == MODELS else f"; {' and '.join(known.models)} only"
    return [f"`{known.name}`", default, _values(known), known.meaning + only]


def _values(known: Hyperparameter) -> str:
    """Legal values in few words; an upper bound that only catches slips of the pen is left out."""
    if known.kind not in ("int", "float"):
        return known.range_text
    kind = {"int": "whole number", "float": "number"}[known.kind]
    if known.open_low:
        return f"{kind} above {known.low:g}"
    return f"{kind}, {known.low:g} to {known.high:g}" if known.high <= 1 else f"{kind} from {known.low:g}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in lines)


def _cell(text: str) -> str:
    """A cell whose `|` both GitHub and Python-Markdown take for text; they differ on a backslash in code."""
    text = re.sub(r"`([^`]*\|[^`]*)`", lambda code: f"<code>{html.escape(code[1], quote=False)}</code>", text)
    return text.replace("|", "&#124;")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.support.readme_blocks --write")
    for page in PAGES:
        text = page.read_text()
        if (new := current(text)) != text:
            page.write_text(new)
