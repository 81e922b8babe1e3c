"""`sasrecf-tune import`: tables of interactions and items to RecBole's atomic files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sasrecf_tune.importing.importer import read_tables
from sasrecf_tune.inputs.import_settings import ImportSettings
from sasrecf_tune.report.terminal.console import make_console
from sasrecf_tune.report.terminal.import_summary import json_content, show_tables, show_written
from sasrecf_tune.report.text import json_text


def import_tables(interactions: Path, given: Mapping[str, Any], dry_run: bool, as_json: bool) -> int:
    """Read the tables, print what was understood, and write the data set unless `dry_run`.

    Args:
        given: The fields of `ImportSettings`.

    Returns:
        The exit code.

    Raises:
        InputError: A table or an option cannot be used, or rows would be lost; nothing has been written.
        StorageError: The files cannot be written.
    """
    settings = ImportSettings(**given)
    console = make_console()
    read = read_tables(interactions, settings.items, settings, dry_run)
    if not as_json:
        show_tables(read, console)
    read.check()
    paths = [] if dry_run else read.write()
    if as_json:
        print(json_text(json_content(read, written=not dry_run)))
    elif not dry_run:
        show_written(read, paths, console)
    return 0
