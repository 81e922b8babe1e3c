"""`sasrecf-tune init`: writes a search space to begin with."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.params_file import parse
from sasrecf_tune.report.terminal.console import make_console, write_output
from sasrecf_tune.report.text import count_text

_DIRECTORY = "search_spaces"


def write_space(name: str, force: bool) -> None:
    """Write the search space `name` to the current directory.

    Args:
        name: That of a file in search_spaces/, without its ending.
        force: Replace an existing file.

    Raises:
        InputError: The file exists.
        StorageError: It cannot be written.
    """
    path = Path(f"{name}.test")
    if path.exists() and not force:
        raise InputError("the file exists", where=str(path), fix="Move it away, or replace it with --force.")
    # Its comments have commands that are run from the root of the repository.
    text = (_spaces() / path.name).read_text(encoding="utf-8").replace(f"{_DIRECTORY}/", "")
    write_output(text, path)
    space = parse(text, path.name)
    size = "infinitely many configurations" if space.size is None else count_text(space.size, "configuration")
    make_console().print(
        f"{path}: {size} of {count_text(len(space), 'parameter')}\n"
        f"To estimate the time: sasrecf-tune run --params-file {path} --dry-run\n"
        f"To search: sasrecf-tune run --params-file {path}",
        highlight=False,
        soft_wrap=True,
    )


def _spaces() -> Traversable:
    """Find the search spaces: in the installed package, or beside it in a checkout."""
    package = files("sasrecf_tune")
    installed = package / _DIRECTORY
    return installed if installed.is_dir() else package / ".." / _DIRECTORY
